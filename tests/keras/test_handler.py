"""The training handler: every method of VL3D's under its name, and the order of the receptive fields."""

# ruff: noqa: N806 (VL3D's names)

from __future__ import annotations

import inspect
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from refreeze import InvalidSpec, NeedsModel, UnknownName
from refreeze.keras import DLTrainingHandler, FreezeSchedule, FreezeTrainingExecutor, TrainingHandler
from small_models import X, Y, build, everything

pytestmark = pytest.mark.engine
EXAMPLE = Path(__file__).parents[2] / "examples" / "training_handler.py"
SPEC = [{"layers": ["one"], "training_interval": [1, 3], "initial_learning_rate": 0.01}]
EPOCHS = 4


class Shuffled(keras.utils.PyDataset):
    """Feeds batches of 8; after every epoch the receptive fields are shuffled in place, and ``orders`` grows."""

    def __init__(self, X: Any, y: Any, **options: Any) -> None:
        super().__init__()
        self.X, self.y, self.orders = X, y, list[bytes]()
        self._random = np.random.default_rng(0)
        vars(self).update(options)

    def _arrays(self) -> list[np.ndarray]:
        return [*(self.X if isinstance(self.X, list) else [self.X]), *([] if self.y is None else [self.y])]

    def __len__(self) -> int:
        return len(self._arrays()[0]) // 8

    def __getitem__(self, index: int) -> Any:
        batch = slice(8 * index, 8 * index + 8)
        x = [part[batch] for part in self.X] if isinstance(self.X, list) else self.X[batch]
        return x[0] if isinstance(x, list) else x, self.y[batch]

    def on_epoch_end(self) -> None:
        self.orders.append(self.y.tobytes())
        order = self._random.permutation(len(self.y))
        for array in self._arrays():
            array[:] = array[order]


class Handler:
    """A model handler that notes what is done with it."""

    def __init__(self, **arch: Any) -> None:
        keras.utils.set_random_seed(0)
        nn = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, name="one"), keras.layers.Dense(1, name="two")])
        self.arch = SimpleNamespace(nn=nn, **arch)
        self.training_epochs, self.batch_size, self.fit_verbose, self.history = EPOCHS, 8, 0, None
        self.noted: list[str] = []
        self.sequencer: Any = None
        self.compile()

    def compile(self, y_rf: Any = None) -> None:
        self.arch.nn.compile(keras.optimizers.Adam(0.1), "mse", metrics=["mae"], run_eagerly=True)

    def build_sequencer(self, X: Any, y_rf: Any, training: bool) -> tuple[Any, None]:
        assert training is True
        self.noted.append("build_sequencer")
        self.sequencer = Shuffled(X, y_rf)
        return self.sequencer, None


class Plain(Handler):
    """A model handler without a sequencer."""

    build_sequencer = property()  # type: ignore[assignment]


def data() -> tuple[np.ndarray, np.ndarray]:
    x = np.linspace(-1, 1, 72, dtype=np.float32).reshape(24, 3)
    return x, x.sum(axis=1)


def noting(handler: TrainingHandler, mh: Handler) -> TrainingHandler:
    """Let every method of ``handler`` note its name when it is called."""

    def wrapped(name: str, method: Any) -> Any:
        def called(*args: Any, **options: Any) -> Any:
            mh.noted.append(name)
            return method(*args, **options)

        return called

    for name in ("pre_fit", "fit", "model_fit", "store_fit_backup", "restore_fit_backup", "post_fit"):
        setattr(handler, name, wrapped(name, getattr(handler, name)))
    return handler


