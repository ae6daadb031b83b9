"""What each dialect refuses: the place, and what is allowed there; and that the JSON Schemas refuse it as well.

What VL3D's own functions refuse stands in ``test_vl3d.py``.
"""

import json
import math

import jsonschema
import msgspec
import pytest
from refreeze import EmptySelection, InvalidSpec, NeedsModel, UnknownName
from refreeze.dialects import dialect

LAYERS = ("stem", "body/conv1", "body/bn", "body/conv10", "neck", "head")
PARAMETERS = ("enc.1.w", "enc.1.b", "enc.10.w", "emb.w", "dec.w", "head.w", "head.b")
NAMES = {
    "lighter": PARAMETERS,
    "kempner": PARAMETERS,
    "fastai": LAYERS,
    "composer": ("stem", "head"),
    "freezeout": ("stem", "body", "head"),
    "gradual": LAYERS,
    "chain_thaw": ("embed", "lstm1", "lstm2", "softmax"),
    "lisa": ("embed", "h0", "h1", "h2", "h3", "head"),
    "lightning": ("backbone/conv1", "backbone/bn", "backbone/conv2", "head"),
}
"""The names that there are; those of other dialects are a, b, c and d."""
VL3D = {"layers": ["a"], "training_interval": [0, 5]}
TWO = [["stem"], ["head"]]
LISA = {"n_layers": 2, "step_interval": 5, "always_on": ["embed", "head"], "seed": 7}
PHASE = {"params": ["a"]}
ACTIVE = {"active": True}
FREEZER = "lighter.callbacks.Freezer"
ONE_OF = "config = {} must be an object with exactly one of "
REFUSED = {
    "vl3d": [
        ([VL3D | {"layers": []}], "freeze_training[0].layers = [] must be array of length >= 1"),
        (
            [VL3D | {"strategy": {"type": "zigzag"}}],
            "freeze_training[0].strategy.type = 'zigzag' must be one of 'round_robin', 'random'",
        ),
        ([VL3D | {"training_interval": [0]}], "freeze_training[0].training_interval = [0] must be array of "),
        ([VL3D | {"colour": 1}], "freeze_training[0] = {'layers': ['a'], 'training_interval': [0, 5], 'col"),
    ],
    "lighter": [
        ([{}], "freezers[0] = {} must be an object with names or name_starts_with"),
        ([{"until_step": 3}], "freezers[0] = {'until_step': 3} must be an object with names or name_"),
        ([{"names": "head.b"}, {"names": []}], "freezers[1].names = [] must be array of length >= 1"),
        ([{"names": ["head.b", 3]}], "freezers[0].names[1] = 3 must be str"),
        ([{"names": 3}], "freezers[0].names = 3 must be str | array | null"),
        ([{"names": ["head.b", "head.b"]}], "freezers[0].names = ['head.b', 'head.b'] must be distinct"),
        ([{"names": "head.b", "until_step": True}], "freezers[0].until_step = True must be int | null"),
        ([{"names": "head.b", "until_epoch": -1}], "freezers[0].until_epoch = -1 must be int >= 0"),
        ([{"names": "head.b", "start_epoch": 1.5}], "freezers[0].start_epoch = 1.5 must be int | null"),
        (
            [{"names": "head.b", "unfreeze_every_n_epochs": 0}],
            "freezers[0].unfreeze_every_n_epochs = 0 must be int >= 1",
        ),
        ([{"modules": ["head"]}], "freezers[0] = {'modules': ['head']} must be an object without the key"),
        ({"names": "head.b"}, "freezers = {'names': 'head.b'} must be array"),
        ({"trainer": {}}, "trainer = {} must be an object with a list of callbacks"),
        ({"trainer": None}, "trainer = None must be an object with a list of callbacks"),
        ({"trainer": {"callbacks": ["x"]}}, "freezers[0] = 'x' must be object"),
        (
            [{"_target_": "a.B"}, {"_target_": "lighter.callbacks.Freezr", "names": "head.b"}],
            "callbacks[1]._target_ = 'lighter.callbacks.Freezr' must be one of 'lighter.callbacks.Freezer', ",
        ),
        *(
            ([{"_target_": odd}, {"names": "head.b"}], f"callbacks[0]._target_ = {odd!r} must be a string")
            for odd in (["lighter.callbacks.Freezer"], None, True, {})
        ),
        ([{"_target_": "a.B"}], "callbacks = ['a.B'] must be callbacks of which one at least is a " + FREEZER),
        ([{"names": ["head.x", "hed.b"]}], "freezers[0].names: unknown 'head.x' (did you mean 'head.w', "),
        ([{"names": "head.b", "except_names": "hed.w"}], "freezers[0].except_names: unknown 'hed.w'"),
        ([{"name_starts_with": ["enc", "x"]}], "freezers[0].name_starts_with = 'x' matches no name"),
        (
            [{"names": "head.b", "except_name_starts_with": "x"}],
            "freezers[0].except_name_starts_with = 'x' matches no name",
        ),
        (
            [{"names": "head.b", "except_name_starts_with": "head"}],
            "freezers[0] = {'names': 'head.b', 'except_name_starts_with': 'head'} matches no name",
        ),
    ],
    "kempner": [
        ({"freeze": [{"module": 3}]}, "freeze[0].module = 3 must be str"),
        ({"freeze": [{"module": "*", "frozen": 1}]}, "freeze[0].frozen = 1 must be bool"),
        ({"freeze": [{"frozen": True}]}, "freeze[0] = {'frozen': True} must be an object with the key 'mod"),
        ({"freeze_schedule": [{"start_step": -1, "specs": []}]}, "freeze_schedule[0].start_step = -1 must "),
        ({"freeze_schedule": [{"start_step": 1, "specs": {}}]}, "freeze_schedule[0].specs = {} must be arr"),
        ({"module_patterns": {"a": ["x"], "b": []}}, "module_patterns['b'] = [] must be array of length >= 1"),
        ({"module_patterns": {"a": ["x"], "b": ["y", 1]}}, "module_patterns['b'][1] = 1 must be str"),
        ({"module_patterns": {1: ["x"]}}, "module_patterns = {1: ['x']} must be an object whose keys are st"),
        ({"freez": []}, "config = {'freez': []} must be an object without the key 'freez' (known are f"),
        ([], "config = [] must be object"),
        ({"freeze": [{"module": "head.?"}, {"module": "x.*"}]}, "freeze[1].module = 'x.*' matches no name"),
        (
            {"freeze": [{"module": "ones"}], "module_patterns": {"ones": ["x", "y"]}},
            "freeze[0].module = 'x or y' matches no name",
        ),
        (
            {"freeze_schedule": [{"start_step": 99, "specs": [{"module": "*"}, {"module": "hed.*"}]}]},
            "freeze_schedule[0].specs[1].module = 'hed.*' matches no name",
        ),
        (
            {"freeze": [{"module": "heads"}], "module_patterns": {"head": ["head.*"]}, "valid_modules": ["head"]},
            "freeze[0].module: unknown 'heads' (did you mean 'head'?); known are head",
        ),
        *(
            (
                {"freeze_schedule": [{"start_step": s, "specs": [{"module": "*"}]} for s in starts]},
                f"freeze_schedule[1].start_step = {starts[1]} must be > {starts[0]}",
            )
            for starts in ((3, 3), (3, 1, 5))
        ),
    ],
    "fastai": [
        ({"calls": []}, "config = {'calls': []} must be an object with the key 'groups'"),
        ({"groups": []}, "groups = [] must be array of length >= 1"),
        ({"groups": [["stem"], []]}, "groups[1] = [] must be array of length >= 1"),
        ({"groups": [["stem"], ["stem"]]}, "groups = ['stem', 'stem'] must be distinct names"),
        ({"groups": [["body"], ["body/bn"]]}, "groups = ['body/conv1', 'body/bn', 'body/conv10', 'body/bn'] "),
        ({"groups": [["stm"]]}, "groups[0]: unknown 'stm' (did you mean 'stem'?)"),
        ({"groups": TWO, "batch_norm": ["bn"]}, "batch_norm: unknown 'bn'"),
        ({"groups": TWO, "calls": [{"at": 0, "call": "frieze"}]}, "calls[0].call = 'frieze' must be one of 'f"),
        ({"groups": TWO, "calls": [{"at": -1, "call": "freeze"}]}, "calls[0].at = -1 must be int >= 0"),
        ({"groups": TWO, "calls": [{"at": 0}]}, "calls[0] = {'at': 0} must be an object with the key 'call'"),
        (
            {"groups": TWO, "calls": [{"at": 0, "call": "freeze"}, {"at": 0, "call": "freeze_to"}]},
            "calls[1] = {'at': 0, 'call': 'freeze_to'} must be an object with the key 'n'",
        ),
        (
            {"groups": TWO, "calls": [{"at": 0, "call": "freeze", "n": 1}]},
            "calls[0] = {'at': 0, 'call': 'freeze', 'n': 1} must be an object without the key 'n' (known are at, call)",
        ),
        ({"groups": TWO, "calls": [{"at": 0, "call": "freeze_to", "n": True}]}, "calls[0].n = True must be int"),
        (
            {"groups": TWO, "calls": [{"at": 0, "call": "bn_freeze", "do_freeze": 0}]},
            "calls[0].do_freeze = 0 must be bool",
        ),
    ],
    "composer": [
        ({"freeze_start": 1}, 'freeze_start = 1.0 must be in [0, 1), as a number or a string such as "1/3"'),
        ({"freeze_start": "3/3"}, "freeze_start = '3/3' must be in [0, 1)"),
        ({"freeze_start": "4/3"}, "freeze_start = '4/3' must be in [0, 1)"),
        ({"freeze_start": -0.5}, "freeze_start = -0.5 must be float >= 0.0"),
        ({"freeze_start": "1/0"}, "freeze_start = '1/0' must be str matching regex"),
        ({"freeze_start": "1/3\n"}, "freeze_start = '1/3\\n' must be in [0, 1), as a number or a string"),
        ({"freeze_start": "1/" + "9" * 5000}, "freeze_start = '1/999"),
        ({"freeze_level": 1.5}, "freeze_level = 1.5 must be float <= 1.0"),
        ({"freeze_level": "3/2"}, "freeze_level = '3/2' must be in [0, 1]"),
        ({"freeze_level": True}, "freeze_level = True must be float | str"),
        ({"freeze_level": float("nan")}, "freeze_level = nan must be float >= 0.0"),
        ({"layers": []}, "layers = [] must be array of length >= 1"),
        ({"layers": ["stem", "stem"]}, "layers = ['stem', 'stem'] must be distinct names"),
        ({"layers": ["stm"]}, "layers: unknown 'stm' (did you mean 'stem'?)"),
    ],
    "freezeout": [
        ({"t_0": 0}, "t_0 = 0.0 must be in (0, 1]"),
        ({"layers": ["stm"]}, "layers: unknown 'stm' (did you mean 'stem'?)"),
        ({"t_0": "0/7"}, "t_0 = '0/7' must be in (0, 1]"),
        ({"t_0": 1.01}, "t_0 = 1.01 must be float <= 1.0"),
        ({"how_scale": "cube"}, "how_scale = 'cube' must be one of 'cubic', 'linear', 'squared'"),
        ({"scale_lr": 1}, "scale_lr = 1 must be bool"),
        ({"learning_rate": 0}, "learning_rate = 0 must be float > 0.0"),
        ({"learning_rate": float("inf")}, "learning_rate = inf must be float <= 1.79"),
        ({"t0": 1}, "config = {'t0': 1} must be an object without the key 't0' (known are how_scale, layers, "),
    ],
    "gradual": [
        ({"groups": []}, "groups = [] must be array of length >= 1"),
        ({"groups": [["stem"], []]}, "groups[1] = [] must be array of length >= 1"),
        ({"groups": [["body"], ["body/bn"]]}, "groups = ['body/conv1', 'body/bn', 'body/conv10', 'body/bn'] "),
        ({"groups": [["stm"]]}, "groups[0]: unknown 'stm' (did you mean 'stem'?)"),
        ({"every": 0}, "every = 0 must be int >= 1"),
        ({"every": True}, "every = True must be int"),
        ({"learning_rate": float("inf")}, "learning_rate = inf must be float <= 1.79"),
        ({"factor": float("inf")}, "factor = inf must be float <= 1.79"),
        ({"factor": 0.9}, "factor = 0.9 must be float >= 1.0"),
    ],
    "chain_thaw": [
        ({}, "config = {} must be an object with the key 'epochs'"),
        ({"epochs": 0}, "epochs = 0 must be int >= 1"),
        ({"epochs": []}, "epochs = [] must be array of length >= 1"),
        ({"epochs": [1, 0]}, "epochs[1] = 0 must be int >= 1"),
        ({"epochs": [1, 1, 1]}, "epochs = [1, 1, 1] must be one number, or 4: one per stage but the last"),
        ({"epochs": [1] * 5}, "epochs = [1, 1, 1, 1, 1] must be one number, or 4: one per stage but the last"),
        ({"epochs": 1, "new": ["lstm3"]}, "new: unknown 'lstm3' (did you mean 'lstm2', 'lstm1'?)"),
        (
            {"epochs": 1, "new": ["softmax", "embed"], "layers": ["lstm1"]},
            "new: unknown 'softmax', 'embed'; known are ",
        ),
        ({"epochs": 1, "learning_rate": float("inf")}, "learning_rate = inf must be float <= 1.79"),
        ({"epochs": 1, "initial_learning_rate": float("inf")}, "initial_learning_rate = inf must be float <= 1"),
    ],
    "lisa": [
        ({"n_layers": 0, "step_interval": 1}, "n_layers = 0 must be int >= 1"),
        ({"n_layers": 7, "step_interval": 1}, "n_layers = 7 must be in 1..6"),
        ({"n_layers": 1, "step_interval": 0}, "step_interval = 0 must be int >= 1"),
        ({"n_layers": 1}, "config = {'n_layers': 1} must be an object with the key 'step_interval'"),
        (LISA | {"seed": -1}, "seed = -1 must be int >= 0"),
        (LISA | {"seed": 2**64}, "seed = 18446744073709551616 must be an integer in [0, 2**64)"),
        (LISA | {"always_on": []}, "always_on = [] must be array of length >= 1"),
        (LISA | {"layers": ["h0", "head", "h1"]}, "always_on = ['head'] must be layers that are not drawn"),
        (LISA | {"always_on": ["hed"]}, "always_on: unknown 'hed' (did you mean 'head'?)"),
        (LISA | {"always_on": list(NAMES["lisa"])}, "layers = 'all' matches no name"),
        ({"lisa_n_layers": 1, "n_layers": 1, "step_interval": 1}, "config = "),
        (
            {"lisa_n_layers": 1, "lisa_step_interval": 1, "lisa_layers_attribute": "x"},
            "layers[0] = 'x/*' matches no name",
        ),
    ],
    "lightning": [
        ({"unfreeze_backbone_at_epoch": -1}, "unfreeze_backbone_at_epoch = -1 must be int >= 0"),
        ({"backbone": []}, "backbone = [] must be array of length >= 1"),
        ({"backbone": ["backbon"]}, "backbone: unknown 'backbon' (did you mean 'backbone'"),
        ({"batch_norm": ["head"]}, "batch_norm: unknown 'head'; known are backbone/conv1, "),
        ({"train_bn": 0}, "train_bn = 0 must be bool"),
        ({"multiplier": 0.5}, "multiplier = 0.5 must be float >= 1.0"),
        ({"multiplier": math.inf}, "multiplier = inf must be float <= 1.79"),
        ({"learning_rate": math.inf}, "learning_rate = inf must be float <= 1.79"),
        ({"backbone_initial_lr": math.inf}, "backbone_initial_lr = inf must be float <= 1.79"),
        ({"backbone_initial_ratio_lr": math.inf}, "backbone_initial_ratio_lr = inf must be float <= 1.79"),
        (
            {"learning_rate": 0.5, "backbone_initial_lr": 1e-320},
            "backbone_initial_lr = 1e-320 must be finite, > 0 and >= 0.5 / 1e300",
        ),
        (
            {"learning_rate": 1e-200, "backbone_initial_ratio_lr": 1e-200},
            "backbone_initial_lr = 0.0 must be finite, > 0",
        ),
        ({"learning_rate": 1e200, "backbone_initial_ratio_lr": 1e200}, "backbone_initial_lr = inf must be fin"),
    ],
    "updates": [
        ({"modules": ["a"]}, ONE_OF + "freeze_finetune_updates, "),
        ({"modules": ["x"], "warmup_steps": 1}, "modules: unknown 'x'"),
    ],
    "nemo": [
        ({"freeze_updates": {"modules": {"x": 1}}}, "freeze_updates.modules: unknown 'x'"),
        ({"freeze_updates": {"modules": {"a": [1]}}}, "freeze_updates.modules"),
    ],
    "stop_after": [
        ([], "config = [] must be object"),
        ({"part": ["a"]}, ONE_OF + "stop"),
        ({"part": ["x"], "stop_training_after": 1}, "part: unknown 'x'"),
        ({"part": ["a"], "train_text_encoder_frac": "3/2"}, "train_text_encoder_frac = '3/2' must be in [0, 1], as "),
        (
            {"part": ["a"], "stop_training_after": 1, "stop_training_after_unit": "HOUR"},
            "stop_training_after_unit = 'HOUR' must be one of",
        ),
    ],
    "two_phase": [
        ([], "config = [] must be object"),
        ({"freeze_layers": ["x"]}, "freeze_layers: unknown 'x'"),
        ({"freeze_layers": 5}, "freeze_layers = 5 must be in 1..4"),
        ({"freeze_layers": 1, "Freeze_Epoch": 9, "UnFreeze_Epoch": 8}, "UnFreeze_Epoch = 8 must be >= Freeze_Epoch, 9"),
    ],
    "dino": [
        ({}, ONE_OF + "freeze_last_layer, "),
        ({"freeze_last_layer": 1}, "names = 'last_layer' matches no name"),
    ],
    "luxonis": [
        (
            [{"name": "a", "freezing": ACTIVE}, {"name": "a", "freezing": ACTIVE}],
            "nodes = ['a', 'a'] must be distinct names (repeated: 'a')",
        ),
        ("all", "nodes = 'all' must be array"),
        ({"model": {"nodes": ["a"]}}, "nodes[0] = 'a' must be object"),
    ],
    "recorded": [
        ({"decisions": [[0, []], [0, ["a"]]]}, "decisions = [0, 0] must be ticks that begin with 0 and increase "),
        ({"decisions": [[1, []]]}, "decisions = [1] must be ticks that begin with 0 and increase "),
        ({"decisions": [[0, ["a", "a"]]]}, "decisions[0] = ['a', 'a'] must be distinct names"),
        ({"decisions": [[0, ["x"]]]}, "decisions: unknown 'x'"),
    ],
    "badam": [
        ({"switch_block_every": 0, "block_prefix_list": [["a"]]}, "switch_block_every = 0 must be an "),
        ({"switch_mode": "fixed", "block_prefix_list": [["a"]]}, "start_block = None must be in 0..0"),
        ([], "config = [] must be object"),
        ({}, "block_prefix_list = [] matches no name"),
        ({"block_prefix_list": [["a"], ["x"]]}, "block_prefix_list = [['a'], ['x']] matches no name"),
        ({"block_prefix_list": [["a"]], "start_block": 1}, "start_block = 1 must be in 0..0 with fixed, ascending or "),
        (
            {"block_prefix_list": [["a"]], "switch_mode": "random", "start_block": 0},
            "start_block = 0 must be in 0..0 with fixed, ascending or descending",
        ),
        ({"block_prefix_list": [["a"], ["a"]]}, "block_prefix_list = ['a'] must be parameters of one "),
    ],
    "fts": [
        ([], "config = [] must be object"),
        ({"ft_schedule": []}, "ft_schedule = [] must be object"),
        ({0: PHASE, "0": PHASE}, "ft_schedule = [(0, "),
        ({"ft_schedule": {True: PHASE}}, "ft_schedule = {True: {'params': ['a']}} must be an object whose keys are st"),
        ({0: PHASE, 2: PHASE}, "ft_schedule = ['0', '2'] must be the numbers of phases from 0, with no"),
        ({0: PHASE, 1: {"params": ["b"]}}, "ft_schedule.0.max_transition_epoch = -1 must be an epoch; "),
        ({0: {"params": ["("]}}, "ft_schedule.0.params = '(' must be a name, or a regular expression ("),
        ({0: {"params": ["x"]}}, "ft_schedule.0.params = 'x' matches no name"),
        ({0: {"params": ["a", "."]}}, "ft_schedule = ['a', 'a', 'b', 'c', 'd'] must be distinct names"),
    ],
}


