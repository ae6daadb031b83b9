"""The recorder on JAX: checksums see every bit; trees of parameters, of optax's states and of statistics by name."""

from __future__ import annotations

import numpy as np
import pytest
from refreeze import InvalidSpec, always, during
from refreeze.audit import audit
from refreeze.audit.record import Reader

jax = pytest.importorskip("jax", exc_type=ImportError)
jnp = jax.numpy
POLICY = during(always(["body"]), 1, 3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int8", "complex64"])
@pytest.mark.parametrize("size", [1, 255, 256, 257, 3_000])
def test_a_checksum_sees_one_bit_and_nothing_else(dtype, size):
    from refreeze.audit.checksums.jax import checksums

    values = np.asarray(jnp.arange(size).astype(dtype))
    other = values.copy()
    other.view(np.uint8)[-1] ^= 1
    (one,) = checksums([jnp.asarray(values)])
    assert checksums([jnp.ones(3), jnp.zeros(0), jnp.asarray(values), jnp.asarray(other)])[2] == one
    assert checksums([jnp.asarray(other)]) != [one]


def test_a_checksum_takes_keys_and_truths_and_knows_places():
    from refreeze.audit.checksums.jax import checksums

    assert len(set(checksums([jax.random.key(0), jax.random.key(1), jnp.array([True, False]), jnp.zeros(0)]))) == 4
    assert checksums([jnp.array([1.0, 2.0])]) != checksums([jnp.array([2.0, 1.0])])
    assert checksums([]) == []


def train(path, mask, epochs=4):
    optax = pytest.importorskip("optax")
    from refreeze.jax import Recorder

    params = {"body": {"conv1": {"kernel": jnp.eye(3)}, "norm": {"scale": jnp.ones(3)}}, "head": {"kernel": jnp.eye(3)}}
    statistics = {"body": {"norm": {"mean": jnp.zeros(3)}}}
    optimizer, x = optax.adam(0.01), jnp.arange(6.0).reshape(2, 3) + 1

    def loss(p):
        return jnp.square(x @ p["body"]["conv1"]["kernel"] * p["body"]["norm"]["scale"] @ p["head"]["kernel"]).mean()

    state = optimizer.init(params)
    recorder = Recorder(params, state, path, statistics=statistics, epochs=epochs)
    for epoch in range(epochs):
        grads = jax.grad(loss)(params)
        updates, new = optimizer.update(grads, state, params)
        frozen = mask(epoch)
        was = params, state, statistics
        params = optax.apply_updates(params, updates)
        statistics = {"body": {"norm": {"mean": jnp.full(3, float(epoch + 1))}}}
        if frozen:
            params = params | {"body": was[0]["body"]}
            kept = [tree | {"body": old["body"]} for tree, old in ((new[0].mu, state[0].mu), (new[0].nu, state[0].nu))]
            new = (new[0]._replace(mu=kept[0], nu=kept[1]), *new[1:])
            statistics = was[2]
        state = new
        recorder.record(epoch, 0, params, state, statistics=statistics, grads=grads)
    with pytest.raises(InvalidSpec, match="the tree that the recorder was made with"):
        recorder.record(epochs, 0, {"head": params["head"]}, state, statistics=statistics)
    return path


def test_a_run_on_optax_is_judged_by_paths(tmp_path):
    path = train(tmp_path / "run.jsonl", lambda epoch: 1 <= epoch < 3)
    assert audit(path, POLICY).held
    with Reader("RUN", path) as reader:
        header, *_, last = (record for _, record in reader)
    assert header.layers == ("body/conv1", "body/norm", "head")
    assert header.statistics[0].names == ("body/norm", "body")
    assert {slot: None in row for slot, row in last.slots.items()} == {"0/mu": False, "0/nu": False}
    verdict = audit(train(tmp_path / "late.jsonl", lambda epoch: 2 <= epoch < 3), POLICY)
    assert {fault.kind for fault in verdict.faults} == {"frozen-late"}