def test_it_has_the_methods_of_VL3D_with_their_parameters() -> None:
    assert DLTrainingHandler is TrainingHandler
    expected = {
        "__call__": "mh X y_rf callbacks",
        "pre_fit": "mh X y_rf callbacks",
        "fit": "mh X y_rf callbacks",
        "model_fit": "mh callbacks input_X input_y",
        "store_fit_backup": "mh X y_rf",
        "restore_fit_backup": "mh input_X fit_backup",
        "check_architecture_needs_backup": "mh",
        "check_input_needs_backup": "input_X",
        "post_fit": "mh X y_rf callbacks fit_cache_map",
        "prepare_freeze_training": "mh",
        "handle_round_robin_freezing": "layers interval strategy",
        "handle_random_freezing": "layers interval strategy",
    }
    handler = DLTrainingHandler(freeze_training=SPEC)
    for name, parameters in expected.items():
        found = inspect.signature(getattr(handler, name)).parameters.values()
        assert [p.name for p in found if p.default is p.empty] == parameters.split(), name
        if name.startswith("handle"):
            assert getattr(handler, name) is getattr(FreezeTrainingExecutor, name)


def test_a_handler_with_training_epochs_alone_is_enough_to_prepare_the_schedule() -> None:
    mh = SimpleNamespace(training_epochs=4)
    expected = ([1, 3], [{"freeze": ["one"], "unfreeze": []}, {"freeze": [], "unfreeze": ["one"]}], [0.01, None])
    assert TrainingHandler(SPEC).prepare_freeze_training(mh) == expected
    assert TrainingHandler(SPEC).prepare_freeze_training(Handler()) == expected
    assert TrainingHandler(None).prepare_freeze_training(mh) == ([], [], [])

    everything_frozen = TrainingHandler([{"layers": "all", "training_interval": [0, 2]}])
    for without in (mh, SimpleNamespace(training_epochs=4, arch=SimpleNamespace())):
        with pytest.raises(NeedsModel, match="only with a model or a list of names"):
            everything_frozen.prepare_freeze_training(without)
    assert everything_frozen.prepare_freeze_training(Handler())[1][0] == {"freeze": ["one", "two"], "unfreeze": []}
    with pytest.raises(InvalidSpec, match="model handler = 7 must be an object with training_epochs"):
        everything_frozen.prepare_freeze_training(7)


def test_a_call_goes_through_all_stages_in_order() -> None:
    seen: list[dict[str, Any]] = []
    mh = Handler(
        prefit_logic_callback=lambda cache: (mh.noted.append("prefit"), seen.append(dict(cache)), cache.update(x=1)),
        posfit_logic_callback=lambda cache: (mh.noted.append("posfit"), seen.append(dict(cache))),
    )
    mh.build_callbacks = lambda: ["fresh"]  # type: ignore[attr-defined]
    callbacks: list[Any] = [keras.callbacks.LambdaCallback()]
    x, y = data()
    handler = noting(TrainingHandler(SPEC), mh)
    history = handler(mh, x, y, callbacks)
    assert mh.noted == [
        "pre_fit", "prefit", "fit", "store_fit_backup", "build_sequencer", "model_fit", "model_fit", "model_fit",
        "restore_fit_backup", "post_fit", "posfit",
    ]  # fmt: skip
    assert mh.history is history
    assert history.epoch == list(range(EPOCHS))
    assert [report.trained for report in handler.reports] == [1, 2, 1]

    before, after = seen
    assert before["X"] is x
    assert before["y_rf"] is y
    assert before["callbacks"] is callbacks
    assert (before["training_epochs"], before["batch_size"]) == (EPOCHS, 8)
    optimizer = mh.arch.nn.optimizer
    before["compilef"](y)
    assert mh.arch.nn.optimizer is not optimizer
    assert (after["x"], after["history"], after["callbacks"]) == (1, history, ["fresh"])


def test_the_history_that_the_architecture_leaves_is_the_handlers() -> None:
    mh = Handler(posfit_logic_callback=lambda cache: cache.update(history="another", given=cache["callbacks"]))
    cache_map: dict[str, Any] = {}
    TrainingHandler().post_fit(mh, *data(), ["given"], cache_map)
    assert (mh.history, cache_map["given"]) == ("another", ["given"])
    assert TrainingHandler()(mh, *data(), []) == "another"


def test_a_prefit_callback_may_compile_again() -> None:
    mh = Handler(prefit_logic_callback=lambda cache: cache["compilef"](cache["y_rf"]))
    old = mh.arch.nn.optimizer
    TrainingHandler(SPEC)(mh, *data(), [])
    assert mh.arch.nn.optimizer is not old
    assert int(mh.arch.nn.optimizer.iterations) == 3 * EPOCHS


