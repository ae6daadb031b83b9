# ruff: noqa: E501 (a wrong executor is a row)
"""Wrong executors: small edits of ``right_executor``, each with the laws that must catch it, as in ``wrong_ones``.

Those in ``FIRST`` are tried in every run of the tests, one for each law at least; the others are slow.
"""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import refreeze.keras.masked
from refreeze.conformance.reference import execution

SOURCE = Path(__file__).with_name("right_executor.py").read_text(encoding="utf-8")
FLAG = "layer.trainable = name not in frozen if name in governed else given[name]"
LATER = "if start < done:\n                continue"
COMPILE = "model.compile(optimizer, model.loss)"


class W(NamedTuple):
    old: str
    new: str
    laws: str
    dialect: str = "vl3d"

    @property
    def id(self) -> str:
        return f"{' '.join(self.old.split())[:40]} -> {' '.join(self.new.split())[:80] or 'nothing'}"


FIRST = [
    # flags flipped, the train step not made anew
    W(COMPILE, "pass", "EXE-3 EXE-7"),
    # steps traced under whatever flags a callback has left
    W("model.train_step = watching(model, [(layer, layer.trainable) for layer in layers.values()])", "pass", "EXE-3-whatever"),
    # one epoch too many
    W("fit(stop - start)", "fit(stop - start + 1)", "EXE-1-"),
    # a new optimizer for each segment
    W(COMPILE, "optimizer = type(optimizer).from_config(optimizer.get_config())\n            " + COMPILE, "EXE-4"),
    # the rate forgotten
    W("optimizer.learning_rate = rate", "pass", "EXE-5-a_rate"),
    # the history of the last fit alone
    W("merged.history, merged.epoch = history, [*range(done)]", "merged = found", "EXE-6"),
    # a layer frozen one segment too long
    W(LATER, LATER + "\n            frozen, kept[model] = frozen | kept.get(model, set()), frozen", "EXE-2"),
    # trained before it is rejected
    W("except brute_force.Wrong as wrong:", "except brute_force.Wrong as wrong:\n            fit(1)", "NAM-2"),
    W("if model.stop_training:", "if False:", "EXE-8"),
    # the flags put back after a failure
    W("found = fit(stop - start)", "try:\n                found = fit(stop - start)\n            except Exception:\n"
      "                for name, layer in layers.items():\n                    layer.trainable = given[name]\n                raise", "EXE-9"),
    # left out, as there is nothing to train
    W(COMPILE, "if frozen >= set(layers):\n                continue\n            " + COMPILE, "EXE-10"),
    # everything released, or the user's flags put back, at the end
    W("merged = keras.callbacks.History()", "for layer in layers.values():\n            layer.trainable = True\n        merged = keras.callbacks.History()", "EXE-11"),
    W("optimizer.use_ema and", "False and", "EXE-12"),
    W("any(rate for *_, rate, _ in segments)", "[segment.__setitem__(3, None) for segment in segments] is None", "EXE-5-a_schedule"),
    # variables frozen in place of layers: batch normalizations use and move their statistics
    W(FLAG, "flag = name not in frozen if name in governed else given[name]\n"
      "                for weight in layer._trainable_variables:\n                    weight.trainable = flag", "BN-1-frozen EXE-3"),
    W("in_inference_mode(layer, name in inference)", "pass", "BN-1-inference", "fastai"),
    W("variable.assign(value)", "pass", "RES-2"),
    # what was frozen at first is frozen anew when the run is resumed
    W("model.set_weights(weights)", "model.set_weights(weights)\n            segments = [[*s[:2], s[2] | segments[0][2], *s[3:]] for s in segments]", "RES-1"),
    W("if past != ", "if False and past != ", "RES-3"),
]  # fmt: skip
MORE = [
    # what is in force
    W(COMPILE, "key = model, len(frozen)\n            model.train_function = kept.get(key)\n"
      "            model.make_train_function()\n            kept[key] = model.train_function", "EXE-3 EXE-7"),
    W(COMPILE, "if start == 0:\n                " + COMPILE, "EXE-3 EXE-7"),
    W(FLAG, "layer.trainable = name not in frozen", "EXE-2 EXE-3"),
    W(FLAG, "layer.trainable = given[name] and name not in frozen", "EXE-2 EXE-3"),
    W(FLAG, FLAG.replace("not in frozen", "in frozen"), "EXE-2 EXE-3 EXE-7"),
    W(FLAG, 'layer.trainable = "/" in name or (name not in frozen if name in governed else given[name])', "EXE-2 EXE-3"),
    W(FLAG, FLAG + '\n                layer.trainable |= frozen >= set(layers) and name == "head"', "EXE-10 EXE-2 EXE-3"),
    # what is frozen is trained and put back, too late
    W("found = fit(stop - start)", "for layer in layers.values():\n                layer.trainable = True\n            " + COMPILE
      + "\n            kept = {name: layers[name].get_weights() for name in frozen}\n            found = fit(stop - start)\n"
      "            for name in frozen:\n                layers[name].set_weights(kept[name])", "EXE-2 EXE-3"),
    # calls
    W("found[-1][1] += 1", "found.append([tick['start'], tick['stop'], *state])", "EXE-1-"),
    W("fit(stop - start)", "fit(max(1, stop - start - 1))", "EXE-1-"),
    W("fit(stop - start)", "(fit(1), fit(stop - start))[1]", "EXE-1-"),
    W("for start, stop, frozen, rate, inference in segments:",
      "for start, stop, frozen, rate, inference in segments[:-1] or segments:", "EXE-1- EXE-7"),
    # the optimizer
    W(COMPILE, COMPILE + "\n            optimizer.iterations.assign(0)", "EXE-4"),
    W(COMPILE, "fresh = type(optimizer).from_config(optimizer.get_config())\n"
      "            fresh.build(optimizer._trainable_variables)\n"
      "            for new, old in zip(fresh.variables[2:], optimizer.variables[2:]):\n"
      "                old.assign(new) if start else None\n            " + COMPILE, "EXE-4 EXE-7"),
    W("if rate is not None:", "rate = kept[model] = kept.get(model) if rate is None else rate\n            if rate is not None:", "EXE-5-a_rate"),
    W("if rate is not None:", "rate = rate or kept.setdefault(model, float(optimizer.learning_rate))\n            if rate is not None:", "EXE-5-a_rate EXE-7"),
    # the history
    W("columns.get(key, [math.nan] * epochs)", "columns.get(key, [])", "EXE-6"),
    W("columns.get(key, [math.nan] * epochs)", "columns.get(key, [0.0] * epochs)", "EXE-6"),
    W("[*range(done)]", "found.epoch", "EXE-6"),
    # ends
    W("found = fit(stop - start)", "try:\n                found = fit(stop - start)\n            except Exception as error:\n"
      "                raise RuntimeError('training failed') from error", "EXE-9"),
    W("found = fit(stop - start)", "try:\n                found = fit(stop - start)\n            except Exception:\n                break", "EXE-9"),
    W("merged = keras.callbacks.History()", "[setattr(layers[name], 'trainable', flag) for name, flag in given.items()]\n"
      "        merged = keras.callbacks.History()", "EXE-11"),
    # names
    W("raise Refused(str(wrong)) from None", "return fit(total)", "NAM-2"),
    W("Refused(str(wrong))", 'Refused("invalid-spec")', "NAM-2"),
    # checkpoints
    W("if file is not None and file.exists():", "if False:", "RES-2 RES-3"),
    W("model.set_weights(weights)", "pass", "RES-2"),
    W("done, history, past, weights, slots = ", "done, _, past, weights, slots = ", "RES-2"),
    W(LATER, "pass", "RES-2"),
    W("if past != [segment for segment in segments if segment[0] < done]:", "if past != segments:", "RES-2"),
    W("name not in frozen if name in governed", "name not in frozen | inference if name in governed", "BN-1-inference", "fastai"),
]  # fmt: skip


