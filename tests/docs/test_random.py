"""The check values of the page on random windows come from its own code, refreeze, and the adapter of Node.js."""

from __future__ import annotations

import re
import shutil

import pytest
from pages import DOCS, ROOT, blocks
from refreeze import random_window
from refreeze.conformance.adapters import load
from refreeze.conformance.protocol import segments_request

PAGE = (DOCS / "specification" / "random.md").read_text(encoding="utf-8")
ROWS = [
    (*map(int, (re.sub(r"\(.*", "", cell) for cell in cells[:5])), tuple(map(int, cells[5].split(", "))))
    for line in re.findall(r"^\| (\d.*) \|$", PAGE, flags=re.MULTILINE)
    if len(cells := line.split(" | ")) == 6
]
NODE = shutil.which("node")


def test_there_are_seeds_that_neither_a_float_nor_a_signed_integer_holds():
    seeds = [seed for _, _, _, seed, _, _ in ROWS]
    assert any(float(seed) != seed < 2**63 for seed in seeds)
    assert any(seed >= 2**63 for seed in seeds)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_code_of_the_page_and_refreeze_give_its_check_values(row):
    n, window, k, seed, i, positions = row
    (code,) = (block.text for block in blocks(PAGE) if "def draw" in block.text)
    names: dict[str, object] = {}
    exec("import numpy\n" + re.sub(r"^(>>>|\.\.\.) ", "", code.partition(">>> draw(")[0], flags=re.MULTILINE), names)
    assert names["draw"](n, window, k, seed, i) == positions  # type: ignore[operator]
    assert random_window(n, window, k, seed, i) == positions


@pytest.mark.skipif(NODE is None, reason="needs Node.js")
def test_the_adapter_of_node_gives_them_too():
    """The order of a draw is seen from ever larger windows, of which each adds one position."""
    adapter = load(command=f"{NODE} {ROOT / 'examples' / 'adapters' / 'javascript' / 'adapter.mjs'}")
    try:
        for n, window, k, seed, i, positions in ROWS:
            names = [f"layer{place}" for place in range(n)]
            for size in range(1, window + 1):
                strategy = {"type": "random", "window_size": size, "iterative_span": 1, "seed": seed}
                specs = [{"layers": names, "training_interval": [k + 1, k + 2]}] * i
                specs.append({"layers": names, "training_interval": [0, k + 1], "strategy": strategy})
                schedule = adapter.ask(segments_request("vl3d", names, specs, k + 1, start=k))
                assert schedule.segments[-1].frozen == {names[place] for place in positions[:size]}, (seed, size)
    finally:
        adapter.close()
