"""The recorder in Keras' ``fit``: what is recorded is what moved, on each backend; right runs are not blamed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from refreeze import InvalidSpec, always, during, random_windows, round_robin, union
from refreeze.audit import AuditOptions, audit
from refreeze.audit.checksums.tensorflow import VariableChecksums
from refreeze.audit.record import Header, Reader, Step
from refreeze.keras import FreezeSchedule, FreezeTrainingExecutor, Recorder

pytestmark = pytest.mark.engine
NAMES, EPOCHS = ["stem", "norm", "body", "head"], 4


def model(optimizer=None, seed=0):
    keras.utils.set_random_seed(seed)
    inside = keras.Sequential([keras.layers.Dense(5, name="body", activation="tanh")], name="inside")
    layers = [keras.layers.Dense(4, name="stem"), keras.layers.BatchNormalization(name="norm"), inside]
    made = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(2, name="head")])
    made.compile(optimizer or keras.optimizers.Adam(0.01), "mse")
    return made


def data():
    x = np.random.default_rng(0).normal(size=(24, 3)).astype("float32")
    return x, x[:, :2]


def fit(made, *callbacks, epochs=EPOCHS):
    x, y = data()
    return made.fit(x, y, batch_size=8, epochs=epochs, verbose=0, shuffle=False, callbacks=list(callbacks))


INSIDE = union(during(always(["stem", "norm"]), 0, 2), during(always(["inside/body"]), 1, 3))


def records(path):
    with Reader("RUN", path) as reader:
        return [record for _, record in reader]


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int64", "bool"])
def test_a_checksum_sees_one_bit(dtype):
    values = (np.arange(300) % 2).astype(dtype)
    other = values.copy()
    other.view(np.uint8)[-1] ^= 1
    import tensorflow as tf

    one, same, differs, empty = VariableChecksums()(
        [tf.Variable(v) for v in (values, values.copy(), other, values[:0])]
    )
    assert one == same != differs
    assert empty == "0" * 16


def test_what_is_recorded_is_what_moved_and_what_has_slots(tmp_path):
    made, recorder = model(), Recorder(tmp_path / "run.jsonl", epochs=EPOCHS)
    fit(made, FreezeSchedule(INSIDE), recorder)
    header, start, *steps = records(tmp_path / "run.jsonl")
    assert isinstance(header, Header)
    assert header.layers == ("stem", "norm", "inside/body", "head")
    assert {e.name: e.names for e in header.parameters}["inside/body/kernel"] == (
        "inside", "inside/body", "inside/body/kernel",
    )  # fmt: skip
    assert [entry.name for entry in header.statistics] == ["norm/moving_mean", "norm/moving_variance"]
    assert len(steps) == EPOCHS * 3
    names = [entry.name for entry in header.parameters]
    for before, step in zip([start, *steps], steps, strict=False):
        moved = {n for n, a, b in zip(names, before.parameters, step.parameters, strict=True) if a != b}
        assert moved == {name for name in names if name.rpartition("/")[0] not in INSIDE.frozen_at(step.epoch)}
        assert {names[i] for i in step.frozen} == set(names) - moved
    assert set(steps[-1].slots) == {"momentum", "velocity"}
    assert None not in steps[-1].slots["momentum"]
    assert audit(tmp_path / "run.jsonl", INSIDE).held
    assert not audit(tmp_path / "run.jsonl", union(INSIDE, during(always(["head"]), 3, 4))).held


def test_a_recorded_run_ends_with_the_same_bits(tmp_path):
    ends = []
    for record in (False, True):
        made = model()
        fit(made, FreezeSchedule(INSIDE), *([Recorder(tmp_path / "run.jsonl")] if record else []))
        ends.append([variable.numpy() for variable in (*made.variables, *made.optimizer.variables)])
    assert all(np.array_equal(plain, recorded) for plain, recorded in zip(*ends, strict=True))


def test_one_recorder_goes_through_all_fits_of_an_executor(tmp_path):
    made, recorder = model(), Recorder(tmp_path / "run.jsonl", epochs=EPOCHS)
    config = [{"layers": ["stem"], "training_interval": [1, 3]}]
    FreezeTrainingExecutor(config).run(made, EPOCHS, lambda epochs: fit(made, recorder, epochs=epochs))
    assert [r.epoch for r in records(tmp_path / "run.jsonl") if isinstance(r, Step)] == [0] * 3 + [1] * 3 + [2] * 3 + [
        3
    ] * 3
    assert audit(tmp_path / "run.jsonl", config).held


@pytest.mark.parametrize("probe", [False, True])
@pytest.mark.parametrize("why", [pytest.param("stale", marks=pytest.mark.only_on("tensorflow")), "dead"])
def test_a_probe_tells_a_stale_train_step_from_a_gradient_of_zero(tmp_path, why, probe):
    """TensorFlow ignores a flag that changes after the first fit, so the stem never trains; a dead one does neither."""
    dead = why == "dead"
    stem = keras.layers.Dense(4, name="stem", activation="relu", bias_initializer="ones")
    made = keras.Sequential([keras.Input((3,)), stem, keras.layers.Dense(2, name="head")])
    made.compile(keras.optimizers.SGD(0.1), "mse")
    made.optimizer.build(made.trainable_variables)
    if dead:
        stem.set_weights([np.zeros((3, 4)), -np.ones(4)])
    recorder = Recorder(tmp_path / "run.jsonl", epochs=2, probe=data() if probe else None)
    for stem.trainable in (dead, True):
        fit(made, recorder, epochs=1)
    verdict = audit(tmp_path / "run.jsonl", during(always(["stem"]), 2 if dead else 0, None if dead else 1))
    variables = {"stem/kernel", "stem/bias"}
    assert {finding.name for finding in verdict.faults} == (variables if probe and not dead else set())
    assert {finding.name for finding in verdict.unclear} == (set() if probe else variables)


def test_bad_arguments_are_refused_when_it_is_made(tmp_path):
    for arguments in ({"every": 0}, {"epoch": -1}, {"probe": [1, 2]}, {"steps_per_epoch": 0}):
        with pytest.raises(InvalidSpec):
            Recorder(tmp_path / "run.jsonl", **arguments)


def drawn(rng):
    parts = []
    for start in rng.integers(0, 4, 2):
        some = [str(name) for name in rng.permutation(NAMES)[: rng.integers(1, 4)]]
        kinds = [always(some), round_robin(NAMES, window=2, span=1), random_windows(NAMES, 2, 1, seed=int(start))]
        parts.append(during(kinds[rng.integers(3)], int(start), int(start + rng.integers(1, 4))))
    return union(*parts)


def right_runs(folder, seeds):
    """Train right runs under random schedules; return what is blamed, or unclear, in them."""
    x, y = data()
    blamed = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        policy, unit, epochs = drawn(rng), ["epochs", "steps"][seed % 2], 5 - 2 * (seed % 2)
        optimizer = [keras.optimizers.SGD(0.05, momentum=0.9), keras.optimizers.AdamW(0.01)][rng.integers(2)]
        how = {
            "batch_norm": ["keras", "batch", "batch_fixed", "inference"][rng.integers(4)],
            "optimizer_state": ["keep", "reset", "reset_unfrozen"][rng.integers(3)],
        }
        path = folder / f"{seed}.jsonl"
        layers = [
            keras.layers.Dense(4, name=n) if n != "norm" else keras.layers.BatchNormalization(name=n) for n in NAMES
        ]
        keras.utils.set_random_seed(seed)
        made = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(2, name="last")])
        made.compile(optimizer, "mse")
        recorder = Recorder(path, epochs=epochs, probe=(x, y))
        callbacks = [FreezeSchedule(policy, unit=unit, **how), recorder]
        made.fit(x, y, batch_size=12, epochs=epochs, verbose=0, callbacks=callbacks)
        verdict = audit(path, policy, unit=unit, options=AuditOptions(**how))
        blamed += [] if verdict.held and not verdict.unclear else [(seed, verdict.lines())]
        keras.backend.clear_session()
    return blamed


def test_right_runs_are_not_blamed(tmp_path):
    assert right_runs(tmp_path, range(2)) == []


@pytest.mark.slow
def test_no_right_run_in_a_hundred_is_blamed(tmp_path):
    assert right_runs(tmp_path, range(100)) == []


PROGRAM = """
import sys, pathlib
sys.path[:0] = sys.argv[2:]
import test_keras_recorder as tests
path = pathlib.Path(sys.argv[1])
recorder = tests.Recorder(path, epochs=tests.EPOCHS, probe=tests.data())
tests.fit(tests.model(), tests.FreezeSchedule(tests.INSIDE), recorder)
verdict = tests.audit(path, tests.INSIDE)
wrong = tests.audit(path, tests.always(["head", "inside/body"]))
assert set(tests.records(path)[-1].slots) == {"momentum", "velocity"}
print(verdict.held, sorted(wrong.counts))
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_it_records_on_the_other_backends(tmp_path, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    here = os.path.dirname(__file__)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "run.jsonl"), here, os.path.dirname(here)],
        capture_output=True, text=True, env={**os.environ, "KERAS_BACKEND": backend}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    assert done.stdout.splitlines()[-1] == "True ['moved-while-frozen']"
