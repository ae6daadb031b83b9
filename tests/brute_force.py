"""A second implementation, written from the clauses alone: every tick by itself, nothing shared with the package.

It answers with a segment for each tick, which is an encoding like any other. ``wrong_ones`` makes the wrong
implementations out of its text.
"""

from __future__ import annotations

import fnmatch
import itertools
import math
import re
from fractions import Fraction


class Wrong(Exception):
    pass


def need(true, error="invalid-spec"):
    if not true:
        raise Wrong(error)


def respond(request):
    try:
        if request["op"] == "segments":
            answer = {"segments": segments(request)}
        elif request["dialect"] != "kempner":
            answer = {"unsupported": True}
        elif request["op"] == "apply":
            answer = apply(request)
        else:
            answer = {"canonical": canonical(request["config"])}
    except Wrong as wrong:
        answer = {"error": str(wrong)}
    return {"id": request["id"], **answer}


def segments(request):
    names, total = request["names"], request["total"]
    at = DIALECTS[request["dialect"]](request["config"], names, total, request["steps_per_epoch"])
    found = []
    for tick in range(total):
        frozen, rates, bn_frozen = at(tick)
        need(len(rates) < 2, "conflict")
        rate = min(rates, default=None)
        segment = {"start": tick, "stop": tick + 1, "frozen": sorted(frozen), "learning_rate": rate}
        found.append(segment | {"bn_frozen": sorted(bn_frozen)})
    return found[request["start"] :]


# Checks --------------------------------------------------------------------------------------------------------------
def is_int(value, least=0):
    return type(value) is int and value >= least


def is_rate(value):
    return type(value) in (int, float) and 0 < value < math.inf


def is_list(value, test, least=0):
    return type(value) is list and len(value) >= least and all(test(item) for item in value)


def is_text(value):
    return type(value) is str


def is_bool(value):
    return type(value) is bool


def names_list(value):
    return is_list(value, is_text, 1) and len(set(value)) == len(value)


def check_keys(config, required, optional):
    need(type(config) is dict and set(required) <= set(config) <= set(required) | set(optional))


def entries_list(value):
    """Names, containers, patterns, and objects such as {"each": "block?"}, none of them twice."""
    return is_list(value, is_entry, 1) and not any(entry in value[:i] for i, entry in enumerate(value))


def is_entry(value):
    return is_text(value) or is_each(value)


def is_each(value):
    return type(value) is dict and set(value) == {"each"} and is_text(value["each"]) and is_pattern(value["each"])


def is_pattern(text):
    return any(character in text for character in "*?[")


def select(wanted, names):
    """The units that entries mean, each a list of layers."""
    if names is None:
        need(all(is_text(entry) and not is_pattern(entry) for entry in wanted), "needs-model")
        apart(wanted)
        return [[entry] for entry in wanted]
    found = []
    for entry in wanted:
        text = entry["each"] if is_each(entry) else entry
        inside = [name for name in names if name == text or name.startswith(text + "/")]
        if inside and not is_each(entry):
            found.append(inside)
        else:
            need(is_pattern(text), "unknown-name")
            parts = outermost(text, names)
            need(parts, "empty-selection")
            found += parts if is_each(entry) else [flat(parts)]
    need(len(set(flat(found))) == len(flat(found)))
    return found


def outermost(pattern, names):
    """The names, parted by the shortest path above each that the pattern matches."""
    parts = {}
    for name in names:
        steps = name.split("/")
        for depth in range(1, len(steps) + 1):
            path = "/".join(steps[:depth])
            if re.fullmatch(fnmatch.translate(pattern), path):
                parts.setdefault(path, []).append(name)
                break
    return list(parts.values())


def flat(units):
    return [name for unit in units for name in unit]


def apart(wanted, names=None):
    """Without names a layer and a container that it is in cannot be told apart."""
    inside = any(one.startswith(f"{other}/") for one in wanted for other in wanted)
    need(names is not None or not inside, "needs-model")


