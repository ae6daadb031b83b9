"""`refreeze plan` and `refreeze dialects`: what they print, and one line for whatever is wrong with the input."""

import errno
import json
import os
import subprocess
import sys

import pytest
import refreeze
from refreeze import segments, segments_json
from refreeze.cli import app
from refreeze.dialects import dialects
from typer.testing import CliRunner

SPEC = {
    "layers": ["stem", "block1", "head"],
    "training_interval": [2, 8],
    "strategy": {"type": "round_robin", "window_size": 1, "iterative_span": 2},
    "initial_learning_rate": 0.01,
}
FREEZERS = [{"names": ["b.weight", "a.weight"], "start_epoch": 1, "unfreeze_every_n_epochs": 1}]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def write(folder, config, dialect="vl3d"):
    (folder / "spec.json").write_text(json.dumps({"dialect": dialect, "config": config}))
    return "spec.json"


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def printed(*arguments):
    result = call(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def error(*arguments):
    """Return the one line that a refused call prints, without its beginning."""
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result
    (line,) = result.stderr.splitlines()
    start = "refreeze: error: "
    assert line.startswith(start)
    return line.removeprefix(start)


# What is printed


def test_text(folder):
    out = printed("plan", write(folder, [SPEC]), "--epochs", 10)
    assert [line.strip() for line in out.splitlines() if line.strip()] == [
        "spec.json: vl3d, 10 epochs",
        "0             2             4             6             8           10",
        "┬─────────────┬─────────────┬─────────────┬─────────────┬─────────────",
        "stem    ··············██████████████··········································",
        "block1  ····························██████████████····························",
        "head    ··········································██████████████··············",
        "█ frozen   · trainable",
        "learning rate: 0.01 from 2 (3 times)",
        "start   stop   frozen of 3   learning rate",
        "────────────────────────────────────────────",
        "0      2             0",
        "2      4             1            0.01",
        "4      6             1            0.01",
        "6      8             1            0.01",
        "8     10             0",
        "4 distinct frozen sets in 5 visits",
    ]


def test_text_of_many_segments_and_of_inference_mode(folder):
    spec = SPEC | {"training_interval": [0, 100], "strategy": SPEC["strategy"] | {"iterative_span": 1}}
    out = printed("plan", write(folder, [spec]), "--epochs", 100)
    assert "… and 60 more" in out
    assert len(out.splitlines()) < 60
    config = {"groups": [["a", "bn"], ["b"]], "calls": [{"at": 1, "call": "freeze"}], "batch_norm": ["bn"]}
    out = printed("plan", write(folder, config, "fastai"), "--epochs", 2)
    assert "start   stop   frozen of 3   inference mode   learning rate" in out
    assert "    1      2             2                1" in out


def test_json(folder):
    found = json.loads(printed("plan", write(folder, [SPEC]), "--epochs", 10, "--format", "json"))
    policy = dialects()["vl3d"].policy([SPEC], total=10)
    assert found.pop("segments") == segments_json.to_json(segments(policy, 10))
    operations = found.pop("operations")
    assert found.pop("cost") == {"visits": 5, "distinct_sets": 4, "never_trained": [], "never_frozen": []}
    assert found == {"dialect": "vl3d", "unit": "epochs", "total": 10, "names": ["stem", "block1", "head"]}
    bn = {"bn_freeze": [], "bn_unfreeze": []}
    assert operations[1] == {"tick": 4, "freeze": ["block1"], "unfreeze": ["stem"], "learning_rate": 0.01} | bn


def test_what_a_schedule_leaves_out(folder):
    spec = write(folder, [SPEC | {"training_interval": [0, 10]}, {"layers": ["head"], "training_interval": [0, 99]}])
    out = printed("plan", spec, "--epochs", 3, "--names", ",".join(["stem", "block1", "head", *"abcdef"]))
    assert out.splitlines()[-3:] == [
        "2 distinct frozen sets in 2 visits",
        "never trained: head",
        "never frozen: a, b, c, d, e and 1 more",
    ]


def test_steps_are_the_epochs_times_their_steps(folder):
    spec = write(folder, FREEZERS, "lighter")
    found = json.loads(printed("plan", spec, "--epochs", 3, "--steps-per-epoch", 10, "--format", "json"))
    assert (found["unit"], found["total"], found["names"]) == ("steps", 30, ["b.weight", "a.weight"])
    assert [(s["start"], s["frozen"]) for s in found["segments"]] == [
        (0, ["a.weight", "b.weight"]),
        (10, ["a.weight"]),
        (20, []),
    ]
    out = printed("plan", spec, "--epochs", 300, "--steps-per-epoch", 10)
    assert out.startswith("spec.json: lighter, 3,000 steps (300 epochs of 10)\n")


def test_steps_per_epoch_do_not_lengthen_a_run_in_epochs(folder):
    spec = write(folder, [SPEC])
    assert json.loads(printed("plan", spec, "--epochs", 3, "--steps-per-epoch", 7, "--format", "json"))["total"] == 3


def test_names(folder):
    spec = write(folder, [SPEC | {"layers": "all_reverse"}])
    out = printed("plan", spec, "--epochs", 10, "--names", "a,b, c")
    assert [line.split()[0] for line in out.splitlines()[3:6]] == ["a", "b", "c"]
    assert out.splitlines()[5].startswith("c  ··············██")


@pytest.mark.parametrize("kind", ["text", "json", "png", "svg"])
def test_out_is_what_would_be_printed(folder, kind):
    spec = write(folder, [SPEC])
    whole = call("plan", spec, "--epochs", 10, "--format", kind).stdout_bytes
    assert printed("plan", spec, "--epochs", 10, "--format", kind, "--out", "there") == ""
    written = (folder / "there").read_bytes()
    if kind == "text":
        assert "stem    ········" in written.decode()
    else:
        assert written == whole
        assert written.startswith({"json": b"{\n", "png": b"\x89PNG", "svg": b"<?xml"}[kind])


def test_pictures_show_the_rates_of_single_names(folder):
    config = {"groups": [["stem"], ["head"]], "every": 2, "learning_rate": 0.01}
    svg = call("plan", write(folder, config, "gradual"), "--epochs", 6, "--format", "svg").stdout
    assert {"learning", "0.01", "spec.json: gradual, 6 epochs"} <= set(svg.replace("<", ">").split(">"))
    run = ["--epochs", 6, "--steps-per-epoch", 10, "--names", "stem,head", "--format", "svg"]
    assert ">learning<" in call("plan", write(folder, {"layers": "all"}, "freezeout"), *run).stdout


def test_dialects():
    listed = json.loads(printed("dialects", "--format", "json"))
    assert [row["name"] for row in listed] == list(dialects())
    assert listed[1] == {"name": "lighter", "names": "parameters", "unit": "steps", "source": listed[1]["source"]}
    table = printed("dialects")
    assert all(f"  {name} " in table for name in dialects())
    schema = json.loads(printed("dialects", "--schema", "vl3d"))
    assert schema == dialects()["vl3d"].file_schema()


def test_convert(folder):
    spec = write(folder, [SPEC | {"strategy": None, "training_interval": [0, 8]}])
    assert printed("convert", spec, "--to", "vl3d", "--epochs", 9, "--out", "found.json") == ""
    assert json.loads((folder / "found.json").read_text()) == {
        "dialect": "vl3d",
        "config": [{"layers": SPEC["layers"], "training_interval": [0, 8], "initial_learning_rate": 0.01}],
    }
    write(folder, FREEZERS, "lighter")
    steps = ("--steps-per-epoch", 3)
    found = printed("convert", spec, "--to", "kempner", "--epochs", 4, "--names", "a.weight,b.weight", *steps)
    (folder / "found.yaml").write_text(found)
    plans = [
        printed("plan", file, "--epochs", 4, *steps, "--names", "a.weight,b.weight") for file in (spec, "found.yaml")
    ]
    assert plans[0].splitlines()[1:] == plans[1].splitlines()[1:]


def test_version_and_help():
    assert printed("--version") == f"refreeze {refreeze.__version__}\n"
    assert printed() == printed("--help")
    group = call("vectors")  # which does nothing by itself
    assert (group.exit_code, group.stdout) == (2, printed("vectors", "--help"))
    assert all(f"  {command} " in printed("--help") for command in ("plan", "dialects", "run", "verify", "vectors"))


# What is wrong with the configuration (the places are those in the file)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            [SPEC, SPEC | {"initial_learning_rate": 0.02}],
            "tick 2: learning rates 0.01, 0.02 are set at once; one may be",
        ),
        (
            [SPEC | {"layers": "all"}],
            "freeze_training[0].layers = 'all' can be resolved only with a model or a list of names:"
            " give --names or --model",
        ),
        ([], "config = [] can be resolved only with a model or a list of names: give --names or --model"),
        (
            [SPEC | {"until": 3}],
            "freeze_training[0] = {'layers': ['stem', 'block1', 'head'], 'training_interval': [2, 8], 'strategy':"
            " {'type': 'round_robin', 'window_size': 1, 'iterative_span': 2}, 'initial_learning_rate': 0.01,"
            " 'until': 3} must be an object without the key 'until'"
            " (known are initial_learning_rate, layers, strategy, training_interval)",
        ),
    ],
)
def test_wrong_configurations(folder, config, message):
    assert error("plan", write(folder, config), "--epochs", 10) == message