MASKED = [
    # multiplies gradients in place of masking updates
    W("self._do_when(condition, group)\n\n        return update", "on = 1.0 if isinstance(condition, bool) else tf.cast(self._masks[condition.number], tf.float32)\n"
      "                plain(distribution, [(grads_and_vars[n][0] * on, grads_and_vars[n][1]) for n in numbers], learning_rate)\n\n        return update", "EXE-3 EXE-7"),
    # takes the other branch for one name
    W("tf.cond(self._masks[condition.number], do", "tf.cond(self._masks[condition.number] ^ (condition.number == 1), do", "EXE-3 EXE-7"),
    # updates the frozen, slots too
    W("self._do_when(condition, group)\n\n        return update", "group()\n\n        return update", "EXE-3 EXE-7"),
    # decays the frozen
    W("replace(inner, private.DECAY, lambda variables: None)", "decay(self._tree.trainable)\n            replace(inner, private.DECAY, lambda variables: None)", "EXE-3 EXE-7"),
    # constrains the frozen
    W("variable.constraint is not None and trains is not True", "False", "EXE-3"),
    # counts updates while everything is frozen
    W("self._do_when(self._any, lambda: plain(grads, trainable_variables))", "plain(grads, trainable_variables)", "EXE-7"),
    # one name's boolean for all
    W("found.setdefault(self._trains[id(variable)], [])", "found.setdefault(self._trains[id(variables[0])], [])", "EXE-3 EXE-7"),
    # normalizations always by the batch, or never
    W('self._when(by_batch, batch, lambda: run("inference"))', "batch()", "EXE-3 BN-1-frozen"),
    W('self._when(by_batch, batch, lambda: run("inference"))', 'run("inference")', "EXE-3 EXE-7"),
    # booleans that are never told, or one too late
    W("self._booleans.assign(self.conditions.values(state))", "pass", "EXE-3 EXE-7"),
    W("self._booleans.assign(self.conditions.values(state))", "self._booleans.assign(getattr(self, 'late', self.conditions.values(state)))\n"
      "        self.late = self.conditions.values(state)", "EXE-3 EXE-7"),
    # traced with what trains at first alone
    W("stack.enter_context(self._flags.shown(self._ever))", "pass", "EXE-3 EXE-7"),
]  # fmt: skip
"""Wrong masked steps: edits of the engine's own."""
STEP = Path(refreeze.keras.masked.__file__).read_text(encoding="utf-8")


def masked(wrong: W) -> Any:
    """Return the engine with the masked step that ``wrong`` is."""
    assert STEP.count(wrong.old) == 1, f"{STEP.count(wrong.old)} times: {wrong.old}"
    found = types.ModuleType("wrong_step")
    exec(compile(STEP.replace(wrong.old, wrong.new), "wrong_step", "exec"), found.__dict__)

    class Engine:
        def run(self, *args: Any) -> Any:
            with mock.patch("refreeze.keras.backends.tensorflow.MaskedStep", found.MaskedStep):
                return execution.run(*args, switch="masked")

    return Engine()


def executor(wrong: W) -> Any:
    """Return the executor that ``wrong`` is."""
    assert SOURCE.count(wrong.old) == 1, f"{SOURCE.count(wrong.old)} times: {wrong.old}"
    found = types.ModuleType("wrong_executor")
    found.__dict__["kept"] = {}
    exec(compile(SOURCE.replace(wrong.old, wrong.new), "wrong_executor", "exec"), found.__dict__)
    return found.Compiling()
