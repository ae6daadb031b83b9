"""Histories of several fits as one (EXE-6)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

_log = logging.getLogger("refreeze")


def merge(parts: Sequence[tuple[Mapping[str, Sequence[float]], int]]) -> dict[str, list[float]]:
    """Return one history for ``parts``, each a history and the epochs that it is of, in order.

    Every key of any part is there, in the order of first appearance, with one value per epoch: NaN where a part does
    not have it. A part with fewer values than epochs (``validation_freq``) does not say which epochs they are of: they
    are taken as the first, the rest is NaN, and a warning is logged.

    >>> merge([({"loss": [3.0, 2.0]}, 2), ({"loss": [1.0], "acc": [0.5]}, 1)])
    {'loss': [3.0, 2.0, 1.0], 'acc': [nan, nan, 0.5]}
    """
    nan = float("nan")
    merged: dict[str, list[float]] = {key: [] for history, _ in parts for key in history}
    for history, epochs in parts:
        for key, values in merged.items():
            new = list(history.get(key, ()))
            if 0 < len(new) < epochs:
                _log.warning(
                    "history[%r] has %d values for %d epochs; the last are taken as missing", key, len(new), epochs
                )
            values += (new + [nan] * epochs)[:epochs]
    return merged