def layers_of(config, names):
    """The units of the key `layers`, or of all layers."""
    wanted = config.get("layers", "all")
    if wanted == "all":
        need(names is not None, "needs-model")
        need(names, "empty-selection")
        return [[name] for name in names]
    need(entries_list(wanted))
    return select(wanted, names)


# vl3d ----------------------------------------------------------------------------------------------------------------
def vl3d(config, names, total, per):
    need(is_list(config, lambda spec: type(spec) is dict))
    specs = []
    for spec in config:
        check_keys(spec, ["layers", "training_interval"], ["strategy", "initial_learning_rate"])
        interval, strategy, rate = spec["training_interval"], spec.get("strategy"), spec.get("initial_learning_rate")
        need(is_list(interval, is_int) and len(interval) == 2 and interval[0] < interval[1])
        need(rate is None or is_rate(rate))
        if strategy is not None:
            need(type(strategy) is dict and strategy.get("type") in ("round_robin", "random"))
            seeded = ["seed"] if strategy["type"] == "random" else []
            check_keys(strategy, ["type", "window_size", "iterative_span"], seeded)
            need(is_int(strategy["window_size"], 1))
            need(is_int(strategy["iterative_span"], 1))
            need(is_int(strategy.get("seed", 0)) and strategy.get("seed", 0) < 2**64)
        if spec["layers"] in ("all", "all_reverse"):
            units = layers_of({}, names)
            if spec["layers"] == "all_reverse":
                units = units[::-1]
        else:
            units = layers_of(spec, names)
        need(strategy is None or strategy["window_size"] <= len(units))
        specs.append((units, interval, strategy, rate))
    apart([layer for units, *_ in specs for layer in flat(units)], names)

    def at(tick):
        frozen, rates = set(), set()
        for number, (units, (begin, end), strategy, rate) in enumerate(specs):
            if not begin <= tick < end:
                continue
            if strategy is None:
                frozen |= set(flat(units))
                begins = tick == begin
            else:
                k = (tick - begin) // strategy["iterative_span"]
                window = strategy["window_size"]
                if strategy["type"] == "round_robin":
                    frozen |= set(flat(units[(k * window + j) % len(units)] for j in range(window)))
                else:
                    places = drawn(strategy.get("seed", 0), number, k, len(units), window)
                    frozen |= set(flat(units[place] for place in places))
                begins = (tick - begin) % strategy["iterative_span"] == 0
            if begins and rate is not None:
                rates.add(rate)
        return frozen, rates, set()

    return at


MASK = 2**64 - 1


def philox(counter, key):
    a, b, c, d = counter
    k, m = key
    for _ in range(10):
        left, right = a * 0xD2E7470EE14C6C93, c * 0xCA5A826395121157
        a, b, c, d = (right >> 64) ^ b ^ k, right & MASK, (left >> 64) ^ d ^ m, left & MASK
        k, m = (k + 0x9E3779B97F4A7C15) & MASK, (m + 0xBB67AE8584CAA73B) & MASK
    return [a, b, c, d]


def words(seed, number, k):
    block = 0
    while True:
        block += 1
        yield from philox((block, k, 0, 0), (seed, number))


def draw(n, window, source):
    places = list(range(n))
    for j in range(window):
        word = next(source)
        while word >= 2**64 - 2**64 % (n - j):
            word = next(source)
        other = j + word % (n - j)
        places[j], places[other] = places[other], places[j]
    return places[:window]


def drawn(seed, number, k, n, window):
    return draw(n, window, words(seed, number, k))


