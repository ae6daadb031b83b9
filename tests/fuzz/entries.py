"""The entry points: each makes an input of its random numbers, in an empty folder, and gives it to refreeze."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import random
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import refreeze as r
from inputs import NUMBERS, TEXTS, changed, every_vector, odd, request, written
from refreeze import loading, plan, plot
from refreeze.audit import audit
from refreeze.cli import app
from refreeze.conformance import adapters, catalogue, known_failures, runner, transports
from refreeze.conformance.reference import respond
from refreeze.dialects import BUILT_IN
from typer.testing import CliRunner

REFERENCE = "refreeze.conformance.reference:respond"
KNOWN = {"law": "SCH-1-contiguous_from_start_to_total", "dialect": "vl3d", "reason": "a", "case": {"config": []}}
STORED = Path(__file__).parents[2] / "docs" / "tutorials" / "benchmark-runs" / "before.json"


def plain(rng: random.Random, folder: Path) -> None:
    """A configuration as plain data, names and the numbers of a run; the timeline of what comes out."""
    asked = request(rng)
    config = changed(rng, asked["config"])
    names = asked.get("names") if rng.random() < 0.8 else odd(rng)
    total = asked.get("total", 9) if rng.random() < 0.8 else rng.choice([*NUMBERS, 3_000, odd(rng)])
    per = asked.get("steps_per_epoch", 1) if rng.random() < 0.9 else odd(rng)
    spec = plan.configuration(config, asked["dialect"] if rng.random() < 0.9 else rng.choice(BUILT_IN))
    found = plan.plan(spec, names, total=total, steps_per_epoch=per)
    if found.segments and found.names and len(found.segments) < 3_000:
        plot.text(found.segments, found.names, rng.choice([1, 80]))


def core(rng: random.Random, folder: Path) -> None:
    """Calls of the core with wrong arguments, one inside of the other."""

    def names() -> Any:
        return rng.choice([["a"], ["a", "b", "c"], "abc", (), odd(rng)])

    def tick() -> Any:
        return rng.choice([0, 1, 3, 1, 2, *NUMBERS, odd(rng)])

    def policy(depth: int) -> Any:
        inner = [policy(rng.randrange(depth)) for _ in range(rng.randrange(1, 4))] if depth else []
        leaves: list[Callable[[], Any]] = [
            lambda: rng.choice([r.always, r.never, r.inference_mode])(names()),
            lambda: r.rate(rng.choice([0.1, odd(rng)]), tick()),
            lambda: r.round_robin(names(), tick(), tick()),
            lambda: r.random_windows(names(), tick(), tick(), tick()),
            lambda: odd(rng),
        ]
        outer: list[Callable[[], Any]] = [
            lambda: rng.choice([r.union, r.override])(*inner),
            lambda: rng.choice([r.shift, r.in_steps])(inner[0], tick()),
            lambda: r.during(inner[0], tick(), tick()),
            lambda: r.invert(inner[0], names()),
            lambda: r.stages(*((tick(), part) for part in inner)),
        ]
        return rng.choice(outer if depth else leaves)()

    found = r.segments(policy(rng.randrange(4)), rng.choice([9, 100, tick()]))
    if len(found) < 3_000:
        r.replay(r.operations(r.cut(found, tick(), tick())), tick())
        r.check_same_past(found, r.in_epochs(found, tick()), tick())


def _spec(rng: random.Random, folder: Path) -> tuple[Path, dict[str, Any]]:
    asked = request(rng)
    data = changed(rng, {"dialect": asked["dialect"], "config": asked["config"]}, only_json=True)
    return written(rng, data, folder / f"spec{rng.choice(['.json', '.yaml', '.yml', '.toml'])}"), asked


def files(rng: random.Random, folder: Path) -> None:
    """Configuration files, and names of functions."""
    with contextlib.suppress(r.InvalidSpec):
        loading.call_object("--model", rng.choice(["sys:exit", "math:pi", "a.b:c", "os:getcwd", *TEXTS]))
    path, asked = _spec(rng, folder)
    r.read(path).policy(asked.get("names"), total=asked.get("total", 9))


def cli(rng: random.Random, folder: Path) -> None:
    """The command line: an answer, or one line on stderr and exit code 2; the user's files stay what they were."""
    path, asked = _spec(rng, folder)
    written(rng, changed(rng, {"failures": [KNOWN]}, only_json=True), folder / "known.toml")
    written(rng, changed(rng, asked, only_json=True), folder / "case.json")
    written(rng, changed(rng, json.loads(STORED.read_text()), only_json=True), folder / "run.json")
    (folder / "mine.txt").write_text("mine")
    names, text, law = (
        ",".join(map(str, asked.get("names") or "ab")),
        rng.choice(TEXTS),
        rng.choice(["SCH-1", "RR", "x"]),
    )
    out, kind = (
        rng.choice(["new", "mine.txt", path.name, "none/x", ".", "/dev/null"]),
        rng.choice(["text", "json", "svg"]),
    )
    run = [path.name, "--epochs", "9", "--names", names]
    call = rng.choice([
        ["plan", *run, "--steps-per-epoch", rng.choice(["3", text])],
        ["plan", *run[:2], str(rng.choice(NUMBERS[:12])), "--names", text, "--format", "json"],
        ["plan", *run, "--out", out, "--format", kind],
        ["plan", *run, "--out", out, "--format", kind],
        ["verify", REFERENCE, "--law", law, "--dialect", "vl3d", "--replay", "case.json"],
        ["verify", rng.choice(["math:sqrt", text]), "--known-failures", "known.toml", "--replay", text],
        ["vectors", rng.choice(["show", "list", "check"]), rng.choice([text, "--clause=RR-9"])],
        ["bench", "compare", "run.json", rng.choice(["run.json", "case.json"]), "--fail", rng.choice(["min:5%", text])],
        ["convert", *run, "--to", rng.choice(BUILT_IN), "--steps-per-epoch", "3"],
        ["convert", *run, "--to", rng.choice(["vl3d", text]), "--rates", "ignore", "--out", out],
        ["dialects", "--schema", text],
    ])  # fmt: skip
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with contextlib.chdir(folder):
        done = CliRunner().invoke(app, call)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    after = {file.name: file.read_bytes() for file in folder.iterdir()}
    replaced = {out} - {path.name} if done.exit_code == 0 and "--out" in call else set()
    lost = [name for name in {*before, *after} - replaced if before.get(name) != after.get(name)]
    if lost or (done.exit_code == 2 and "Usage" not in done.output and len(done.stderr.splitlines()) > 1):
        raise AssertionError(f"{call} changed {lost}, said {done.stderr!r:.300}")