def test_unknown_layers(folder):
    spec = write(folder, [SPEC])
    assert error("plan", spec, "--epochs", 10, "--names", "stem,blok1,heads") == (
        "freeze_training[0].layers: unknown 'block1' (did you mean 'blok1'?), 'head' (did you mean 'heads'?);"
        " known are stem, blok1, heads"
    )
    assert error("plan", spec, "--epochs", 10, "--names", "stem,block1,two\nlines").endswith(
        "known are stem, block1, two\\nlines"
    )


# What is wrong with the call


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan"], "Missing argument 'SPEC'. (refreeze plan --help says more)"),
        (["plan", "spec.json"], "Missing option '--epochs'. (refreeze plan --help says more)"),
        (["plan", "spec.json", "--epoch", 3], "No such option: --epoch "),
        (["plan", "spec.json", "--epochs", 0], "Invalid value for '--epochs': "),
        (["plan", "spec.json", "--epochs", "three"], "Invalid value for '--epochs': "),
        (["plan", "spec.json", "--epochs", 3, "--steps-per-epoch", 0], "Invalid value for '--steps-per-epoch': "),
        (["plan", "spec.json", "--epochs", 3, "--format", "gif"], "Invalid value for '--format': "),
        (["plot"], "No such command 'plot'. (refreeze --help says more)"),
        (["dialects", "--schema", "vl4d"], "dialect = 'vl4d' must be one of 'vl3d', "),
        (
            ["plan", "spec.json", "--epochs", 3, "--names", "a,,b"],
            "--names = 'a,,b' must be names separated by commas, none of them empty",
        ),
        (["plan", "spec.json", "--epochs", 3, "--names", ""], "--names = '' must be names separated by commas"),
        (
            ["plan", "spec.json", "--epochs", 3, "--names", "a,b,a"],
            "--names = ['a', 'b', 'a'] must be distinct names (repeated: 'a')",
        ),
        (
            ["plan", "spec.json", "--epochs", 3, "--names", "a", "--model", "m:f"],
            "--names, --model = ('a', 'm:f') must be one of the two",
        ),
        (
            ["plan", "spec.json", "--epochs", 3, "--out", "none/there"],
            "--out = 'none/there' must be a file that can be written (No such file or directory)",
        ),
        (
            ["plan", "spec.json", "--epochs", 3, "--format", "png", "--out", "."],
            "--out = '.' must be a file that can be written (Is a directory)",
        ),
    ],
)
def test_wrong_calls(folder, arguments, message):
    write(folder, [SPEC])
    assert error(*arguments).startswith(message)


