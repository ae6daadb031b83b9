"""Checksums of many tensors at once, computed where they are: equal bits give equal ones, and other bits other ones.

A checksum is the sum of all words of a tensor, each times a random number of its place, modulo 2^64. So every place
counts: a plain sum would miss what a softmax of two classes does to its biases, where one rises by what the other
falls. Words have at most 32 bits; so for two tensors that differ, at most one draw of the numbers in 2^32 misses it.

Words are laid out in rows, and small tensors are taken together: on an accelerator the number of calls is what costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

_ROW = 256
_MOST_ON_CPU, _MOST = 1 << 16, 1 << 22
"""Words that are worked on at once: what fits into a cache, or 32 MiB of products."""
_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int32}


def _numbers(many: int, seed: int) -> Any:
    return torch.randint(-(2**63), 2**63 - 1, (many,), generator=torch.Generator().manual_seed(seed))


class TensorChecksums:
    """Computes checksums; keeps the layout of the tensors that it saw last, as it is the same in most steps."""

    def __init__(self) -> None:
        self._layouts: dict[Any, tuple[Any, Any]] = {}
        self._columns: dict[Any, Any] = {}

    def __call__(self, tensors: Sequence[Any]) -> list[str]:
        """Return the checksum of each tensor, 16 hexadecimal digits, with one transfer from each device."""
        groups: dict[Any, list[tuple[int, Any]]] = {}
        for index, tensor in enumerate(tensors):
            words = _words(tensor)
            groups.setdefault((words.device, words.dtype), []).append((index, words))
        found = [""] * len(tensors)
        for kind, group in groups.items():
            values = self._sums(kind, [words for _, words in group]).tolist()
            for (index, _), value in zip(group, values, strict=True):
                found[index] = f"{value & (2**64 - 1):016x}"
        return found

    def _sums(self, kind: Any, group: list[Any]) -> Any:
        device = kind[0]
        if kind not in self._columns:
            self._columns[kind] = _numbers(_ROW, 1).to(device), torch.zeros(_ROW, dtype=kind[1], device=device)
        columns, padding = self._columns[kind]
        sizes = [words.numel() for words in group]
        if not any(sizes):
            return torch.zeros(len(sizes), dtype=torch.int64)
        if kind not in self._layouts or self._layouts[kind][0] != sizes:
            rows = torch.tensor([-(-size // _ROW) for size in sizes])
            ends = rows.cumsum(0)
            place = torch.arange(int(rows.sum())) - (ends - rows).repeat_interleave(rows)  # of a row in its tensor
            numbers = _numbers(int(rows.max()), 2)[place].to(device)
            self._layouts[kind] = sizes, (numbers, ends.to(device))
        numbers, ends = self._layouts[kind][1]
        most = _MOST_ON_CPU if device.type == "cpu" else _MOST
        sums: list[Any] = []
        batch: list[Any] = []
        room = most

        def work() -> None:
            sums.append((torch.cat(batch).view(-1, _ROW) * columns).sum(1))
            batch.clear()

        for words, size in zip(group, sizes, strict=True):
            for start in range(0, size, most):
                length = min(most, size - start)
                if room < length:
                    work()
                    room = most
                batch.append(words if length == size else words[start : start + length])
                if length % _ROW:
                    batch.append(padding[: -length % _ROW])
                room -= length
        work()
        total = (torch.cat(sums) * numbers).cumsum(0)
        total = torch.cat([total.new_zeros(1), total])  # an empty tensor has no row, and the sum 0
        return total[ends].diff(prepend=total[:1])


def _words(tensor: Any) -> Any:
    """Return the bits of a tensor as integers of at most 32 bits; of a sharded one, those that are here."""
    tensor = tensor.detach()
    if hasattr(tensor, "to_local"):
        tensor = tensor.to_local()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor.reshape(-1).view(_WORDS[tensor.element_size()])


make = TensorChecksums
