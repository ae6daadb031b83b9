# ruff: noqa: E501 (a wrong implementation is a row)
"""Wrong implementations: small edits of ``brute_force``, each with the laws that must catch it.

``W(dialect, old, new, laws)``: ``old`` occurs once in the text; laws are given by the beginnings of their ids, and each
law of the dialect that begins so must break.
"""

from __future__ import annotations

import functools
import types
from pathlib import Path
from typing import Any, NamedTuple

import brute_force

SOURCE = Path(brute_force.__file__).read_text(encoding="utf-8")


class W(NamedTuple):
    dialect: str
    old: str
    new: str
    laws: str

    @property
    def id(self) -> str:
        shown = " ".join(self.new.split()) or "nothing"
        return f"{self.dialect}: {' '.join(self.old.split())[:60]} -> {shown[:80]}"


WRONG = [
    # segments, in whatever dialect
    W("vl3d", 'return found[request["start"] :]', 'return found[request["start"] : -1]', "SCH-1 SCH-3"),
    W("kempner", '"stop": tick + 1', '"stop": tick + 2', "SCH-1"),
    W("gradual", "for tick in range(total):", "for tick in range(1, total):", "SCH-1"),
    W("lighter", 'return found[request["start"] :]',
      'return found[request["start"] :] or [{"start": total, "stop": total, "frozen": []}]', "SCH-1"),
    W("fastai", '"frozen": sorted(frozen), "learning_rate": rate}', '"frozen": sorted(names), "learning_rate": rate}', "SCH-3"),
    W("vl3d", 'return found[request["start"] :]',
      'return [s | {"start": n + request["start"], "stop": n + 1 + request["start"]}'
      ' for n, s in enumerate(found[: total - request["start"]])]', "RES-1-a_resumed"),
    W("lightning", 'return found[request["start"] :]',
      'return [s | {"start": n + request["start"], "stop": n + 1 + request["start"]}'
      ' for n, s in enumerate(found[: total - request["start"]])]', "RES-1-a_resumed"),
    W("vl3d", 'return found[request["start"] :]',
      'rest = found[request["start"] :]\n'
      '    rates = [s["learning_rate"] for s in found[: request["start"] + 1] if s["learning_rate"]]\n'
      '    if rest and rates:\n'
      '        rest[0]["learning_rate"] = rates[-1]\n'
      '    return rest', "RES-1-a_resumed"),
    W("chain_thaw", 'return found[request["start"] :]',
      'rest = found[request["start"] :]\n'
      '    if rest and request["start"]:\n'
      '        rest[0]["learning_rate"] = None\n'
      '    return rest', "RES-1-a_resumed"),
    W("lighter", 'return found[request["start"] :]', 'return found[request["start"] + 1 :]', "SCH-1 RES-1-a_resumed"),
    # vl3d: intervals and round robin
    W("vl3d", "(k * window + j) % len(units)", "(k + j) % len(units)", "RR-1-agrees RR-3"),
    W("vl3d", "(k * window + j) % len(units)", "min(k * window + j, len(units) - 1)", "RR-1 RR-3"),
    W("vl3d", "(k * window + j) % len(units)", "(k * window + j + 1) % len(units)", "RR-1-agrees"),
    W("vl3d", 'units[(k * window + j) % len(units)] for j in range(window)',
      'units[p] for p in range(k * window % len(units), min(len(units), k * window % len(units) + window))', "RR-1"),
    W("vl3d", 'k = (tick - begin) // strategy["iterative_span"]', 'k = tick // strategy["iterative_span"]', "RR-1-agrees"),
    W("vl3d", 'k = (tick - begin) // strategy["iterative_span"]', "k = tick - begin", "RR-1-agrees RR-3"),
    W("vl3d", "begin <= tick < end", "begin <= tick <= end", "RR-2"),
    W("vl3d", "begin <= tick < end", "begin < tick < end", "RR-2-agrees RR-1-the_window"),
    W("vl3d", "begin <= tick < end", "begin <= tick", "RR-2"),
    W("vl3d", "begin <= tick < end", "begin <= tick < min(end, total - 1)", "RR-2-agrees SCH-4"),
    W("vl3d", "interval[0] < interval[1])", "interval[0] < interval[1] <= total)", "RR-2-agrees SCH-4"),
    W("vl3d", "frozen |= set(flat(units[(k", "frozen = set(flat(units[(k", "VL3-1"),
    W("vl3d", "frozen |= set(flat(units))", "frozen ^= set(flat(units))", "VL3-1-agrees"),
    W("vl3d", "frozen |= set(flat(units))", "frozen |= set(flat(units[:-1]))", "VL3-2"),
    W("vl3d", 'begins = (tick - begin) % strategy["iterative_span"] == 0', "begins = tick == begin", "VL3-3"),
    W("vl3d", 'begins = (tick - begin) % strategy["iterative_span"] == 0', "begins = True", "VL3-3"),
    W("vl3d", "begins = tick == begin", "begins = True", "VL3-3"),
    W("vl3d", 'need(len(rates) < 2, "conflict")', "pass", "SCH-6-conflict"),
    W("vl3d", 'need(len(rates) < 2, "conflict")', "need(len(rates) < 2)", "SCH-6-conflict"),
    W("vl3d", "for tick in range(total):",
      'need(all(len(at(tick)[1]) < 2 for tick in range(total + 9)), "conflict")\n    for tick in range(total):', "SCH-6-agrees"),
    W("vl3d", "rates.add(rate)", "rates |= {rate, *([0.125] if number and frozen else [])}", "VL3-3"),
    # random windows
    W("vl3d", 'strategy.get("seed", 0), number, k', 'strategy.get("seed", 0), 0, k', "RND-1"),
    W("vl3d", 'strategy.get("seed", 0), number, k', 'strategy.get("seed", 1), number, k', "RND-3-no_seed"),
    W("vl3d", 'strategy.get("seed", 0), number, k', 'strategy.get("seed", 0), number, 0', "RND-2-agrees"),
    W("vl3d", 'strategy.get("seed", 0), number, k', '(strategy.get("seed", 0) + end) % 2**64, number, k',
      "RND-2-agrees RND-3-a_longer"),
    W("vl3d", 'strategy.get("seed", 0), number, k', '(strategy.get("seed", 0) + len(specs)) % 2**64, number, k',
      "RND-3-a_later"),
    W("vl3d", 'strategy.get("seed", 0), number, k', 'strategy.get("seed", 0) % 2**32, number, k', "RND-2-agrees"),
    W("vl3d", 'strategy.get("seed", 0), number, k', 'strategy.get("seed", 0), len(specs) - 1 - number, k', "RND-1 RND-3-a_later"),
    W("vl3d", "(seed, number))", "(number, seed))", "RND-1 RND-2-agrees"),
    W("vl3d", "block = 0", "block = -1", "RND-1 RND-2-agrees"),
    W("vl3d", "(block, k, 0, 0)", "(k, block, 0, 0)", "RND-2-agrees"),
    W("vl3d", "block += 1", "pass", "RND-1 RND-2-agrees"),
    W("vl3d", "range(10):", "range(7):", "RND-2-agrees"),
    W("vl3d", "other = j + word % (n - j)", "other = word % n", "RND-2-agrees"),
    W("vl3d", "places[j], places[other] = places[other], places[j]", "places[j] = places[other]", "RND-2"),
    W("vl3d", "return places[:window]", "return places[-window:]", "RND-2-agrees"),
    W("vl3d", "words(seed, number, k))", 'words(__import__("random").randrange(9), number, k))',
      "RES-1-what RND-2-agrees"),
    W("vl3d", "words(seed, number, k))", "words(seed, number, asked.append(k) or len(asked)))", "RES-1-what"),
    # names
    W("vl3d", "[[name] for name in names]", "[[name] for name in sorted(names)]", "NAM-1-all"),
    W("vl3d", "units = units[::-1]", "units = units", "NAM-1-all"),
    W("composer", "[[name] for name in names]", "[[name] for name in sorted(names)]", "CMP-1-agrees"),
    W("vl3d", 'need(names is not None, "needs-model")', "names = names or []", "NAM-1-needs"),
    W("gradual", 'names is not None, "needs-model"', 'names is not None, "invalid-spec"', "NAM-1-needs"),
    W("vl3d", 'need(is_pattern(text), "unknown-name")', "if not is_pattern(text):\n                continue", "NAM-2"),
    W("lisa", 'need(is_pattern(text), "unknown-name")', "pass", "NAM-2"),
    W("fastai", 'need(is_pattern(text), "unknown-name")', 'need(is_pattern(text) or found, "unknown-name")', "NAM-2"),
    W("vl3d", 'name.startswith(text + "/")', "name.startswith(text)", "NAM-2"),
    W("vl3d", ' or name.startswith(text + "/")', "", "NAM-3-a_container"),
    W("lightning", ' or name.startswith(text + "/")', "", "NAM-3-a_container"),
    W("vl3d", 'need(names is not None or not inside, "needs-model")', "pass", "NAM-3-needs_model"),
    W("vl3d", 'need(names, "empty-selection")', "pass", "NAM-3-empty"),
    # units and patterns: containers that are opened, windows that count layers, patterns that stop at a slash, …
    W("vl3d", "found.append(inside)", "found += [[name] for name in inside]", "NAM-4 RR-3"),
    W("lisa", "found.append(inside)", "found += [[name] for name in inside]", "NAM-4"),
    W("composer", "found.append(inside)", "found += [[name] for name in inside]", "NAM-4"),
    W("freezeout", "found.append(inside)", "found += [[name] for name in inside]", "NAM-4"),
    W("chain_thaw", "found.append(inside)", "found += [[name] for name in inside]", "NAM-4"),
    W("vl3d", "set(flat(units[(k * window + j) % len(units)] for j in range(window)))",
      "{flat(units)[(k * window + j) % len(flat(units))] for j in range(window)}", "NAM-4 RR-3"),
    W("vl3d", "parts if is_each(entry) else [flat(parts)]", "parts", "NAM-5-agrees"),
    W("vl3d", "parts if is_each(entry) else [flat(parts)]", "[flat(parts)]", "NAM-5-each"),
    W("lisa", "parts if is_each(entry) else [flat(parts)]", "[flat(parts)]", "NAM-5-each"),
    W("vl3d", "re.fullmatch(fnmatch.translate(pattern), path)",
      're.fullmatch(fnmatch.translate(pattern).replace(".*", "[^/]*"), path)', "NAM-5-each"),
    W("vl3d", "for depth in range(1, len(steps) + 1):", "for depth in [len(steps)]:", "NAM-5-each"),
    W("vl3d", "for depth in range(1, len(steps) + 1):", "for depth in range(len(steps), 0, -1):", "NAM-5-each"),
    W("vl3d", 'need(parts, "empty-selection")', "pass", "NAM-5-empty"),
    W("lightning", 'need(parts, "empty-selection")', 'need(parts, "unknown-name")', "NAM-5-empty"),
    W("gradual", "found if is_each(group) else [flat(found)]", "[flat(found)]", "NAM-5-each_alone"),
    W("fastai", "found if is_each(group) else [flat(found)]", "[flat(found)]", "NAM-5-each_alone"),
    # wrong configurations
    W("vl3d", "type(value) is int and", "isinstance(value, int) and", "CFG-1"),
    *(W(dialect, "type(value) is int and", "type(value) in (int, float) and value % 1 == 0 and", "CFG-1")
      for dialect in ("vl3d", "lighter", "kempner", "fastai", "gradual", "chain_thaw", "lisa", "lightning")),
    W("lighter", "value >= least", "True", "CFG-1"),
    W("kempner", " <= set(required) | set(optional)", "", "CFG-1"),
    W("lighter", " and len(set(value)) == len(value)", "", "CFG-1"),
    W("vl3d", 'need(strategy is None or strategy["window_size"] <= len(units))', "pass", "CFG-1"),
    W("vl3d", "need(len(set(flat(found))) == len(flat(found)))", "pass", "CFG-1"),
    W("composer", 'set(value) == {"each"}', '"each" in value', "CFG-1"),
    W("vl3d", 'need(is_int(strategy["iterative_span"], 1))', 'need(is_int(strategy["iterative_span"]) or True)\n'
      '            strategy["iterative_span"] = max(1, int(strategy["iterative_span"] or 1))', "CFG-1"),
    W("vl3d", "interval[0] < interval[1])", "interval[0] <= interval[1])", "CFG-1"),
    W("vl3d", "0 < value < math.inf", "value < math.inf", "CFG-1"),
    W("vl3d", ' and strategy.get("seed", 0) < 2**64', "", "CFG-1"),
    W("fastai", "type(value) is bool", "value in (True, False)", "CFG-1"),
    W("chain_thaw", "need(len(epochs) == len(stages))", "epochs = (epochs + epochs)[: len(stages)] + [1] * len(stages)\n"
      "    epochs = epochs[: len(stages)]", "CFG-1"),
    W("freezeout", "need(first > 0)", "pass", "CFG-1"),
    # lighter
    W("lighter", '"names", "except_names"', '"names",', "LGT-1-unknown"),
    W("lighter", 'in ("name_starts_with", "except_name_starts_with"):', 'in ("name_starts_with",):', "LGT-1-empty"),
    W("lighter", 'need(any(entries), "empty-selection")', "pass", "LGT-1-nothing"),
    W("lighter", 'if name.startswith(start)} for start in lists["name_starts_with"]',
      'if start in name} for start in lists["name_starts_with"]', "LGT-1-agrees"),
    W("lighter", "[{name} for name in", "[{n for n in names if n.startswith(name)} for name in", "LGT-1-agrees"),
    W("lighter", "entries = [entry - spared for entry in entries]", "pass", "LGT-1-agrees LGT-1-nothing"),
    W("lighter", "epoch, frozen = step // per, set()", "epoch, frozen = step, set()", "LGT-2"),
    W("lighter", "epoch, frozen = step // per, set()", "epoch, frozen = (step + 1) // per, set()", "LGT-2"),
    W("lighter", "epoch, frozen = step // per, set()", "epoch, frozen = -(-step // per), set()", "LGT-2"),
    W("lighter", 'step >= freezer.get("until_step"', 'step > freezer.get("until_step"', "LGT-2"),
    W("lighter", 'math.inf) or epoch >= freezer.get("until_epoch", math.inf)',
      '-1) and epoch >= freezer.get("until_epoch", -1) and len(freezer) > 1', "LGT-2-agrees"),
    W("lighter", 'freezer.get("start_epoch", every)', 'freezer.get("start_epoch", every and 0)', "LGT-3"),
    W("lighter", "start + j * (every or 0)", "start + (j + 1) * (every or 0)", "LGT-3"),
    W("lighter", "start + j * (every or 0)", "start + j * (every or 1)", "LGT-3"),
    W("lighter", "enumerate(entries):", "enumerate(entries[::-1]):", "LGT-3"),
    W("lighter", "enumerate(entries):", "enumerate(entries[:1]):", "LGT-4-one_freezer"),
    W("lighter", "released = step >=", "released = start is None and step >=", "LGT-3"),
    W("lighter", "frozen |= entry", "frozen = entry", "LGT-4-agrees LGT-4-order"),
    W("lighter", "                if not released:\n                    frozen |= entry",
      "                frozen = frozen - entry if released else frozen | entry", "LGT-4-agrees LGT-4-order"),
    W("lighter", "for freezer, entries in freezers:", "for freezer, entries in freezers[:1]:", "LGT-4"),
    W("lighter", "[value] if is_text(", "list(value) if is_text(", "LGT-5"),
    # kempner
    W("kempner", "in active(config, step).items():\n            matched", "in reversed(active(config, step).items()):\n            matched", "KMP-4"),
    W("kempner", "frozen - matched", "frozen", "KMP-4"),
    W("kempner", 'if stage["start_step"] <= step', 'if stage["start_step"] < step', "KMP-3-agrees"),
    W("kempner", 'need(is_int(stage["start_step"]))', 'need(is_int(stage["start_step"]) and stage["specs"])', "KMP-3-a_stage"),
    W("kempner", 'for spec in stage["specs"]:\n                found', 'for spec in stage["specs"]:\n                found.pop(spec["module"], None)\n                found', "KMP-3-agrees KMP-3-saying"),
    W("kempner", 'for spec in stage["specs"]:\n                found', 'found = {}\n            for spec in stage["specs"]:\n                found', "KMP-3"),
    W("kempner", 'if stage["start_step"] <= step', 'if stage["start_step"] <= step < stage["start_step"] + 3', "KMP-3-agrees"),
    W("kempner", 'get("module_patterns", {}).get(module, [module])\n    return', 'get("module_patterns", {}).get(module, [module])[:1]\n    return', "KMP-5-agrees"),
    W("kempner", "re.fullmatch(fnmatch.translate(pattern), name)", "re.fullmatch(fnmatch.translate(pattern), name, re.I)", "KMP-5-agrees KMP-5-empty"),
    W("kempner", "re.fullmatch(fnmatch.translate(pattern), name)", 're.fullmatch(fnmatch.translate(pattern).replace(".*", "[^.]*"), name)', "KMP-5-agrees"),
    W("kempner", "re.fullmatch(fnmatch.translate(pattern), name)", "name.startswith(pattern.rstrip('*')) or fnmatch.fnmatchcase(name, pattern)", "KMP-5-empty"),
    W("kempner", "re.fullmatch(fnmatch.translate(pattern), name)", "re.fullmatch(fnmatch.translate(pattern), name) and len(module) > 1", "KMP-5-an_alias"),
    W("kempner", 'need(before["start_step"] < after["start_step"])', 'need(before["start_step"] <= after["start_step"])', "KMP-6"),
    W("kempner", 'need(before["start_step"] < after["start_step"])', "pass", "KMP-6"),
    W("kempner", 'in valid, "unknown-name")', 'in valid)', "KMP-7"),
    W("kempner", 'need(valid is None or spec["module"] in valid, "unknown-name")', "pass", "KMP-7"),
    W("kempner", 'for specs in (config.get("freeze", []), *(stage["specs"] for stage in stages)):', 'for specs in (config.get("freeze", []),):', "KMP-5-empty KMP-7"),
    W("kempner", 'matches(config, spec["module"], name) for name in names), "empty-selection")', 'True for name in names), "empty-selection")', "KMP-5-empty"),
    W("kempner", 'set(request["frozen"]), 0', "set(), 0", "KMP-8-agrees"),
    W("kempner", 'active(config, request["tick"])', "active(config, 99)", "KMP-8-agrees"),
    W("kempner", "flipped += sizes[name]", "flipped += 1", "KMP-8-flipped"),
    W("kempner", "(name in frozen) != freezes:\n                flipped += sizes[name]\n                frozen ^= {name}",
      "True:\n                flipped += sizes[name]\n                frozen = frozen | {name} if freezes else frozen - {name}", "KMP-8-flipped SCH-5"),
    W("kempner", "and (name in frozen) != freezes:\n", ":\n", "KMP-8-agrees SCH-5"),
    W("kempner", "form.append([step, runs])", "form.append([step, sorted(active(config, step).items())])", "KMP-2-equal"),
    W("kempner", "form.append([step, runs])", "form.append([step, runs, config.get('freeze')])", "KMP-2-repeats"),
    W("kempner", "form.append([step, runs])", "form.append([step, sorted(runs)])", "KMP-2-equal"),
    # fastai
    W("fastai", "for group in groups[n:] for name", "for group in groups[:n] for name", "FAI-1-agrees"),
    W("fastai", "for group in groups[n:] for name", "for group in groups[max(0, n):] for name", "FAI-1-agrees FAI-1-negative"),
    W("fastai", "for group in groups[n:] for name", "for group in groups[n % len(groups):] for name", "FAI-1-agrees FAI-1-negative"),
    W("fastai", "need(len(every) == sum(map(len, groups)))", "pass", "FAI-1-invalid"),
    W("fastai", "frozen = every - trained", "frozen = (every if trained == every else set(names)) - trained", "FAI-1-agrees"),
    W("fastai", 'if call["at"] > epoch:', 'if call["at"] >= epoch:', "FAI-1-agrees"),
    W("fastai", 'in sorted(calls, key=lambda call: call["at"])', "in calls", "FAI-2-ticks"),
    W("fastai", 'in sorted(calls, key=lambda call: call["at"])', 'in sorted(calls[::-1], key=lambda call: call["at"])', "FAI-2-agrees"),
    W("fastai", '"freeze": -1, ', '"freeze": 1, ', "FAI-3"),
    W("fastai", '"unfreeze": 0', '"unfreeze": 1', "FAI-3"),
    W("fastai", "batch_norm & frozen", "set()", "FAI-4-agrees"),
    W("fastai", "batch_norm & frozen", "batch_norm - frozen", "FAI-4-agrees"),
    W("fastai", 'inference = call["do_freeze"]', 'inference, trained = call["do_freeze"], every', "FAI-4"),
    W("fastai", 'inference = call["do_freeze"]', "inference = True", "FAI-4-agrees"),
    # the literature
    W("composer", "/ (1 - begin) * (len(units) - 1)", "/ (1 - begin) * len(units)", "CMP-1-agrees"),
    W("composer", "(now - begin) / (1 - begin)", "(now - begin)", "CMP-1-agrees"),
    W("composer", "units[: int(count)]", "units[: math.ceil(count)]", "CMP-1-agrees"),
    W("composer", "return Fraction(str(value))", "return Fraction(value)", "CMP-1"),
    W("freezeout", "step > t * total", "step >= t * total", "FRO-1-agrees"),
    W("freezeout", "Fraction(i, len(units) - 1)", "Fraction(i, len(units))", "FRO-1-agrees"),
    W("freezeout", '"cubic": 3', '"cubic": 2', "FRO-1-agrees"),
    W("freezeout", "return Fraction(str(value))", "return Fraction(value)", "FRO-1"),
    W("gradual", "epoch // every + 1", "epoch // every + 2", "GRD-1-agrees"),
    W("gradual", "epoch // every + 1", "epoch + 1", "GRD-1-agrees"),
    W("gradual", "groups = layers_of({}, names)", "groups = layers_of({}, names)[::-1]", "GRD-1-without"),
    W("gradual", "need(len(every) == sum(map(len, groups)))", "pass", "GRD-1-invalid"),
    W("chain_thaw", "else units[-1]", "else units[0]", "CHT-1-agrees"),
    W("chain_thaw", "[epochs] * len(stages) if", "[1] * (len(stages) - 1) + [epochs] if", "CHT-1-one"),
    W("chain_thaw", 'need(set(new) <= set(layers), "unknown-name")', "pass", "CHT-1-unknown"),
    W("chain_thaw", "rates[min(number, 1)]", "rates[0]", "CHT-2"),
    W("chain_thaw", "if epoch == begin else set()", "", "CHT-2"),
    W("lisa", "set(layers) - set(trained)", "set(trained)", "LIS-1-agrees LIS-1-so_many"),
    W("lisa", "drawn(seed, 0, k, len(units)", "drawn(seed, 1, k, len(units)", "LIS-1-agrees"),
    W("lisa", "step // interval", "step", "LIS-1-agrees"),
    W("lisa", '"axolotl" and step > 0', '"axolotl" and step > 1', "LIS-2-agrees"),
    W("lisa", '"axolotl" and step > 0', '"axolotl" and step >= 0', "LIS-2-agrees"),
    W("lisa", '"axolotl" and step > 0', '"axolotl" and step >= interval', "LIS-2-agrees"),
    W("lisa", 'said.setdefault("variant", "axolotl")', "pass", "LIS-2-other_keys"),
    W("lisa", 'config.get("seed", 0)\n', 'config.get("seed", 42)\n', "RND-3-no_seed"),
    W("lisa", "for [name] in units if name not in always]", "for [name] in units]", "LIS-1-all"),
    W("lisa", 'need(units, "empty-selection")', "pass", "LIS-1-empty"),
    W("lisa", "need(not set(layers) & set(always))", "pass", "LIS-1-invalid"),
    W("lightning", "if epoch < until", "if epoch <= until", "LTN-1"),
    W("lightning", "frozen - batch_norm if train_bn", "frozen | batch_norm if train_bn", "LTN-1"),
    W("lightning", "frozen - batch_norm if train_bn else frozen | batch_norm", "frozen", "LTN-1"),
    # the schedules in use: each boundary one off, and what is easily taken for it
    W("updates", 'done >= number if rule == ">="', 'done > number if rule == ">="', "UPD-1"),
    W("updates", 'done >= number if rule == ">="', 'done + 1 >= number if rule == ">="', "UPD-1"),
    W("updates", "else done > number", "else done >= number", "UPD-1"),
    W("updates", "else done > number", "else done > number + 1", "UPD-1"),
    W("updates", '(">" if key == "w2v_freezing_updates" else ">=")', '">="', "UPD-1-agrees"),
    W("updates", "need(len(given) == 1)", "need(given)", "CFG-1"),
    W("nemo", "frozen, step = set(), step + 1", "frozen, step = set(), step", "NEM-1-agrees"),
    W("nemo", "step <= last or", "step < last or", "NEM-1-agrees"),
    W("nemo", "step >= first and", "step > first and", "NEM-1-agrees"),
    W("nemo", "or last == -1):", "):", "NEM-1-agrees"),
    W("nemo", "or last == -1):", "or last < 0):", "NEM-1-agrees"),
    W("nemo", 'config.get("enabled", False) and step', "step", "NEM-1-agrees"),
    W("nemo", "is_list(said, is_whole) and len(said) == 2", "is_list(said, is_whole, 2)", "CFG-1"),
    W("stop_after", "step // per >= number", "step // per > number", "STP-1"),
    W("stop_after", "step // per >= number", "(step + 1) // per >= number", "STP-1"),
    W("stop_after", '"STEP": step >= number', '"STEP": step > number', "STP-1"),
    W("stop_after", '"NEVER": False', '"NEVER": step >= number', "STP-1"),
    W("stop_after", "math.ceil(Fraction(total, per))", "(total // per)", "STP-1"),
    W("stop_after", "math.floor(share(number)", "math.ceil(share(number)", "STP-1"),
    W("two_phase", '<= epoch < epochs["Freeze_Epoch"]', '<= epoch <= epochs["Freeze_Epoch"]', "TWO-1"),
    W("two_phase", '<= epoch < epochs["Freeze_Epoch"]', '< epoch < epochs["Freeze_Epoch"]', "TWO-1"),
    W("two_phase", "names[:wanted]", "names[: wanted + 1]", "TWO-1"),
    W("two_phase", 'need(epochs["Freeze_Epoch"] <= epochs["UnFreeze_Epoch"])', "pass", "CFG-1"),
    W("nemo", 'dict and "freeze_updates" in config["model"]:', "str:", "NEM-1-a_whole"),
    W("luxonis", 'type(config.get("model")) is dict:', 'type(config.get("model")) is str:', "LUX-1-a_whole"),
    W("fts", 'if "0" in config:', "if False:", "FTS-1-phases_alone"),
    W("dino", 'need(last, "empty-selection")', "pass", "DIN-1-empty"),
    W("dino", "last if epoch < epochs", "last if epoch <= epochs", "DIN-1-agrees"),
    W("dino", '"last_layer" in name}', 'name.startswith("last_layer")}', "DIN-1-agrees"),
    W("luxonis", "if epoch < stop))", "if epoch <= stop))", "LUX-1-agrees"),
    W("luxonis", "Fraction(str(after)) * total", "after * total", "LUX-1-agrees"),
    W("luxonis", "total if after is None else after", "total - 1 if after is None else after", "LUX-1-agrees"),
    W("luxonis", "if type(after) is float:", "if type(after) is float and after < 1:", "LUX-1-agrees"),
    W("recorded", "if begin <= tick]", "if begin < tick or not begin]", "REC-1"),
    W("recorded", 'step // per if unit == "epochs"', '-(-step // per) if unit == "epochs"', "REC-1"),
    W("recorded", "ticks == sorted(set(ticks))", "ticks == sorted(ticks)", "CFG-1"),
    W("recorded", "and ticks[0] == 0)", ")", "CFG-1"),
    W("badam", "sum((t + 1) % every == 0", "sum(t % every == 0", "BAD-1-agrees BAD-2-agrees RND-4"),
    W("badam", "for t in range(1, step + 1))", "for t in range(step + 1))", "BAD-1-agrees"),
    W("badam", '"descending": -switches', '"descending": switches', "BAD-1-agrees"),
    W("badam", '"descending": -1, "fixed": 0', '"descending": 0, "fixed": 0', "BAD-1-agrees"),
    W("badam", "cycle, turn = divmod(switches, len(blocks))", "cycle, turn = 0, switches % len(blocks)", "RND-4"),
    W("badam", "drawn(seed, 0, cycle, len(blocks), len(blocks))[turn]", "drawn(seed, 0, switches, len(blocks), 1)[0]", "RND-4"),
    W("badam", "drawn(seed, 0, cycle, len(blocks), len(blocks))[turn]", "drawn(seed, 0, cycle, len(blocks), len(blocks))[-1 - turn]", "RND-4"),
    W("badam", "- blocks[place % len(blocks)] - active", "- blocks[place % len(blocks)]", "BAD-1-agrees"),
    W("badam", "set(names) - blocks[place", "set().union(*blocks) - blocks[place", "BAD-1-agrees"),
    W("badam", "any(text in name for text in block)", "any(name.startswith(text) for text in block)", "BAD-1-agrees"),
    W("badam", 'prefixes += [others] if flags[1] else []', "pass", "BAD-2-agrees"),
    W("badam", 'need(blocks and all(blocks), "empty-selection")', "pass", "BAD-2-empty"),
    W("badam", "need(sum(map(len, blocks)) == len(set().union(*blocks)))", "pass", "BAD-2-a_block"),
    W("fts", "now >= ends[reached]", "now > ends[reached]", "FTS-1-agrees"),
    W("fts", "now >= ends[reached]", "now + 1 >= ends[reached]", "FTS-1-agrees"),
    W("fts", "if reached < last and", "while reached < last and", "FTS-1-agrees"),
    W("fts", "min(depth, len(phases) - 1)", "len(phases) - 1", "FTS-1-agrees"),
    W("fts", "set(names) - set(flat(meant[: reached + 1]))", "set(flat(meant)) - set(flat(meant[: reached + 1]))", "FTS-1-agrees"),
    W("fts", "set(flat(meant[: reached + 1]))", "set(meant[reached])", "FTS-1-agrees"),
    W("fts", "if re.match(text, name)", "if re.search(text, name)", "FTS-2-empty"),
    W("fts", "need(len(set(flat(meant))) == len(flat(meant)))", "pass", "FTS-2-invalid"),
    W("fts", "[text] if text in names else ", "", "FTS-1-agrees"),
    W("fts", "number >= last and not only", "number >= last", "CFG-1"),
]  # fmt: skip


@functools.cache
def module(old: str = "", new: str = "") -> Any:
    """Return ``brute_force`` as a module of its own, with ``new`` in place of ``old``."""
    assert not old or SOURCE.count(old) == 1, f"{SOURCE.count(old)} times: {old}"
    found = types.ModuleType("brute_force")
    found.__dict__["asked"] = []
    exec(compile(SOURCE.replace(old, new), "brute_force", "exec"), found.__dict__)
    return found