def test_out_is_never_an_input(folder):
    spec = write(folder, [SPEC])
    (folder / "link.json").symlink_to(spec)
    os.link(spec, folder / "second name.json")
    before = (folder / spec).read_bytes()
    for out in (spec, "link.json", "second name.json"):
        said = error("plan", spec, "--epochs", 3, "--out", out)
        assert said == f"--out = {out!r} must be another file than the one that is read"
    assert (folder / spec).read_bytes() == before


def test_a_report_is_never_an_input(folder):
    (folder / "case.json").write_text("{}")
    given = [
        "refreeze.conformance.reference:respond",
        "--law",
        "SCH-5",
        "--replay",
        "case.json",
        "--report",
        "case.json",
    ]
    assert error("verify", *given) == "--report = 'case.json' must be another file than the one that is read"
    assert (folder / "case.json").read_text() == "{}"


def test_on_a_full_disk_what_was_there_stays(folder, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (folder / "there").write_text("mine")
    spec = write(folder, [SPEC])
    monkeypatch.setattr(os, "fsync", full)
    said = error("plan", spec, "--epochs", 3, "--out", "there")
    assert said == "--out = 'there' must be a file that can be written (No space left on device)"
    assert sorted(path.name for path in folder.iterdir()) == ["spec.json", "there"]
    assert (folder / "there").read_text() == "mine"


def test_out_keeps_the_mode_of_the_file_and_follows_a_link(folder):
    (folder / "target").touch(mode=0o640)
    (folder / "link").symlink_to("target")
    printed("plan", write(folder, [SPEC]), "--epochs", 3, "--out", "link")
    assert (folder / "link").is_symlink()
    assert (folder / "target").stat().st_mode & 0o777 == 0o640
    assert (folder / "target").stat().st_size > 0


@pytest.mark.parametrize("place", ["--out", "spec"])
def test_a_pipe_is_an_error_at_once(folder, place):
    os.mkfifo(folder / "pipe.json")
    given = ["pipe.json"] if place == "spec" else [write(folder, [SPEC]), "--out", "pipe.json"]
    assert "a pipe or a device" in error("plan", *given, "--epochs", 3)


@pytest.mark.parametrize("kind", ["text", "json", "png"])
def test_a_schedule_of_too_many_segments_is_an_error_at_once(folder, kind):
    endless = SPEC | {"training_interval": [0, 10**18], "strategy": SPEC["strategy"] | {"iterative_span": 1}}
    said = error("plan", write(folder, [endless]), "--epochs", 10**18, "--format", kind)
    assert said.endswith("must be a run in which the schedule has at most 1,000,000 boundaries")


ODD = "red\x1b[31m\nline\x00\u202e"


@pytest.mark.parametrize("kind", ["text", "json", "svg"])
def test_nothing_that_a_terminal_obeys_gets_out(folder, kind):
    name = os.fsdecode(b"\x1b[31m\xff.json")
    (folder / name).write_text(json.dumps({"dialect": "vl3d", "config": [SPEC | {"layers": [ODD, "head"]}]}))
    out = printed("plan", name, "--epochs", 10, "--names", f"{ODD},head", "--format", kind)
    assert not {*out} & {"\x1b", "\x00", "\u202e", "\udcff"}
    assert "red" in out
    for said in (error("plan", name, "--epochs", 3, "--names", ODD), error("plan", name, "--epochs", ODD)):
        assert said.isprintable()


def test_a_dialect_in_steps_needs_the_steps_of_an_epoch(folder):
    spec = write(folder, FREEZERS, "lighter")
    assert error("plan", spec, "--epochs", 3) == "--steps-per-epoch = None must be given: lighter counts steps"


def test_without_matplotlib(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    arguments = ["plan", write(folder, [SPEC]), "--epochs", 3]
    assert error(*arguments, "--format", "svg") == "pictures need matplotlib: pip install 'refreeze[plot]'"
    printed(*arguments)


def test_without_keras(folder, monkeypatch):
    for module in ("keras", "tensorflow"):
        monkeypatch.setitem(sys.modules, module, None)
    for module in [name for name in sys.modules if name.startswith(("refreeze.keras", "refreeze.job"))]:
        monkeypatch.delitem(sys.modules, module)
    arguments = ["plan", write(folder, [SPEC]), "--epochs", 3, "--model", "m:f"]
    assert error(*arguments).startswith("--model needs Keras: pip install 'refreeze[tensorflow]' (")
    assert error("run").startswith("run needs Keras and what runs it: pip install 'refreeze[run]' (")


# Models


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "gradual"], "gradual cannot say this schedule: at epoch 2 it has 'stem' frozen"),
        (["--to", "nemo"], "--steps-per-epoch = None must be given: nemo counts steps"),
        (
            ["--to", "lighter", "--steps-per-epoch", 2],
            "--model = None must be given: vl3d names layers, and lighter parameters",
        ),
        (["--to", "lisa"], "to = 'lisa' must be a dialect that can be written: vl3d, lighter, kempner, fastai, "),
        (["--to", "vl3d", "--out", "found.toml"], "file = '.toml' must be named .json, .yaml or .yml to be written"),
        (["--to", "vl3d", "--out", "spec.json"], "--out = 'spec.json' must be another file than the one that is read"),
        (["--to", "vl3d", "--names", "a", "--model", "a:b"], "--names, --model = ('a', 'a:b') must be one of the two"),
    ],
)
def test_what_cannot_be_converted(folder, arguments, message):
    assert error("convert", write(folder, [SPEC]), "--epochs", 9, *arguments).startswith(message)
    assert [file.name for file in folder.iterdir()] == ["spec.json"]