@pytest.mark.parametrize("spec", [None, SPEC], ids=["plain", "scheduled"])
@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
@pytest.mark.parametrize("several", [False, True], ids=["array", "arrays"])
def test_what_the_sequencer_shuffled_is_put_back_in_place(
    spec: Any, fails: bool, several: bool, tmp_path: Path
) -> None:
    x, y = data()
    x[3, 1] = np.nan
    X = [x, np.arange(24), np.arange(48.0).reshape(24, 2) < 20] if several else x
    arrays = [*(X if several else [X]), y]
    came = [array.copy() for array in arrays]
    backups: list[Path] = []

    def begun(epoch: int, logs: Any) -> None:
        backups.extend(tmp_path.iterdir())
        if fails and epoch == 1:
            raise RuntimeError("the power is gone")

    mh = Handler()
    handler = TrainingHandler(spec, backup_dir=tmp_path)
    callbacks = [keras.callbacks.LambdaCallback(on_epoch_begin=begun)]
    if fails:
        with pytest.raises(RuntimeError, match="the power is gone"):
            handler(mh, X, y, callbacks)
    else:
        handler(mh, X, y, callbacks)
    # The order was another one in the meantime, and the file was there.
    assert len(set(mh.sequencer.orders)) == len(mh.sequencer.orders) >= (1 if fails else EPOCHS)
    assert {path.suffix for path in backups} == {".npz"}
    for array, before in zip(arrays, came, strict=True):
        assert array.tobytes() == before.tobytes()
        assert array.dtype == before.dtype
    assert all(mine is given for mine, given in zip(mh.sequencer._arrays(), arrays, strict=True))
    assert list(tmp_path.iterdir()) == []


def test_a_backup_is_made_only_if_it_is_needed(tmp_path: Path) -> None:
    handler = TrainingHandler(backup_dir=tmp_path)
    check = TrainingHandler.check_architecture_needs_backup
    assert [check(mh) for mh in (Handler(), Plain())] == [True, False]
    assert [check(Plain(needs_fit_backup=True)), check(Handler(needs_fit_backup=False))] == [True, False]
    assert handler.store_fit_backup(Plain(), *data()) is None

    check = TrainingHandler.check_input_needs_backup
    x, y = data()
    assert [check(Shuffled(x, y)), check(Shuffled(x, y, needs_fit_backup=False)), check(x), check([x, y])] == [
        True, False, False, False,
    ]  # fmt: skip

    # An input that needs none is left as it is, and the file goes.
    for leave in (Shuffled(x, y, needs_fit_backup=False), [x, y]):
        path = handler.store_fit_backup(Handler(), x, y)
        assert path is not None
        assert path.parent == tmp_path
        x[0, 0] += 1
        changed = x.copy()
        handler.restore_fit_backup(Handler(), leave, path)
        assert (x == changed).all()
        assert list(tmp_path.iterdir()) == []


def test_a_backup_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handler, (x, y) = TrainingHandler(backup_dir=tmp_path), data()
    path = handler.store_fit_backup(Handler(), [x, [y]], None)
    with np.load(path) as file:
        assert [(file[name] == array).all() for name, array in zip(file.files, (x, y), strict=True)] == [True, True]
    with pytest.raises(InvalidSpec, match=r"input_X = .* must be the arrays that are in .*npz"):
        handler.restore_fit_backup(Handler(), Shuffled(x[:, :2], y), path)
    assert list(tmp_path.iterdir()) == [path]
    assert (x == data()[0]).all()

    def half(file: Any, *arrays: Any) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", half)
    with pytest.raises(KeyboardInterrupt):
        handler.store_fit_backup(Handler(), x, y)
    assert list(tmp_path.iterdir()) == [path]
    for odd in ([x, "text"], np.array([x, None], dtype=object)):
        with pytest.raises(InvalidSpec, match=r"(?s)receptive fields = .* must be arrays of numbers, or lists of such"):
            handler.store_fit_backup(Handler(), odd, y)