# lighter -------------------------------------------------------------------------------------------------------------
def lighter(config, names, total, per):
    need(is_list(config, lambda freezer: type(freezer) is dict))
    ticks = ("until_step", "until_epoch", "start_epoch")
    texts = ("names", "name_starts_with", "except_names", "except_name_starts_with")
    freezers = []
    for freezer in config:
        check_keys(freezer, [], (*texts, *ticks, "unfreeze_every_n_epochs"))
        need(all(is_int(freezer[key]) for key in ticks if key in freezer))
        need(is_int(freezer.get("unfreeze_every_n_epochs", 1), 1))
        need(all(is_text(freezer[key]) or names_list(freezer[key]) for key in texts if key in freezer))
        lists = {key: [value] if is_text(value := freezer.get(key, [])) else value for key in texts}
        need(lists["names"] or lists["name_starts_with"])
        for key in ("names", "except_names"):
            need(all(name in names for name in lists[key]), "unknown-name")
        for key in ("name_starts_with", "except_name_starts_with"):
            need(all(any(name.startswith(start) for name in names) for start in lists[key]), "empty-selection")
        spared = set(lists["except_names"])
        spared |= {name for name in names for start in lists["except_name_starts_with"] if name.startswith(start)}
        entries = [{name} for name in lists["names"]]
        entries += [{name for name in names if name.startswith(start)} for start in lists["name_starts_with"]]
        entries = [entry - spared for entry in entries]
        need(any(entries), "empty-selection")
        freezers.append((freezer, entries))

    def at(step):
        epoch, frozen = step // per, set()
        for freezer, entries in freezers:
            every = freezer.get("unfreeze_every_n_epochs")
            start = freezer.get("start_epoch", every)
            for j, entry in enumerate(entries):
                released = step >= freezer.get("until_step", math.inf) or epoch >= freezer.get("until_epoch", math.inf)
                if start is not None and epoch >= start + j * (every or 0):
                    released = True
                if not released:
                    frozen |= entry
        return frozen, set(), set()

    return at


# kempner -------------------------------------------------------------------------------------------------------------
def kempner_check(config, names=None):
    check_keys(config, [], ["freeze", "freeze_schedule", "module_patterns", "valid_modules"])
    stages, aliases = config.get("freeze_schedule", []), config.get("module_patterns", {})
    need(type(aliases) is dict and all(is_list(found, is_text, 1) for found in aliases.values()))
    need(type(stages) is list)
    for stage in stages:
        check_keys(stage, ["start_step", "specs"], [])
        need(is_int(stage["start_step"]))
    for before, after in itertools.pairwise(stages):
        need(before["start_step"] < after["start_step"])
    valid = config.get("valid_modules")
    need(valid is None or is_list(valid, is_text))
    for specs in (config.get("freeze", []), *(stage["specs"] for stage in stages)):
        need(type(specs) is list)
        for spec in specs:
            check_keys(spec, ["module"], ["frozen"])
            need(is_text(spec["module"]) and is_bool(spec.get("frozen", True)))
            need(valid is None or spec["module"] in valid, "unknown-name")
            need(names is None or any(matches(config, spec["module"], name) for name in names), "empty-selection")


def matches(config, module, name):
    patterns = config.get("module_patterns", {}).get(module, [module])
    return any(re.fullmatch(fnmatch.translate(pattern), name) for pattern in patterns)


def active(config, step):
    """Modules and whether each freezes; a dictionary keeps the place of what is replaced."""
    found = {}
    for spec in config.get("freeze", []):
        found[spec["module"]] = spec.get("frozen", True)
    for stage in config.get("freeze_schedule", []):
        if stage["start_step"] <= step:
            for spec in stage["specs"]:
                found[spec["module"]] = spec.get("frozen", True)
    return found


def kempner(config, names, total, per):
    kempner_check(config, names)

    def at(step):
        frozen = set()
        for module, freezes in active(config, step).items():
            matched = {name for name in names if matches(config, module, name)}
            frozen = frozen | matched if freezes else frozen - matched
        return frozen, set(), set()

    return at


def apply(request):
    config, names, frozen, flipped = request["config"], request["names"], set(request["frozen"]), 0
    sizes = dict(zip(names, request["sizes"], strict=True))
    kempner_check(config, names)
    for module, freezes in active(config, request["tick"]).items():
        for name in names:
            if matches(config, module, name) and (name in frozen) != freezes:
                flipped += sizes[name]
                frozen ^= {name}
    return {"frozen": sorted(frozen), "flipped": flipped}