@pytest.mark.engine
def test_the_model_says_which_parameter_is_of_which_layer(folder, models):
    spec = write(folder, [{"layers": ["stem"], "training_interval": [0, 2]}])
    found = printed(
        "convert", spec, "--to", "lighter", "--epochs", 3, "--steps-per-epoch", 5, "--model", "models:small"
    )
    assert found == "dialect: lighter\nconfig:\n- names: [stem/kernel, stem/bias]\n  until_step: 10\n"


@pytest.mark.engine
@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            "models:broken",
            "needs no arguments and works (ZeroDivisionError: division by zero, at models.py:13)",
        ),
        ("models:nothing", "must be a function that returns a Keras model (it returned None)"),
        ("models:bare", "model 'bare' is not built: give it an Input, or call it once, before scheduling it"),
    ],
)
def test_wrong_models(models, reference, message):
    assert message in error("plan", write(models, [SPEC]), "--epochs", 3, "--model", reference)


@pytest.mark.engine
def test_the_names_of_a_model(models):
    spec = write(models, [SPEC | {"layers": "all"}])
    found = json.loads(printed("plan", spec, "--epochs", 10, "--model", "models:small", "--format", "json"))
    assert found["names"] == ["stem", "head"]
    traces = found["cost"]["traces"]
    assert {"rebuild": 5, "cached": 3, "cached, all kept": 3, "masked": 1}.items() <= traces.items()
    text = printed("plan", spec, "--epochs", 10, "--model", "models:small")
    said = "traces of the train step: 5 (rebuild), 3 (cached), 3 (cached, all kept), 1 (masked)"
    assert said in " ".join(text.split())
    spec = write(models, [{"names": "head/bias", "until_epoch": 1}], "lighter")
    run = ["--epochs", 2, "--steps-per-epoch", 5, "--format", "json"]
    found = json.loads(printed("plan", spec, *run, "--model", "models:small"))
    assert found["names"] == ["stem/kernel", "stem/bias", "head/kernel", "head/bias"]