def wire(rng: random.Random, folder: Path) -> None:
    """Requests to the reference, which answers whatever it is asked."""
    answer = respond(changed(rng, {"refreeze": 1, "id": "c1", **request(rng)}))
    if not isinstance(answer, dict) or not {"segments", "frozen", "canonical", "error", "unsupported"} & answer.keys():
        raise AssertionError(f"no answer: {answer!r:.300}")


def answers(rng: random.Random, folder: Path) -> None:
    """Answers of implementations, as objects of a function and as lines of a program."""
    vector = rng.choice(every_vector())
    right = vector.expected if isinstance(vector.expected, dict) else {"error": vector.error}
    answer = changed(rng, {"id": "c1", **right})
    with contextlib.closing(adapters.Responder("a", transports.InProcess(lambda _: answer), 5)) as responder:
        if rng.random() < 0.5:
            responder.ask(vector.request)
        else:
            responder._asked = 1
            responder._read(written(rng, answer, folder / "line.json").read_bytes(), vector.request)


def cases(rng: random.Random, folder: Path) -> None:
    """Cases to replay, and files of known failures."""
    if rng.random() < 0.5:
        name = rng.choice(["known.toml", "known.json"])
        known_failures.read(written(rng, changed(rng, {"failures": [KNOWN]}, only_json=True), folder / name))
    case = changed(rng, {key: value for key, value in request(rng).items() if key not in ("op", "dialect")}, True)
    with contextlib.closing(adapters.load(REFERENCE, timeout=5)) as adapter:
        runner.replay(
            adapter, [rng.choice(catalogue.checks("schedule", (), ()))], case if isinstance(case, dict) else {}
        )


def checkpoints(rng: random.Random, folder: Path) -> None:
    """Checkpoint files, as they are read, without a model; needs Keras."""
    from refreeze.keras import checkpoint

    segment = {"start": 0, "stop": 4, "frozen": ["a"], "learning_rate": None, "bn_frozen": []}
    state = {"format": checkpoint.FORMAT, "version": 1, "refreeze": "0", "keras": "3", "epoch": 2, "stopped": False}
    state |= {"schedule": [segment], "variables": ["a"], "history": {"loss": [1.0, 0.5]}}
    state |= {"backend": "torch", "random": "00ff", "written": ["epoch-00000002.npz"]}
    array, content = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array(array, np.ones((2, 3), rng.choice(["float32", "float32", "float64", "int8"])))
    said = written(rng, changed(rng, state, only_json=True) if rng.random() < 0.7 else state, folder / "state.json")
    with zipfile.ZipFile(content, "w", rng.choice([0, 0, 8])) as archive:
        archive.write(said, "state.json")
        archive.writestr("0.npy", array.getvalue())
    raw = bytearray(content.getvalue())
    for _ in range(rng.choice([0, 0, 1, 3, 40])):
        raw[rng.randrange(len(raw))] = rng.randrange(256)
    path = folder / "epoch-00000002.npz"
    path.write_bytes(raw[: len(raw) if rng.random() < 0.8 else rng.randrange(len(raw))])
    checkpoint._read(path, ["a"], [((2, 3), np.dtype("float32"))])


def _line(value: Any) -> bytes:
    try:
        return json.dumps(value).encode()
    except ValueError:  # it holds itself, or a number of thousands of digits
        return b'{"record": "step", "epoch": ' + b"9" * 5_000 + b"}"


