"""Write ``report.md`` and, where matplotlib is, ``switch.png`` of the figures in a folder: see ``backends.py``.

python benchmarks/backends_report.py FOLDER
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLUMNS = {
    "`compile` per segment": "compile", "first visit": "first_visit", "revisit": "revisit",
    "its switch alone": "revisit_switch", "step": "step", "masked: first": "masked_first",
    "masked: revisit": "masked_revisit", "masked: step": "masked_step",
}  # fmt: skip


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, ["---"] * len(head), *rows])


def ms(found: dict[str, Any], key: str) -> str:
    missing = "none" if found.get("backend") == "torch" else "not measured"
    return f"{found[key] * 1e3:,.2f} ms" if key in found else missing


def label(run: dict[str, Any]) -> str:
    return run["backend"] + (", jit_compile" if run["how"] == "compiled" else "")


def page(runs: list[dict[str, Any]], peers: list[dict[str, Any]]) -> str:
    """Return the report."""
    parts = [
        "# What a switch costs on each backend of Keras\n",
        "Medians of one run, of a switch with the first step after it unless the column says otherwise. `compile`\n"
        "per segment is what plain Keras needs at a boundary; *masked* is the one step for all sets, where the\n"
        "backend has it. Compare within one row, and rows only if they are of one machine. *step / plain Keras* is\n"
        "the median ratio for the same frozen sets, which says little of steps of a few milliseconds, and *MiB* is\n"
        "what the process grew by.\n",
    ]
    for kind in dict.fromkeys(run["model"] for run in runs):
        of = [run for run in runs if run["model"] == kind]
        devices = "; ".join(f"{label(run)} on {run['device']}" for run in of)
        rows = [[label(run), *(ms(run, key) for key in COLUMNS.values())] for run in of]
        counts = [
            [label(run), f"{run['steps_made']} for {run['sets']} sets",
             f"{run['compile'] / run['revisit_switch']:,.0f}", f"{run['step_to_plain']:.2f}",
             f"{run['mib_per_set']:.1f}", f"{run['mib_per_compile']:.1f}"]
            for run in of
        ]  # fmt: skip
        head = [
            "backend",
            "steps made",
            "compile / switch of a revisit",
            "step / plain Keras",
            "MiB a set",
            "MiB a compile",
        ]
        parts += [
            f"## {kind}\n",
            f"{devices}. Keras {of[0]['keras']}.\n",
            table(["backend", *COLUMNS], rows),
            table(head, counts),
        ]
    if peers:
        rows = [
            [row["way"], str(row["sets"]), *(ms(row, key) for key in ("first_visit", "longest", "revisit", "step")),
             f"{row['made']}, then {row['made_again']} more", "yes" if not row["wrong"] else f"no: {row['wrong'][0]}"]
            for row in peers
        ]  # fmt: skip
        head = [
            "way",
            "sets",
            "first visit",
            "the longest",
            "revisit",
            "step",
            "compiled, and at the revisits",
            "frozen is what should be",
        ]
        parts += ["## Others, without Keras, nine dense layers\n", table(head, rows)]
    return "\n".join(parts)


def picture(runs: list[dict[str, Any]], to: Path) -> None:
    """Draw bars of what a switch with its first step takes, and what a step, for each model and backend."""
    from matplotlib.figure import Figure

    kinds = [*dict.fromkeys(run["model"] for run in runs)]
    figure = Figure((8, 1 + 2.2 * len(kinds)), layout="constrained")
    bars = {
        "compile per segment": ("compile", "#d55e00"), "first visit": ("first_visit", "#e69f00"),
        "revisit": ("revisit", "#2f6fa7"), "its switch alone": ("revisit_switch", "#56b4e9"),
        "step": ("step", "#b0b0b0"),
    }  # fmt: skip
    for axes, kind in zip(figure.subplots(len(kinds), squeeze=False)[:, 0], kinds, strict=True):
        of = [run for run in runs if run["model"] == kind]
        for number, (name, (key, colour)) in enumerate(bars.items()):
            places = [place + 0.16 * number for place in range(len(of))]
            axes.barh(places, [run[key] * 1e3 for run in of], 0.15, label=name, color=colour)
        axes.set(xscale="log", xlabel="milliseconds", title=kind, yticks=[place + 0.32 for place in range(len(of))])
        axes.set_xlim(left=0.05)
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.set_yticklabels([label(run) for run in of])
        axes.invert_yaxis()
    figure.axes[0].legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.15), ncols=5)
    figure.savefig(to, dpi=120)


def report(folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """Return the report of the figures in a folder, without the picture, and the runs of backends in it."""
    found = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json")) if "laws" not in file.name]
    runs, order = [one for one in found if isinstance(one, dict)], ("tensorflow", "jax", "torch")
    runs.sort(key=lambda run: (run["model"] != "small", order.index(run["backend"]), run["how"] == "compiled"))
    return page(runs, [row for one in found if isinstance(one, list) for row in one]), runs


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    text, runs = report(folder)
    try:
        picture(runs, folder / "switch.png")
        text += "\n![What a switch and a step take](switch.png)\n"
    except ImportError:
        text += "\nmatplotlib is not here, so there is no picture.\n"
    (folder / "report.md").write_text(text)
    print(text)