@pytest.mark.engine
def test_the_names_of_a_model_as_a_tree(models):
    """A shared layer is under each container that holds it, and counts once in each."""
    assert printed("plan", "--model", "models:shared", "--list").splitlines() == [
        "shared",
        "├── left  40",
        "│   ├── both  20",
        "│   └── own  20",
        "├── right  20",
        "│   └── both  20, the same as left/both",
        "└── head  10",
    ]
    found = json.loads(printed("plan", "--model", "models:shared", "--list", "--format", "json"))
    assert found["model"] == "shared"
    assert found["names"][0] == {"path": "left", "parameters": 40, "container": True, "same_as": None}
    assert found["names"][4] == {"path": "right/both", "parameters": 20, "container": False, "same_as": "left/both"}
    assert [row["path"] for row in found["names"] if not row["container"]] == [
        "left/both",
        "left/own",
        "right/both",
        "head",
    ]
    assert error("plan", "--list", "--model", "models:small", "--format", "png") == (
        "--format = 'png' must be text or json, with --list"
    )


def test_a_list_of_names_needs_a_model():
    assert error("plan", "--list") == "--model = None must be given, with --list"


@pytest.fixture
def models(folder, monkeypatch):
    (folder / "models.py").write_text(
        "import keras\n"
        "def small():\n"
        "    layers = [keras.Input((2,)), keras.layers.Dense(2, name='stem'), keras.layers.Dense(1, name='head')]\n"
        "    return keras.Sequential(layers)\n"
        "def shared():\n"
        "    layers = keras.layers\n"
        "    start, both = keras.Input((4,)), layers.Dense(4, name='both')\n"
        "    left = keras.Sequential([keras.Input((4,)), both, layers.Dense(4, name='own')], name='left')\n"
        "    right = keras.Sequential([keras.Input((4,)), both], name='right')\n"
        "    return keras.Model(start, layers.Dense(2, name='head')(right(left(start))), name='shared')\n"
        "def bare(): return keras.Sequential([keras.layers.Dense(2)], name='bare')\n"
        "def nothing(): pass\n"
        "def broken(): return 1 / 0\n"
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "models", raising=False)
    return folder


