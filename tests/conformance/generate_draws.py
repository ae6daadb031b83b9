"""Write the vectors of random draws, which are too many to work out by hand.

``python tests/conformance/generate_draws.py``. The positions come from ``brute_force``, whose Philox is written from
the clause, not from the reference.
"""

import random

from brute_force import drawn
from refreeze.conformance.protocol import segments_request
from refreeze.conformance.vectors import FOLDER, File, Generated, Vector
from vector_files import dumps

SEED = 1
PATH = FOLDER / "RND-2" / "generated-draws.json"


def generate():
    source, found = random.Random(SEED), []
    for number in range(40):
        n, k, stream = source.randint(2, 12), source.randint(0, 99), source.randint(0, 3)
        window, seed = source.randint(1, n - 1), source.choice([0, 1, 2**64 - 1, source.getrandbits(64)])
        names = [f"layer{place}" for place in range(n)]
        strategy = {"type": "random", "window_size": window, "iterative_span": 1, "seed": seed}
        # Specifications that have no effect in span k, but are counted.
        before = {"layers": names[:1], "training_interval": [k + 1, k + 2], "strategy": None}
        config = [before] * stream + [{"layers": names, "training_interval": [0, k + 1], "strategy": strategy}]
        frozen = sorted(names[place] for place in drawn(seed, stream, k, n, window))
        segment = {"start": k, "stop": k + 1, "frozen": frozen, "learning_rate": None, "bn_frozen": []}
        found.append(
            Vector(
                id=f"draw-{number}",
                description=f"{window} of {n} positions, span {k}, specification {stream}, seed {seed}.",
                request=segments_request("vl3d", names, config, k + 1, start=k),
                expected={"segments": [segment]},
            )
        )
    command = "python tests/conformance/generate_draws.py"
    return dumps(File(clause="RND-2", vectors=found, generated=Generated(seed=SEED, command=command)))


if __name__ == "__main__":
    PATH.write_text(generate(), encoding="utf-8")