def canonical(config):
    kempner_check(config)
    form = []
    for step in [0, *(stage["start_step"] for stage in config.get("freeze_schedule", []))]:
        runs = []
        for module, freezes in active(config, step).items():
            patterns = sorted(set(config.get("module_patterns", {}).get(module, [module])))
            if not runs or runs[-1][0] != freezes:
                runs.append([freezes, []])
            if patterns not in runs[-1][1]:
                runs[-1][1] = sorted([*runs[-1][1], patterns])
        form.append([step, runs])
    return form


# fastai --------------------------------------------------------------------------------------------------------------
def fastai(config, names, total, per):
    check_keys(config, ["groups"], ["calls", "batch_norm"])
    calls = config.get("calls", [])
    need(is_list(calls, lambda call: type(call) is dict))
    for call in calls:
        need(is_text(call.get("call")) and call["call"] in ("freeze_to", "freeze", "unfreeze", "bn_freeze"))
        argument = {"freeze_to": ["n"], "bn_freeze": ["do_freeze"]}.get(call["call"], [])
        check_keys(call, ["call", "at", *argument], [])
        need(is_int(call["at"]))
        need(type(call.get("n", 0)) is int)
        need(is_bool(call.get("do_freeze", True)))
    groups, every = groups_of(config["groups"], names)
    batch_norm = config.get("batch_norm", [])
    need(batch_norm == [] or entries_list(batch_norm))
    batch_norm = flat(select(batch_norm, names))
    apart([*every, *batch_norm], names)
    batch_norm = set(batch_norm)

    def at(epoch):
        trained, inference = every, False
        for call in sorted(calls, key=lambda call: call["at"]):
            if call["at"] > epoch:
                break
            if call["call"] == "bn_freeze":
                inference = call["do_freeze"]
                continue
            n = {"freeze": -1, "unfreeze": 0}.get(call["call"], call.get("n"))
            trained = {name for group in groups[n:] for name in group}
        frozen = every - trained
        return frozen, set(), batch_norm if inference else batch_norm & frozen

    return at


def groups_of(groups, names):
    """A list is one group, an `each` alone as many as it matches."""
    need(is_list(groups, lambda group: is_each(group) or entries_list(group), 1))
    units = [select([group] if is_each(group) else group, names) for group in groups]
    parted = [found if is_each(group) else [flat(found)] for group, found in zip(groups, units, strict=True)]
    groups = [group for part in parted for group in part]
    every = {name for group in groups for name in group}
    apart(every, names)
    need(len(every) == sum(map(len, groups)))
    return groups, every


# The literature ------------------------------------------------------------------------------------------------------
def share(value):
    if is_text(value):
        need(re.fullmatch("[0-9]+/[1-9][0-9]*", value))
    else:
        need(type(value) in (int, float))
    need(0 <= Fraction(str(value)) <= 1)
    return Fraction(str(value))


def composer(config, names, total, per):
    check_keys(config, [], ["freeze_start", "freeze_level", "layers"])
    begin, level = share(config.get("freeze_start", 0.5)), share(config.get("freeze_level", 1.0))
    need(begin < 1)
    units = layers_of(config, names)

    def at(epoch):
        now = Fraction(epoch, total)
        count = level * (now - begin) / (1 - begin) * (len(units) - 1) if now > begin else 0
        return set(flat(units[: int(count)])), set(), set()

    return at


def freezeout(config, names, total, per):
    check_keys(config, [], ["t_0", "how_scale", "scale_lr", "learning_rate", "layers"])
    first = share(config.get("t_0", 0.8))
    need(first > 0)
    need(config.get("how_scale", "cubic") in ("linear", "squared", "cubic"))
    need(is_bool(config.get("scale_lr", True)))
    need(is_rate(config.get("learning_rate", 1)))
    power = {"linear": 1, "squared": 2, "cubic": 3}[config.get("how_scale", "cubic")]
    units = layers_of(config, names)

    def at(step):
        frozen = set()
        for i, unit in enumerate(units[:-1]):
            t = (first + (1 - first) * Fraction(i, len(units) - 1)) ** power
            if step > t * total:
                frozen |= set(unit)
        return frozen, set(), set()

    return at