def records(rng: random.Random, folder: Path) -> None:
    """A record of a run, some lines of it changed, lost, or somewhere else; and the audit of it."""
    run = {"parameters": ["1", "2"], "slots": {"m": ["1", None]}, "statistics": ["7"], "frozen": [0], "missing": []}
    entries = [{"name": f"{name}.w", "names": [name, f"{name}.w"]} for name in "ab"]
    lines: list[Any] = [{"record": "header", "refreeze": 1, "framework": "f", "checksum": "c", "layers": ["a", "b"],
                         "parameters": entries, "statistics": [{"name": "m", "names": ["a"]}]}]  # fmt: skip
    lines.append(run | {"record": "start", "epoch": 0, "step": 0})
    lines += [run | {"record": "step", "epoch": t, "step": 0, "parameters": [str(t), "2"]} for t in range(4)]
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(lines))
        lines[at] = changed(rng, lines[at], only_json=True)
        lines.insert(rng.randrange(len(lines)), lines.pop(rng.randrange(len(lines))))
    path = folder / "run.jsonl"
    content = b"\n".join(map(_line, lines))
    path.write_bytes(content[: rng.choice([len(content), rng.randrange(len(content))])])
    policy = r.round_robin(["a", "b"], window=1, span=rng.choice([1, 2]))
    audit(path, policy, epochs=rng.choice([4, 9]), unit=rng.choice(["epochs", "steps"]), steps_per_epoch=1).lines()


@contextlib.contextmanager
def _untouched(state: Callable[[], Any]) -> Iterator[None]:
    """What is refused changes nothing."""
    before = state()
    try:
        yield
    except r.ScheduleError as error:
        if state() != before:
            raise AssertionError(f"refused, and something has changed: {error}") from error
        raise


def loops(rng: random.Random, folder: Path) -> None:
    """A schedule in a loop of PyTorch: what it is made of, the ticks that begin, states that are loaded."""
    import torch
    from refreeze.torch import FreezeSchedule

    torch.manual_seed(0)
    model = torch.nn.ModuleDict({name: torch.nn.Linear(1, 1) for name in ("a", "b", "c")})
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def state() -> Any:
        return [(p.requires_grad, p.tolist()) for p in model.parameters()], repr(optimizer.state_dict())

    right = {"dialect": "vl3d", "config": [{"layers": ["a", "b"], "training_interval": [1, 3]}]}
    spec: Any = changed(rng, right, True) if rng.random() < 0.5 else r.round_robin(["a", "b"], window=1, span=1)
    options = {"epochs": 4, "steps_per_epoch": 2, "unit": None, "dialect": "vl3d", "batch_norm": "keras"}
    options |= {"optimizer_state": "reset", "user_frozen": "keep", "on_segment": None}
    for name in rng.choice([[], [], rng.sample([*options], 1), rng.sample([*options], 3)]):
        options[name] = odd(rng)
    with _untouched(state):
        schedule = FreezeSchedule(spec["config"] if isinstance(spec, dict) and "config" in spec else spec,
                                  model, optimizer, **options)  # fmt: skip
    for epoch in range(rng.randrange(3)):
        schedule.begin(epoch, 0)
    with _untouched(lambda: (state(), schedule.state_dict())):
        if rng.random() < 0.5:
            schedule.load_state_dict(changed(rng, schedule.state_dict()))
        else:
            schedule.begin(*(rng.choice([0, 1, 3, odd(rng)]) for _ in range(rng.choice([1, 2]))))


@functools.cache
def _page() -> subprocess.Popen[str]:
    """Return the page for reports as a process: it is given reports, clicks all cells, and says what was said."""
    here = Path(__file__)
    script = here.parents[2] / "docs" / "_static" / "conformance.js"
    call = [shutil.which("node") or "node", str(here.with_name("page.mjs")), str(script)]
    return subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def page(rng: random.Random, folder: Path) -> None:
    """A report that is dropped on the page: it is drawn, or the page says what is wrong with it."""
    segment = {"start": 0, "stop": 2, "frozen": ["a"]}
    request = {"config": [], "names": ["a"], "total": 2, "steps_per_epoch": 2}
    failure = {"what": "w", "got": "g", "should_be": "s", "replay": "r", "timelines": [[segment], [segment]],
               "case": {"request": request, "other": request}}  # fmt: skip
    result = {"law": "l", "clause": "SCH-1", "dialect": "d", "requirement": "must", "verdict": "broken", "cases": 3,
              "unsupported": 0, "failure": failure, "reason": "r"}  # fmt: skip
    report = changed(rng, {"adapter": "a", "results": [result, {**result, "verdict": "holds"}]}, only_json=True)
    text = written(rng, report, folder / "report.json").read_text("utf-8", "replace")
    process = _page()
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(text) + "\n")
        process.stdin.flush()
        said = json.loads(process.stdout.readline())
    except BaseException:  # it hangs, or has ended
        process.kill()
        _page.cache_clear()
        raise
    if not said["said"] or said["raised"] or said["tags"]:
        raise AssertionError(f"{said!r:.500}")


ENTRIES = {
    entry.__name__: entry
    for entry in (plain, core, files, cli, wire, answers, cases, checkpoints, records, loops, page)
}