REFUSALS = [pytest.param(name, *row, id=f"{name}: {row[-1]}") for name, rows in REFUSED.items() for row in rows]


@pytest.mark.parametrize(("name", "config", "message"), REFUSALS)
def test_a_bad_configuration_is_rejected_with_the_place_and_what_is_allowed(name, config, message):
    kind = UnknownName if ": unknown " in message else EmptySelection if "matches no name" in message else InvalidSpec
    with pytest.raises(kind) as caught:
        dialect(name).policy(config, NAMES.get(name, ("a", "b", "c", "d")), total=9)
    assert type(caught.value) is kind
    assert str(caught.value).startswith(message)


def is_of_no_type(name, config):
    """Return whether a configuration that a file can hold is refused for its types alone."""
    language = dialect(name)
    try:
        if json.loads(json.dumps(config, allow_nan=False)) != config:
            return False
        if language.unwrap is not None and language.unwrap(config) != config:
            return False
        msgspec.convert(config, language.config)
    except msgspec.ValidationError:
        return True
    except ValueError:
        pass
    return False


@pytest.mark.parametrize(("name", "config", "message"), [p for p in REFUSALS if is_of_no_type(*p.values[:2])])
def test_the_schema_rejects_what_the_types_reject(name, config, message):
    assert not jsonschema.Draft202012Validator(dialect(name).json_schema()).is_valid(config)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("lighter", [{"names": "a", "name_starts_with": "enc"}], "freezers[0] = ('enc',)"),
        ("lighter", [{"names": "a", "except_name_starts_with": "enc"}], "freezers[0] = ('enc',)"),
        ("kempner", {"freeze": [{"module": "enc"}]}, "freeze[0].module = 'enc'"),
        ("composer", {}, "layers = 'all'"),
        ("gradual", {}, "groups = 'all'"),
        ("chain_thaw", {"epochs": 1}, "layers = 'all'"),
        ("lisa", LISA, "layers = 'all'"),
        (
            "lisa",
            {"lisa_n_layers": 1, "lisa_step_interval": 1, "lisa_layers_attribute": "model.layers"},
            "layers[0] = ",
        ),
        ("chain_thaw", {"epochs": 1, "layers": ["b"], "new": ["b/1"]}, "new = ['b', 'b/1']"),
        ("gradual", {"groups": [["a"], ["a/b"]]}, "groups = ['a', 'a/b']"),
        ("gradual", {"groups": [{"each": "b*"}]}, "groups[0] = 'b*'"),
        (
            "vl3d",
            [VL3D, VL3D | {"layers": ["a/b"]}],
            "freeze_training = ['a', 'a/b'] ",
        ),
        ("lightning", {"backbone": ["b"], "batch_norm": ["b/n"]}, "batch_norm = ['b', 'b/n']"),
        ("lightning", {"backbone": ["b", "c"], "batch_norm": ["c*"]}, "batch_norm[0] = 'c*'"),
        ("two_phase", {"freeze_layers": 1}, "freeze_layers = 1"),
        ("dino", {"freeze_last_layer": 1}, "names = 'last_layer'"),
        ("lisa", LISA | {"layers": ["h0"], "always_on": ["h0/x"]}, "always_on = ['h0', 'h0/x'] "),
        ("badam", {}, "block_prefix_list = None"),
        ("badam", {"block_prefix_list": [["a"]]}, "block_prefix_list = (('a',),)"),
        ("fts", {0: PHASE}, "ft_schedule = ['0'] "),
    ],
)
def test_what_says_something_only_with_names_needs_them(name, config, message):
    with pytest.raises(NeedsModel, match="can be resolved only with") as caught:
        dialect(name).policy(config, total=9)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "config", "names"),
    [
        ("lightning", {"backbone": ["a", "b"], "batch_norm": ["b*"]}, {"a", "b/1", "b/2"}),
        ("chain_thaw", {"epochs": 1, "layers": ["b"], "new": ["b/1"]}, {"b/1", "b/2"}),
        ("chain_thaw", {"epochs": 1, "layers": ["b"], "new": ["*1"]}, {"b/1", "b/2"}),
        ("gradual", {"groups": [{"each": "b/*"}, ["a"]]}, {"a", "b/1", "b/2"}),
        ("two_phase", {"freeze_layers": ["a"], "Freeze_Epoch": 0}, {"a"}),
        ("stop_after", {"part": ["a"], "stop_training_after": 1, "stop_training_after_unit": "NEVER"}, {"a"}),
    ],
)
def test_what_a_configuration_chooses_is_mentioned_even_if_it_is_never_frozen(name, config, names):
    assert dialect(name).policy(config, ("a", "b/1", "b/2", "c"), total=9).names == names


def test_a_layer_that_two_nodes_have_is_refused():
    nodes = [{"name": name, "freezing": ACTIVE} for name in ("b", "b/1")]
    with pytest.raises(InvalidSpec, match=r"^nodes = .* must be distinct names"):
        dialect("luxonis").policy(nodes, ["b/1", "b/2"], total=3)


@pytest.mark.parametrize(
    ("name", "config", "names"),
    [
        ("kempner", {}, set()),
        ("composer", {"layers": ["a", "b"], "freeze_start": 0}, set()),
        ("lisa", LISA | {"layers": ["h0", "h1"]}, {"embed", "h0", "h1", "head"}),
    ],
)
def test_layers_that_are_listed_need_none(name, config, names):
    assert dialect(name).policy(config, total=9).names == names