def gradual(config, names, total, per):
    check_keys(config, [], ["groups", "every", "learning_rate", "factor"])
    every = config.get("every", 1)
    need(is_int(every, 1))
    need(is_rate(config.get("learning_rate", 1)))
    need(is_rate(config.get("factor", 1)))
    if "groups" in config:
        groups, _ = groups_of(config["groups"], names)
    else:
        groups = layers_of({}, names)

    def at(epoch):
        trained = groups[-(epoch // every + 1) :]
        return {name for group in groups if group not in trained for name in group}, set(), set()

    return at


def chain_thaw(config, names, total, per):
    check_keys(config, ["epochs"], ["new", "layers", "initial_learning_rate", "learning_rate"])
    rates = [config.get(key) for key in ("initial_learning_rate", "learning_rate")]
    need(all(rate is None or is_rate(rate) for rate in rates))
    units = layers_of(config, names)
    layers = flat(units)
    new = flat(layers_of({"layers": config["new"]}, names)) if "new" in config else units[-1]
    apart([*layers, *new], names)
    need(set(new) <= set(layers), "unknown-name")
    stages = [new]
    for unit in units:
        alone = [name for name in unit if name not in new]
        stages += [alone] if alone else []
    epochs = config["epochs"]
    need(is_int(epochs, 1) or is_list(epochs, lambda value: is_int(value, 1), 1))
    epochs = [epochs] * len(stages) if is_int(epochs) else epochs
    need(len(epochs) == len(stages))

    def at(epoch):
        begin = number = 0
        while number < len(stages) and epoch >= begin + epochs[number]:
            begin += epochs[number]
            number += 1
        stage = [*stages, layers][number]
        rate = rates[min(number, 1)]
        return set(layers) - set(stage), {rate} - {None} if epoch == begin else set(), set()

    return at


def lisa_keys(config):
    """Another system's keys in our words."""
    said = dict(config) if type(config) is dict else {}
    for ours, theirs in {
        "n_layers": ["lisa_n_layers", "lisa_activated_layers"],
        "step_interval": ["lisa_step_interval", "lisa_interval_steps"],
        "layers": ["lisa_layers_attribute"],
    }.items():
        for key in theirs:
            if key in said:
                need(ours not in said)
                said[ours] = said.pop(key)
                if key == "lisa_step_interval":
                    said.setdefault("variant", "axolotl")
                if key == "lisa_layers_attribute" and is_text(said[ours]):
                    said[ours] = [{"each": said[ours].replace(".", "/") + "/*"}]
    return said if said else config


def lisa(config, names, total, per):
    config = lisa_keys(config)
    check_keys(config, ["n_layers", "step_interval"], ["layers", "always_on", "seed", "variant"])
    need(config.get("variant", "paper") in ("paper", "axolotl"))
    n_layers, interval, seed = config["n_layers"], config["step_interval"], config.get("seed", 0)
    need(is_int(n_layers, 1))
    need(is_int(interval, 1))
    need(is_int(seed) and seed < 2**64)
    need("always_on" not in config or entries_list(config["always_on"]))
    always = flat(select(config.get("always_on", []), names))
    units = layers_of(config, names)
    if config.get("layers", "all") == "all":
        units = [[name] for [name] in units if name not in always]
        need(units, "empty-selection")
    layers = flat(units)
    apart([*layers, *always], names)
    need(not set(layers) & set(always))
    need(n_layers <= len(units))

    def at(step):
        k = step // interval
        if config.get("variant") == "axolotl" and step > 0:
            k += 1
        trained = flat(units[place] for place in drawn(seed, 0, k, len(units), n_layers))
        return set(layers) - set(trained), set(), set()

    return at


def lightning(config, names, total, per):
    optional = ["learning_rate", "backbone_initial_lr", "backbone_initial_ratio_lr", "multiplier"]
    check_keys(config, [], ["unfreeze_backbone_at_epoch", "backbone", "batch_norm", "train_bn", *optional])
    until, train_bn = config.get("unfreeze_backbone_at_epoch", 10), config.get("train_bn", True)
    need(is_int(until))
    need(is_bool(train_bn))
    need(all(is_rate(config[key]) for key in optional if key in config))
    need(config.get("multiplier", 1) >= 1)
    need(entries_list(config.get("backbone", ["backbone"])))
    backbone = flat(select(config.get("backbone", ["backbone"]), names))
    batch_norm = config.get("batch_norm", [])
    need(batch_norm == [] or entries_list(batch_norm))
    need(names is not None or not any(is_each(entry) or is_pattern(entry) for entry in batch_norm), "needs-model")
    apart([*backbone, *(entry for entry in batch_norm if is_text(entry))], names)
    batch_norm = set(flat(select(batch_norm, backbone)))

    def at(epoch):
        frozen = set(backbone) if epoch < until else set()
        return frozen - batch_norm if train_bn else frozen | batch_norm, set(), set()

    return at


# Schedules in use ----------------------------------------------------------------------------------------------------
def exactly_one(config, *keys):
    """The one key that is given, and its value; null is as good as none."""
    given = [(key, config[key]) for key in keys if config.get(key) is not None]
    need(len(given) == 1)
    return given[0]


def names_needed(names):
    need(type(names) is list, "needs-model")


def is_whole(value):
    return type(value) is int


def updates(config, names, total, per):
    keys = ["freeze_finetune_updates", "encoder_freezing_updates", "w2v_freezing_updates", "warmup_steps"]
    check_keys(config, ["modules"], [*keys, "boundary"])
    need(entries_list(config["modules"]))
    need(config.get("boundary") in (None, ">=", ">"))
    key, number = exactly_one(config, *keys)
    need(is_whole(number))
    layers = flat(select(config["modules"], names))
    rule = config.get("boundary") or (">" if key == "w2v_freezing_updates" else ">=")

    def at(done):
        thawed = done >= number if rule == ">=" else done > number
        return set() if thawed else set(layers), set(), set()

    return at


def nemo(config, names, total, per):
    if type(config) is dict and type(config.get("model")) is dict and "freeze_updates" in config["model"]:
        config = {"freeze_updates": config["model"]["freeze_updates"]}
    check_keys(config, ["freeze_updates"], [])
    config = config["freeze_updates"]
    check_keys(config, ["modules"], ["enabled"])
    modules = config["modules"]
    need(is_bool(config.get("enabled", False)) and type(modules) is dict)
    for said in modules.values():
        need(is_whole(said) or (is_list(said, is_whole) and len(said) == 2))
    select([*modules], names)
    layers = {module: flat(select([module], names)) for module in modules}

    def at(step):
        frozen, step = set(), step + 1
        for module, said in modules.items():
            first, last = said if type(said) is list else (1, said)
            if config.get("enabled", False) and step >= first and (step <= last or last == -1):
                frozen |= set(layers[module])
        return frozen, set(), set()

    return at


def stop_after(config, names, total, per):
    keys = ["stop_training_after", "stop_text_encoder_training", "train_text_encoder_frac"]
    check_keys(config, ["part"], [*keys, "stop_training_after_unit"])
    need(entries_list(config["part"]))
    unit = config.get("stop_training_after_unit", "EPOCH")
    need(unit in ("EPOCH", "STEP", "NEVER", "ALWAYS"))
    key, number = exactly_one(config, *keys)
    if key == "train_text_encoder_frac":
        number, unit = math.floor(share(number) * math.ceil(Fraction(total, per))), "EPOCH"
    else:
        need(is_int(number) if key == "stop_training_after" else is_whole(number))
        unit = unit if key == "stop_training_after" else "STEP"
    part = flat(select(config["part"], names))

    def at(step):
        over = {"EPOCH": step // per >= number, "STEP": step >= number, "NEVER": False, "ALWAYS": True}[unit]
        return set(part) if over else set(), set(), set()

    return at


def two_phase(config, names, total, per):
    epochs = {"Init_Epoch": 0, "Freeze_Epoch": 50, "UnFreeze_Epoch": 100}
    check_keys(config, ["freeze_layers"], ["Freeze_Train", *epochs])
    epochs |= {key: config[key] for key in epochs if key in config}
    need(is_bool(config.get("Freeze_Train", True)) and all(is_int(epoch) for epoch in epochs.values()))
    need(epochs["Freeze_Epoch"] <= epochs["UnFreeze_Epoch"])
    wanted = config["freeze_layers"]
    need(is_int(wanted, 1) or entries_list(wanted))
    if is_int(wanted):
        names_needed(names)
        need(wanted <= len(names))
    first = names[:wanted] if is_int(wanted) else flat(select(wanted, names))

    def at(epoch):
        frozen = config.get("Freeze_Train", True) and epochs["Init_Epoch"] <= epoch < epochs["Freeze_Epoch"]
        return set(first) if frozen else set(), set(), set()

    return at


def dino(config, names, total, per):
    check_keys(config, [], ["freeze_last_layer", "freeze_last_layer_epochs"])
    _, epochs = exactly_one(config, "freeze_last_layer", "freeze_last_layer_epochs")
    need(is_whole(epochs))
    names_needed(names)
    last = {name for name in names if "last_layer" in name}
    need(last, "empty-selection")
    return lambda epoch: (last if epoch < epochs else set(), set(), set())


def luxonis(config, names, total, per):
    if type(config) is dict and type(config.get("model")) is dict:
        nodes = config["model"].get("nodes")
        need(type(nodes) is list)
        config = [{k: node[k] for k in node if k in ("name", "freezing")} for node in nodes]
    need(type(config) is list)
    active = []
    for node in config:
        check_keys(node, ["name"], ["freezing"])
        freezing = node.get("freezing", {})
        check_keys(freezing, [], ["active", "unfreeze_after", "lr_after_unfreeze"])
        after, rate = freezing.get("unfreeze_after"), freezing.get("lr_after_unfreeze")
        need(is_text(node["name"]) and is_bool(freezing.get("active", False)) and (rate is None or is_rate(rate)))
        need(after is None or is_int(after) or (type(after) is float and 0 <= after <= 1))
        if type(after) is float:
            after = math.floor(Fraction(str(after)) * total)
        if freezing.get("active", False):
            active.append((node["name"], total if after is None else after))
    select([name for name, _ in active], names)
    need(len({name for name, _ in active}) == len(active))
    layers = [(set(flat(select([name], names))), stop) for name, stop in active]
    return lambda epoch: (set().union(*(found for found, stop in layers if epoch < stop)), set(), set())


def recorded(config, names, total, per):
    check_keys(config, ["decisions"], ["unit"])
    unit, decisions = config.get("unit", "steps"), config["decisions"]
    need(unit in ("steps", "epochs") and type(decisions) is list and decisions)
    for decision in decisions:
        need(type(decision) is list and len(decision) == 2 and is_int(decision[0]))
        need(decision[1] == [] or names_list(decision[1]))
    ticks = [tick for tick, _ in decisions]
    need(ticks == sorted(set(ticks)) and ticks[0] == 0)
    for _, frozen in decisions:
        need(names is None or set(frozen) <= set(names), "unknown-name")

    def at(step):
        tick = step // per if unit == "epochs" else step
        return set([frozen for begin, frozen in decisions if begin <= tick][-1]), set(), set()

    return at


def badam(config, names, total, per):
    numbers = ["switch_block_every", "start_block", "seed"]
    texts = ["block_prefix_list", "include_embedding", "include_lm_head", "switch_mode", "active_modules"]
    check_keys(config, [], [*texts, *numbers])
    prefixes, mode = config.get("block_prefix_list"), config.get("switch_mode", "descending")
    flags = [config.get(key, False) for key in ("include_embedding", "include_lm_head")]
    every, seed, start = config.get("switch_block_every", 50), config.get("seed", 0), config.get("start_block")
    need(prefixes is None or is_list(prefixes, lambda block: is_list(block, is_text, 1), 1))
    need(all(map(is_bool, flags)) and is_list(config.get("active_modules", []), is_text))
    need(mode in ("random", "descending", "ascending", "fixed"))
    need(is_whole(every) and every != 0 and is_int(seed) and seed < 2**64)
    need(start is None or is_int(start))
    names_needed(names)
    if prefixes is None:
        prefixes, others = [], []
        for name in names:
            if not any(prefix[0] in name for prefix in prefixes):
                found = re.match(r".*layers\.[^.]+\.", name) or (flags[0] and re.match(r".*embed[^.]*\.", name))
                (prefixes if found else others).append([found[0]] if found else name)
        prefixes += [others] if flags[1] else []
    blocks = [{name for name in names if any(text in name for text in block)} for block in prefixes]
    need(blocks and all(blocks), "empty-selection")
    need(sum(map(len, blocks)) == len(set().union(*blocks)))
    need(start is not None if mode == "fixed" else start is None or mode != "random")
    need(start is None or start < len(blocks))
    active = {name for name in names if any(text in name for text in config.get("active_modules", []))}

    def at(step):
        switches = sum((t + 1) % every == 0 for t in range(1, step + 1))
        place = {"ascending": 0, "descending": -1, "fixed": 0, "random": 0}[mode] if start is None else start
        place += {"ascending": switches, "descending": -switches, "fixed": 0, "random": 0}[mode]
        if mode == "random":
            cycle, turn = divmod(switches, len(blocks))
            place = drawn(seed, 0, cycle, len(blocks), len(blocks))[turn]
        return set(names) - blocks[place % len(blocks)] - active, set(), set()

    return at


def fts(config, names, total, per):
    need(type(config) is dict)
    if "0" in config:
        config = {"ft_schedule": config}
    check_keys(config, ["ft_schedule"], ["max_depth", "epoch_transitions_only", "base_max_lr"])
    phases, depth, only = (
        config["ft_schedule"],
        config.get("max_depth", -1),
        config.get("epoch_transitions_only", False),
    )
    need(type(phases) is dict and phases)
    need(is_int(depth, -1) and is_bool(only) and is_rate(config.get("base_max_lr", 1)))
    for phase in phases.values():
        check_keys(phase, ["params"], ["max_transition_epoch", "lr", "new_optimizer", "new_lr_scheduler"])
        need(all(type(phase.get(key)) in (dict, type(None)) for key in ("new_optimizer", "new_lr_scheduler")))
        need(is_list(phase["params"], is_text, 1))
        need(is_int(phase.get("max_transition_epoch", -1), -1))
        need(phase.get("lr") is None or is_rate(phase["lr"]))
    need(set(phases) == {str(number) for number in range(len(phases))})
    names_needed(names)
    phases = [phases[str(number)] for number in range(len(phases))]
    last = len(phases) - 1 if depth == -1 else min(depth, len(phases) - 1)
    meant, ends = [], []
    for number, phase in enumerate(phases):
        ends.append(phase.get("max_transition_epoch", -1))
        need(ends[-1] >= 0 or (number >= last and not only))
        meant.append([])
        for text in phase["params"]:
            try:
                found = [text] if text in names else [name for name in names if re.match(text, name)]
            except re.error:
                need(False)
            need(found, "empty-selection")
            meant[-1] += found
    need(len(set(flat(meant))) == len(flat(meant)))

    def at(epoch):
        reached = 0
        for now in range(epoch + 1):  # at the start of each epoch one phase more, if it is time
            if reached < last and now >= ends[reached]:
                reached += 1
        return set(names) - set(flat(meant[: reached + 1])), set(), set()

    return at


DIALECTS = {
    "vl3d": vl3d,
    "lighter": lighter,
    "kempner": kempner,
    "fastai": fastai,
    "composer": composer,
    "freezeout": freezeout,
    "gradual": gradual,
    "chain_thaw": chain_thaw,
    "lisa": lisa,
    "lightning": lightning,
    "nemo": nemo,
    "fts": fts,
    "badam": badam,
    "updates": updates,
    "luxonis": luxonis,
    "stop_after": stop_after,
    "two_phase": two_phase,
    "dino": dino,
    "recorded": recorded,
}