# A real process


def test_commands_that_others_add_report_errors_in_the_same_way():
    assert error("verify").startswith("adapter = ")
    assert error("vectors", "show", "none").startswith("vector = 'none' must be ")


def process(*arguments, **environment):
    command = [sys.executable, "-m", "refreeze.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, env=os.environ | environment)


def test_a_process_prints_one_line_and_exits_with_2(folder):
    (folder / "a.json").write_text('{"dialect": ')
    done = process("plan", "a.json", "--epochs", 3)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"refreeze: error: file = 'a.json' must be well-formed JSON (")
    assert done.stderr.count(b"\n") == 1


def test_a_terminal_that_knows_ascii_alone(folder):
    done = process("plan", write(folder, [SPEC]), "--epochs", 10, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"stem    ..............##############" in done.stdout
    assert b"?" not in done.stdout
    done = process(
        "plan", write(folder, [SPEC]), "--epochs", 10, "--names", "stem,block1,head,tête", PYTHONIOENCODING="ascii"
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"t?te    ......" in done.stdout


def test_no_colour_is_sent_into_a_pipe(folder):
    done = process("plan", write(folder, [SPEC]), "--epochs", 10)
    assert b"\x1b" not in done.stdout
    forced = process("plan", "spec.json", "--epochs", 10, FORCE_COLOR="1", TERM="xterm-256color")
    assert b"\x1b[34m" in forced.stdout
    plain = process("plan", "spec.json", "--epochs", 10, FORCE_COLOR="1", TERM="xterm-256color", NO_COLOR="1")
    assert b"\x1b[3" not in plain.stdout


def test_help_and_plan_load_nothing_heavy(folder):
    code = (
        "import sys\nfrom refreeze import cli\n"
        "for arguments in (['--help'], ['--version'], ['plan', 'spec.json', '--epochs', '9']):\n"
        "    try: cli.app(arguments)\n"
        "    except SystemExit as end: assert not end.code\n"
        "heavy = {'tensorflow', 'keras', 'hypothesis', 'matplotlib', 'torch', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    write(folder, [SPEC])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
