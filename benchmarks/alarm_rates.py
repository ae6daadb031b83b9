"""How often does a gate on times raise a false alarm, and how often does it miss a slowdown of 5 %?

    python benchmarks/alarm_rates.py measure benchmarks/ab_planning.py pairs.json --pairs 200
    python benchmarks/alarm_rates.py report pairs.json

The first measures pairs of processes of this version (A/A), and pairs whose second process has a copy that does 5 %
more work: ``segments`` does every 20th call twice; a run on Keras computes on for 5 % of its processor time. Every pair
is kept as soon as it is measured. The second draws comparisons of 8 pairs each, the same pair more than once only
where there are too few, and judges them as ``refreeze bench ab``
does; beside that, it judges two processes of different times as ``refreeze bench compare`` does with a threshold on the
median.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import statistics
import tempfile
from pathlib import Path

from refreeze.bench.ab import REFERENCE, interval, measured

HERE = Path(__file__).resolve().parents[1] / "reference"
SLOWER = {
    "ab_planning.py": ("schedule.py", """
_segments, _calls = segments, 0

def segments(policy, total):
    global _calls
    _calls += 1
    if _calls % 20 == 0:
        _segments(policy, total)
    return _segments(policy, total)
"""),
    "ab_keras.py": ("keras/executor.py", """
from time import process_time as _now
_run = FreezeTrainingExecutor.run

def _slower(*args):
    begun = _now()
    history = _run(*args)
    end = begun + 1.05 * (_now() - begun)
    while _now() < end:
        pass
    return history

FreezeTrainingExecutor.run = _slower
"""),
}  # fmt: skip


def measure(file: str, out: Path, pairs: int, rounds: int) -> None:
    """Add pairs to ``out``, one without and one with the slowdown in turn."""
    with tempfile.TemporaryDirectory() as folder:
        slow = Path(folder, "slow")
        shutil.copytree(HERE, slow, ignore=shutil.ignore_patterns("__pycache__"))
        module, more = SLOWER[Path(file).name]
        with (slow / "refreeze" / module).open("a") as code:
            code.write(more)
        for _ in range(pairs):
            for name, new in (("A/A", HERE), ("5 % more work", slow)):
                found = measured(str(HERE), str(new), file, rounds, "cpu")
                kept = {row: [[old.seconds, new.seconds] for old, new in samples] for row, samples in found.items()}
                with out.open("a") as lines:
                    lines.write(json.dumps({"kind": name, "file": Path(file).name, "rows": kept}) + "\n")


def report(out: Path, pairs: int, comparisons: int, json_file: Path | None) -> None:
    """Print the rates, and write them where ``refreeze bench compare`` reads them if asked to."""
    draw = random.Random(0)
    every = [json.loads(line) for line in out.read_text().splitlines()]
    kinds = {kind: [one["rows"] for one in every if one["kind"] == kind] for kind in ("A/A", "5 % more work")}

    def log(pair: dict[str, list[list[float]]], row: str) -> float:
        return statistics.median(math.log(new / old) for old, new in pair[row])

    for row in [row for row in kinds["A/A"][0] if row != REFERENCE]:
        print(f"row {row!r}: {len(kinds['A/A'])} A/A pairs of {len(kinds['A/A'][0][row])} rounds")
        for relative in (False, True):
            less = {
                kind: [log(pair, row) - (log(pair, REFERENCE) if relative else 0) for pair in found]
                for kind, found in kinds.items()
            }
            less["5 % by calculation"] = [value + math.log(1.05) for value in less["A/A"]]
            beside = "relative to the reference" if relative else "alone"
            print(f"  {beside}: between pairs {statistics.stdev(less['A/A']):.2%}")
            for threshold in (0.0, 0.01, 0.02):
                alarms = {
                    kind: sum(interval(drawn(values, k=pairs)).low > 1 + threshold for _ in range(comparisons))
                    for kind, values in less.items()
                    for drawn in [draw.sample if len(values) > pairs else draw.choices]
                }
                said = (f"{kind} {count} of {comparisons};" for kind, count in alarms.items())
                print(f"    past {threshold:.0%}:", *said)
                if threshold == 0.01:
                    ab = {"past": "1%", "false": alarms["A/A"], "found": alarms["5 % by calculation"]}
        processes = (zip(*pair[row], strict=True) for pair in kinds["A/A"])
        medians = [[statistics.median(times) for times in pair] for pair in processes]
        separate = []
        for limit in (0.05, 0.10, 0.25):
            two = [draw.sample(medians, 2) for _ in range(comparisons)]
            false = sum(new[1] > old[0] * (1 + limit) for old, new in two)
            found = sum(new[1] * 1.05 > old[0] * (1 + limit) for old, new in two)
            separate.append({"past": f"median:{limit:.0%}", "false": false, "found": found})
            print(f"  separate runs, {separate[-1]}")
        if json_file is not None:
            rates = {"comparisons": comparisons, "separate": separate, "ab": ab}
            json_file.write_text(json.dumps(rates, indent=1) + "\n")


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["measure", "report"])
    parser.add_argument("files", nargs="+", help="the file with rows, to measure; and the file of pairs")
    parser.add_argument("--pairs", type=int, default=8, help="to measure, or of a comparison")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", type=Path, help="where to write the rates, for refreeze bench compare")
    parser.add_argument("--comparisons", type=int, default=200)
    given = parser.parse_args()
    if given.what == "measure":
        measure(given.files[0], Path(given.files[1]), given.pairs, given.rounds)
    else:
        report(Path(given.files[0]), given.pairs, given.comparisons, given.json)


if __name__ == "__main__":
    main()
