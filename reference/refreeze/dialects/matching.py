"""Regular expressions of users, bounded in time: Python's can take for ever, and nothing in a process can stop one.

What cannot take long is matched here; all else in a process of its own, which is ended when its time is up.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence

from refreeze.errors import InvalidSpec

MOST_SECONDS = 3
"""The time that all regular expressions of a configuration may take."""
MOST_WORK = 10**7
"""The ways of matching, by a rough upper bound, beyond which a process of its own is worth its start."""

_CHILD = (
    "import json, re, sys; text, names = json.load(sys.stdin); match = re.compile(text).match; "
    "json.dump([number for number, name in enumerate(names) if match(name)], sys.stdout)"
)


def matching(text: str, names: Sequence[str], where: str, end: float) -> list[str]:
    """Return the names whose beginning the regular expression ``text`` matches, until ``time.monotonic() == end``.

    Raises ``InvalidSpec`` for a text that is no regular expression, and for one that takes too long.

    >>> matching("layers.[01]", ["layers.0.w", "layers.1.w", "layers.2.w"], "params", time.monotonic() + 1)
    ['layers.0.w', 'layers.1.w']
    """
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # "[[" may mean a set some day
            pattern = re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidSpec(where, text, f"a name, or a regular expression ({error})") from None
    if _work(text, names) <= MOST_WORK:
        return [*filter(pattern.match, names)]
    try:
        child = subprocess.run(  # noqa: S603 (this very Python, and data on its standard input)
            [sys.executable, "-I", "-c", _CHILD],
            input=json.dumps([text, names]),
            capture_output=True,
            text=True,
            check=True,
            timeout=max(0, end - time.monotonic()),
        )
    except (subprocess.SubprocessError, OSError):  # its time was up, or its memory
        allowed = f"a regular expression that takes less time (all together {MOST_SECONDS} seconds)"
        raise InvalidSpec(where, text, allowed) from None
    return [names[number] for number in json.loads(child.stdout)]


def _work(text: str, names: Sequence[str]) -> int:
    """Return a rough upper bound: each repetition may end at any place, each choice doubles the ways."""
    if re.search(r"\)[*+{]", text):  # a repetition of what may repeat itself: any number of ways
        return MOST_WORK + 1
    repetitions, choices = len(re.findall(r"[*+{]", text)), len(re.findall(r"[?|]", text))
    if repetitions + choices > 40:
        return MOST_WORK + 1
    return int(sum((len(name) + 1) ** (repetitions + 1) for name in names) << choices)
