"""What others pay for the frozen sets of ``backends.py``: PyTorch's own loop, eager and compiled, and JAX with Optax.

    python benchmarks/backends_peers.py OUT.json torch|optax

Without Keras, nine dense layers, and SGD with momentum, for 4, 8, 9 and 16 distinct sets. Each set is visited, and when
so many have been there, all of them once more. A visit is timed with its first step. Gradients are looked at in each
visit: they must be None exactly where frozen.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

COUNTS = (4, 8, 9, 16)
WIDTHS = [16, *[64] * 8, 5]
NAMES = [f"dense{number}" for number in range(8)] + ["head"]
SETS = [{*NAMES[:number]} for number in range(9)] + [{name} for name in NAMES[1:8]]
X = np.random.default_rng(0).random((32, 16), np.float32)
Y = np.arange(32) % 5


def visited(
    way: str, step: Callable[[set[str]], None], made: Callable[[], int], right: Callable[[set[str]], bool]
) -> Any:
    """Yield, for each count of sets, what visits and steps took, and how many steps had been compiled until then."""

    def visit(frozen: set[str]) -> list[float]:
        took = []
        for _ in range(4):
            begun = time.perf_counter()
            step(frozen)
            took.append(time.perf_counter() - begun)
        wrong.extend([] if right(frozen) else [sorted(frozen)])
        return took

    wrong: list[list[str]] = []
    for before, count in zip((0, *COUNTS), COUNTS, strict=False):
        new = [visit(frozen) for frozen in SETS[before:count]]
        compiled = made()
        again = [visit(frozen) for frozen in SETS[:count]]
        yield {
            "way": way, "sets": count, "first_visit": median(took[0] for took in new),
            "longest": max(took[0] for took in new), "made": compiled,
            "revisit": median(took[0] for took in again), "made_again": made() - compiled,
            "step": median(second for took in again for second in took[1:]), "wrong": wrong,
        }  # fmt: skip


def by_torch(compiled: bool) -> Any:
    import torch
    from torch._dynamo.utils import counters

    where = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    torch._dynamo.reset()
    torch._inductor.config.force_disable_caches = True  # else only the first process pays for a first visit
    counters.clear()
    layers = [torch.nn.Linear(*sizes) for sizes in itertools.pairwise(WIDTHS)]
    stack = [part for layer in layers[:-1] for part in (layer, torch.nn.ReLU())]
    module = torch.nn.Sequential(*stack, layers[-1]).to(where)
    forward = torch.compile(module) if compiled else module
    optimizer = torch.optim.SGD(module.parameters(), 0.01, momentum=0.9)
    x, y = torch.tensor(X).to(where), torch.tensor(Y).to(where)

    def step(frozen: set[str]) -> None:
        for name, layer in zip(NAMES, layers, strict=True):
            for parameter in layer.parameters():
                parameter.requires_grad_(name not in frozen)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(forward(x), y)
        loss.backward()
        optimizer.step()
        float(loss)  # waits

    def right(frozen: set[str]) -> bool:
        named = zip(NAMES, layers, strict=True)
        return all((p.grad is None) == (name in frozen) for name, layer in named for p in layer.parameters())

    way = f"PyTorch {torch.__version__}, {'torch.compile' if compiled else 'eager'}"
    return visited(way, step, lambda: counters["stats"]["unique_graphs"], right)


def by_optax(masked: bool) -> Any:
    import jax
    import optax

    transform, traces = optax.sgd(0.01, momentum=0.9), [0]
    drawn = np.random.default_rng(0)
    sizes = zip(NAMES, itertools.pairwise(WIDTHS), strict=True)
    params: Any = {
        name: {"w": drawn.normal(0, 0.1, s).astype("float32"), "b": np.zeros(s[1], "float32")} for name, s in sizes
    }
    states: Any = {name: transform.init(value) for name, value in params.items()}

    def loss(params: Any) -> Any:
        hidden = X
        for name in NAMES[:-1]:
            hidden = jax.nn.relu(hidden @ params[name]["w"] + params[name]["b"])
        logits = hidden @ params["head"]["w"] + params["head"]["b"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, Y).mean()

    def updated(name: str, gradient: Any, params: Any, states: Any) -> tuple[Any, Any]:
        change, state = transform.update(gradient, states[name], params[name])
        return optax.apply_updates(params[name], change), state

    @jax.jit
    def by_row(params: Any, states: Any, row: Any) -> Any:
        traces[0] += 1
        gradients = jax.grad(loss)(params)
        after = {
            name: jax.tree.map(
                lambda new, old, trains=trains: jax.numpy.where(trains, new, old),
                updated(name, gradients[name], params, states), (params[name], states[name]),
            )
            for name, trains in zip(NAMES, row, strict=True)
        }  # fmt: skip
        return {name: pair[0] for name, pair in after.items()}, {name: pair[1] for name, pair in after.items()}

    def by_set(params: Any, states: Any, frozen: Sequence[str]) -> Any:
        traces[0] += 1
        trained = {name: value for name, value in params.items() if name not in frozen}
        gradients = jax.grad(lambda some: loss(params | some))(trained)
        after = {name: updated(name, gradient, params, states) for name, gradient in gradients.items()}
        return params | {n: p for n, (p, _) in after.items()}, states | {n: s for n, (_, s) in after.items()}

    by_sets, before = jax.jit(by_set, static_argnames="frozen"), params

    def step(frozen: set[str]) -> None:
        nonlocal params, states, before
        before = params
        what = np.array([name not in frozen for name in NAMES]) if masked else tuple(sorted(frozen))
        params, states = (by_row if masked else by_sets)(params, states, what)
        jax.block_until_ready(params)

    def right(frozen: set[str]) -> bool:
        moved = {name for name in NAMES if np.any(np.asarray(params[name]["b"]) != np.asarray(before[name]["b"]))}
        return moved == {*NAMES} - frozen

    return visited(f"JAX {jax.__version__}, Optax {'masked' if masked else 'static'}", step, lambda: traces[0], right)


if __name__ == "__main__":
    ways = {"torch": by_torch, "optax": by_optax}[sys.argv[2]]
    found = [row for compiled in (False, True) for row in ways(compiled)]
    Path(sys.argv[1]).write_text(json.dumps(found, indent=1) + "\n")
