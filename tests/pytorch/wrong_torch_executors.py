# ruff: noqa: E501 (a wrong executor is a row)
"""Wrong executors of PyTorch modules: small edits of ``right_torch_executor``, each with the laws that must catch it."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, NamedTuple

SOURCE = Path(__file__).with_name("right_torch_executor.py").read_text(encoding="utf-8")
OPTIMIZER = "optimizer, governed = make_optimizer(module.parameters()), scheduled(dialect, config, [*layers])"
GRAD = "parameter.grad = None"
FLAG = 'on, layer = name not in tick["frozen"], layers[name]'
MODE = 'layer.train(on and name not in tick["bn_frozen"])'
BATCHES = "for x, y in loader:"
LOADED = "optimizer.load_state_dict(slots)"
STEP = "optimizer.step()"
BACKWARD = "loss.backward()"
STOP = "if module.stop_training:\n                break"
LOSS = "loss = torch.nn.functional.cross_entropy(module(x), y)"
TICKS = "for tick in ticks[done:]:"


class W(NamedTuple):
    what: str
    laws: str
    edits: tuple[tuple[str, str], ...]
    dialect: str = "vl3d"
    holds: str = ""
    """Laws that it keeps all the same."""

    @property
    def id(self) -> str:
        return self.what


def w(what: str, laws: str, *edits: str, **more: str) -> W:
    return W(what, laws, tuple(zip(edits[::2], edits[1::2], strict=True)), **more)


def after(code: str, line: str, spaces: int = 20) -> str:
    """Return ``code``, and lines after it with the same indent."""
    indent = "\n" + " " * spaces
    return code + indent + line.replace("\n", indent)


FROZEN = "[p for p in module.parameters() if not p.requires_grad]"
WRONG = [
    # gradients
    w("zeros in place of None", "EXE-3-what PYT-1", GRAD, "pass", "optimizer.zero_grad()", "optimizer.zero_grad(set_to_none=False)"),
    w("a gradient that is left from before", "EXE-3-what PYT-1", GRAD, "pass", "optimizer.zero_grad()", "[p.grad.zero_() for p in module.parameters() if p.grad is not None and p.requires_grad]"),
    w("left out of the optimizer, with an old gradient", "PYT-1", GRAD, "pass",
      "optimizer.zero_grad()", "for group in optimizer.param_groups:\n                    group['params'] = [p for p in module.parameters() if p.requires_grad]\n                optimizer.zero_grad()", holds="EXE-3-what"),
    w("a learning rate of zero in place of freezing", "EXE-2 EXE-4 PYT-1", FLAG, "on, layer = True, layers[name]",
      STEP, "kept = {n: p.detach().clone() for n in tick['frozen'] for p in [*layers[n].parameters()] for n in [p]}\n                    optimizer.step()\n                    with torch.no_grad():\n                        [p.copy_(value) for p, value in kept.items()]"),
    # what moves
    w("decay of the frozen", "EXE-3-what", STEP, after(STEP, f"with torch.no_grad():\n    [p.mul_(0.99) for p in {FROZEN}]")),
    w("a bias is not frozen", "EXE-3-what PYT-1", "parameter.requires_grad = on", "parameter.requires_grad = on or parameter is getattr(layer, 'bias', None)"),
    w("released one step late", "EXE-2 EXE-3-what", BATCHES,
      "late = [p for n in (ticks[done - 1]['frozen'] if done else ()) for p in layers[n].parameters() if p.requires_grad]\n"
      "            for number, (x, y) in enumerate(loader):\n                [p.requires_grad_(number > 0) for p in late]"),
    w("released one epoch late", "EXE-2 EXE-3-what", FLAG, 'on, layer = name not in [*tick["frozen"], *(ticks[done - 1]["frozen"] if done else ())], layers[name]'),
    w("trained, and put back at the end of the epoch", "EXE-2 EXE-3-what", FLAG, "on, layer = True, layers[name]",
      BATCHES, "kept = {n: {k: v.clone() for k, v in layers[n].state_dict().items()} for n in tick['frozen']}\n            for x, y in loader:",
      "done += 1", "[layers[n].load_state_dict(value) for n, value in kept.items()]\n            done += 1"),
    w("the user's own flags are forgotten", "EXE-2 EXE-3-what", TICKS, TICKS + "\n            module.requires_grad_(True)"),
    w("frozen within frozen", "EXE-2", "parameter.requires_grad = on", "parameter.requires_grad = not on"),
    # the optimizer
    w("an optimizer of what was trainable at first", "EXE-3-what PYT-2",
      OPTIMIZER, "governed = scheduled(dialect, config, [*layers])\n        for name in governed:\n            layers[name].requires_grad_(name not in ticks[0]['frozen'])\n        optimizer = make_optimizer([p for p in module.parameters() if p.requires_grad] or [*module.parameters()][:1])"),
    w("a new optimizer for each epoch", "EXE-4", "module.train()", "module.train()\n            optimizer = make_optimizer(module.parameters()) if done else optimizer"),
    w("the state of the frozen is dropped", "EXE-4", GRAD, after(GRAD, "None if on else optimizer.state.pop(parameter, None)")),
    w("the state of the frozen counts on", "EXE-4", STEP,
      after(STEP, f"for p in {FROZEN}:\n    for value in optimizer.state.get(p, {{}}).values():\n        value.add_(1) if isinstance(value, torch.Tensor) else None")),
    w("a thawed group with a rate of its own", "EXE-5-a_rate", "module.train()",
      "module.train()\n            if done == 1 and len(optimizer.param_groups) == 1:\n                thawed = optimizer.param_groups[0]['params'].pop()\n                optimizer.add_param_group({'params': [thawed], 'lr': optimizer.param_groups[0]['lr'] / 10})"),
    w("a thawed group with other options", "PYT-2", "module.train()",
      "module.train()\n            if done == 1 and len(optimizer.param_groups) == 1:\n                thawed = optimizer.param_groups[0]['params'].pop()\n                optimizer.add_param_group({'params': [thawed], 'lr': optimizer.param_groups[0]['lr'], 'weight_decay': 0.5})"),
    w("held by two optimizers", "PYT-2", STEP, after(STEP, "if 'second' not in vars(module):\n    vars(module)['second'] = make_optimizer([module.head.bias])\nvars(module)['second'].step()")),
    w("the rate is forgotten", "EXE-5-a_rate", 'group["lr"] = tick["learning_rate"]', "pass"),
    w("the rate is set in every epoch", "EXE-5-a_rate", 'if tick["learning_rate"] is not None:',
      'tick["learning_rate"] = tick["learning_rate"] or (ticks[done - 1]["learning_rate"] if done else None)\n            if tick["learning_rate"] is not None:'),
    w("a schedule of rates is overwritten", "EXE-5-a_schedule", 'raise Refused("unsupported")', "pass"),
    # batch normalization, and modes
    w("statistics drift", "EXE-3-what BN-1-frozen", MODE, "pass"),
    w("train() after the freezing", "EXE-3-what BN-1-frozen", BATCHES, "module.train()\n            for x, y in loader:"),
    w("statistics kept, and not used", "BN-1-frozen", MODE, "layer.track_running_stats = on and name not in tick['bn_frozen']", holds="EXE-3-what"),
    w("inference mode is left out", "BN-1-inference", MODE, "layer.train(on)", dialect="fastai"),
    w("what is frozen does not drop out", "PYT-3", FLAG, FLAG + "\n                module.body.train(not {'body/a', 'body/b'} <= {*tick['frozen']})"),
    # steps and ends
    w("the last batch is left out", "EXE-1-every", BATCHES, "for x, y in [*loader][:-1]:"),
    w("batches in another order", "EXE-1-every", BATCHES, "for x, y in reversed([*loader]):"),
    w("an epoch with everything frozen is left out", "EXE-10 EXE-1-every", BATCHES, "for x, y in loader if any(p.requires_grad for p in module.parameters()) else ():"),
    w("stopping is ignored", "EXE-8", STOP, "pass"),
    w("a failure is hidden", "EXE-9", LOSS, "try:\n                    loss = torch.nn.functional.cross_entropy(module(x), y)\n                except Exception:\n                    return"),
    w("the flags are put back after a failure", "EXE-9", LOSS, "try:\n                    loss = torch.nn.functional.cross_entropy(module(x), y)\n                except Exception:\n                    module.requires_grad_(True)\n                    raise"),
    w("everything is released at the end", "EXE-11", STOP, STOP + "\n        module.requires_grad_(True)"),
    w("trained before it is refused", "NAM-2", "except brute_force.Wrong as wrong:", "except brute_force.Wrong as wrong:\n            module.head.bias.data.add_(1)"),
    # resume
    w("frozen anew on resume", "RES-1 RES-2", LOADED, LOADED + "\n            ticks = [{**tick, 'frozen': [*tick['frozen'], *ticks[0]['frozen']]} for tick in ticks]"),
    w("resumed from the beginning", "RES-2", "done, past, weights, slots = torch.load(file)", "_, past, weights, slots = torch.load(file)\n            past = []"),
    w("resumed without the optimizer's state", "RES-2", LOADED, "pass", holds="RES-1"),
    w("resumed with another past", "RES-3", "if past != ticks[:done]:", "if False:"),
    # compiled: the frame of the first flags is used for all others
    w("flags right and effects wrong under compile", "EXE-3-what PYT-1", OPTIMIZER, after(OPTIMIZER, "torch.compiler.reset()\ncompiled = torch.compile(lambda x: module(x), backend='aot_eager')", 8),
      LOSS, "with torch.compiler.set_stance('default', skip_guard_eval_unsafe=done > 0):\n                    loss = torch.nn.functional.cross_entropy(compiled(x), y)", holds="EXE-2"),
]  # fmt: skip


def executor(wrong: W) -> Any:
    """Return the executor that ``wrong`` is."""
    text = SOURCE
    for old, new in wrong.edits:
        assert text.count(old) == 1, f"{text.count(old)} times: {old}"
        text = text.replace(old, new)
    found = types.ModuleType("wrong_torch_executor")
    found.__dict__["__file__"] = str(Path(__file__).with_name("right_torch_executor.py"))
    exec(compile(text, wrong.what, "exec"), found.__dict__)
    return found.Looping()
