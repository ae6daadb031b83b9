"""A freeze schedule in plain JAX with Optax, twice: booleans as an argument of one step, and a step per set."""

import functools

import jax
import numpy as np
import optax
from refreeze import round_robin, segments

LAYERS = ["stem", "body", "head"]
POLICY = round_robin(LAYERS, window=1, span=2)  # epochs 0 and 1 freeze the stem, 2 and 3 the body, and so on
INSIDE = optax.adamw(1e-2, weight_decay=0.1)  # decay inside of what is masked; one state per layer, left alone with it
OUTSIDE = optax.add_decayed_weights(-1e-3)  # decay outside of it: wrong, for it moves what is frozen
X, Y = np.random.default_rng(0).normal(size=(2, 32, 4)).astype("float32")
traces = []  # Python runs a step when it is traced, and only then


def loss(params):
    hidden = functools.reduce(lambda x, name: jax.numpy.tanh(x @ params[name]), LAYERS, X)
    return ((hidden - Y) ** 2).mean()


def updated(weights, gradient, state):
    change, state = INSIDE.update(gradient, state, weights)
    return optax.apply_updates(weights, change), state


@functools.partial(jax.jit, static_argnames="outside")
def masked(params, states, row, outside=False):
    """Train each layer whose boolean in ``row`` is true; the others, and their states, stay bit for bit."""
    traces.append("masked")
    gradients, after = jax.grad(loss)(params), {}
    for trains, name in zip(row, LAYERS, strict=True):
        both = updated(params[name], gradients[name], states[name]), (params[name], states[name])
        after[name] = jax.tree.map(functools.partial(jax.numpy.where, trains), *both)  # no NaN passes a `where`
    params = {name: weights for name, (weights, _) in after.items()}
    params = optax.apply_updates(params, OUTSIDE.update(params, (), params)[0]) if outside else params
    return params, {name: state for name, (_, state) in after.items()}


@functools.partial(jax.jit, static_argnames="frozen")
def static(params, states, frozen):
    """Train what is not ``frozen``, with an executable for each set: there is no gradient for what it leaves out."""
    traces.append("static")
    gradients = jax.grad(lambda some: loss(params | some))({n: w for n, w in params.items() if n not in frozen})
    after = {name: updated(params[name], gradient, states[name]) for name, gradient in gradients.items()}
    return params | {n: w for n, (w, _) in after.items()}, states | {n: s for n, (_, s) in after.items()}


def train(step, **options):
    params = {name: jax.numpy.asarray(np.random.default_rng(1).normal(size=(4, 4)), "float32") for name in LAYERS}
    states = {name: INSIDE.init(weights) for name, weights in params.items()}
    for segment in segments(POLICY, total=12):
        row, before = np.array([name not in segment.frozen for name in LAYERS]), params
        for _ in range(segment.length):
            params, states = step(params, states, row if step is masked else segment.frozen, **options)
        print("frozen:", *segment.frozen, "moved:", *(n for n in LAYERS if (params[n] != before[n]).any()))
    print(traces.count("masked"), "traces of masked,", traces.count("static"), "of static")
    return params
