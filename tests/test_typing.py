"""The package ships its types: a client's ``mypy --strict`` sees them, in what is installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

CLIENT = """\
from refreeze import round_robin, segments

reveal_type(segments(round_robin(["a", "b"], window=1, span=2), total=5))
round_robin(["a"], window="one", span=2)
"""


def test_the_strict_mypy_of_a_client_sees_types(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "client.py").write_text(CLIENT)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-pretty", "client.py"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout.splitlines()
    assert [line.partition(": ")[2] for line in said[:-1]] == [
        'note: Revealed type is "tuple[refreeze.schedule.Segment, ...]"',
        'error: Argument "window" to "round_robin" has incompatible type "str"; expected "int"  [arg-type]',
    ]