@pytest.mark.parametrize("kind", [Handler, Plain])
def test_without_a_schedule_it_is_model_fit_which_shuffles_arrays_but_no_sequencer(kind: type[Handler]) -> None:
    mh, alone = kind(), kind()
    keras.utils.set_random_seed(3)
    TrainingHandler()(mh, *data(), [])
    keras.utils.set_random_seed(3)
    fed = data() if kind is Plain else (Shuffled(*data()),)
    history = alone.arch.nn.fit(*fed, epochs=EPOCHS, batch_size=8, shuffle=kind is Plain, verbose=0)
    assert everything(mh.arch.nn, mh.history) == everything(alone.arch.nn, history)


def test_callback_handler_and_executor_agree_bit_for_bit() -> None:
    """Convolution, normalization and dropout; Adam with clipping."""
    turns = {"type": "round_robin", "window_size": 1, "iterative_span": 1}
    spec = [
        {"layers": ["one", "norm"], "training_interval": [0, 4], "strategy": turns, "initial_learning_rate": 0.02},
        {"layers": ["two", "head"], "training_interval": [1, 3], "strategy": {**turns, "type": "random", "seed": 4}},
    ]
    ends = []
    for way in ("callback", "handler", "executor"):
        nn, sequencer = build(), Shuffled(X[:24].copy(), Y[:24].copy())
        # Keras calls it once more for each fit, so how often the data are shuffled depends on the number of fits.
        sequencer.on_epoch_end = lambda: None

        def fit(epochs: int, *callbacks: Any, nn: Any = nn, sequencer: Any = sequencer) -> Any:
            return nn.fit(sequencer, epochs=epochs, callbacks=list(callbacks), shuffle=False, verbose=0)

        if way == "callback":
            history = fit(EPOCHS, FreezeSchedule(spec))
        elif way == "executor":
            executor = FreezeTrainingExecutor(spec)
            history = executor.run(nn, EPOCHS, fit)
            assert len({report.segment.frozen for report in executor.reports}) >= 3
        else:
            mh = SimpleNamespace(
                arch=SimpleNamespace(nn=nn), training_epochs=EPOCHS, fit_verbose=0,
                build_sequencer=lambda *data, sequencer=sequencer: (sequencer, None),
            )  # fmt: skip
            history = TrainingHandler(spec)(mh, sequencer.X, sequencer.y, [])
        ends.append((everything(nn, history), history.epoch))
    assert ends[0] == ends[1] == ends[2]


def test_options_are_the_executors_and_errors_come_before_training(tmp_path: Path) -> None:
    mh, (x, y) = Handler(), data()
    with pytest.raises(UnknownName, match="'uno'"):
        TrainingHandler([{"layers": ["uno"], "training_interval": [0, 1]}], backup_dir=tmp_path)(mh, x, y, [])
    assert list(tmp_path.iterdir()) == []
    assert int(mh.arch.nn.optimizer.iterations) == 0
    handler = TrainingHandler(None, checkpoint=tmp_path / "checkpoints", restore=True)
    handler(mh, x, y, [])
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [f"epoch-{EPOCHS:08}.npz"]
    with pytest.raises(InvalidSpec, match=r"model handler = .* must be an object with arch"):
        handler(SimpleNamespace(training_epochs=1), x, y, [])
    compiled = Handler()
    compiled.compiled, compiled.arch.nn = compiled.arch.nn, None
    assert TrainingHandler()(compiled, x, y, []).epoch == list(range(EPOCHS))


def test_the_example_runs_and_shows_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    history = runpy.run_path(str(EXAMPLE))["main"]()
    lines = capsys.readouterr().out.splitlines()
    frozen = [line.split("  ")[0:1] + line[6:24].split(", ") for line in lines[1:5]]
    assert [[part.strip() for part in row] for row in frozen] == [
        ["0-3", "point1", "point2"], ["4-5", "point1"], ["6-7", "point2"], ["8-9", "nothing"],
    ]  # fmt: skip
    assert history.epoch == list(range(10))
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert set(history.moved) == {"point1", "point2"}
    assert all(distance > 0 for distance in history.moved.values())
