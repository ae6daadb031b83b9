"""The type of a dialect: a configuration language, with the meaning of a configuration as a policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from refreeze.dialects.explain import explained
from refreeze.limits import check_plain, checked_names
from refreeze.policy import Policy, check_int
from refreeze.rates import Rates
from refreeze.schedule import Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a configuration may depend on besides the names: the run that it is for."""

    total: int
    """The ticks of the run, in the dialect's unit."""
    steps_per_epoch: int = 1
    """The steps in an epoch, the last, partial batch included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A configuration language for schedules."""

    name: str
    """The name under which a configuration file asks for it."""
    source: str
    """The system it is the language of, with the version that was read, or the paper."""
    config: Any
    """The type of a configuration: built of msgspec Structs, immutable."""
    root: str = ""
    """What a configuration is called in error messages, such as ``freeze_training``; "" if its keys say enough."""
    unit: Literal["epochs", "steps"]
    """What a tick is."""
    names: Literal["layers", "parameters"]
    """What a name stands for."""
    build: Callable[[Any, Sequence[str] | None, Run], Policy]
    """The module's ``policy``: from a configuration, the declared names (None: not known) and the run."""
    rates: Callable[[Any, Sequence[str] | None, Run], Rates | None] | None = None
    """The module's ``rates``, if it has one: None if the configuration sets no learning rates of single names."""
    unwrap: Callable[[Any], Any] | None = None
    """From another form in which users have their configurations, such as a whole file of the system, to this one."""
    wrapped: dict[str, Any] | None = None
    """The JSON Schema of that other form."""
    from_segments: Callable[[Sequence[Segment], Sequence[str]], Any] | None = None
    """The module's ``from_segments``, if it has one: from the segments of a run, one at least, and the names that it
    may speak of, the plain configuration that agrees with them for as many ticks as one of this dialect can."""

    def parse(self, raw: object) -> Any:
        """Return the checked configuration; ``raw`` is plain data, as from JSON, or a configuration already.

        Raises ``InvalidSpec`` with the place of the first value that is not allowed: an unknown or missing key, a
        wrong type (a bool is no int), an empty list, a number out of range.
        """
        plain = msgspec.to_builtins(raw) if _holds_structs(raw) else raw
        if self.unwrap is not None:
            plain = self.unwrap(plain)
        check_plain(plain, self.root)
        try:
            return msgspec.convert(plain, self.config)
        except msgspec.ValidationError as error:
            raise explained(error, plain, self.config, self.root) from None

    def policy(
        self, raw: object, names: Sequence[str] | None = None, *, total: int, steps_per_epoch: int = 1
    ) -> Policy:
        """Return the policy that a configuration means for ``names`` in a run of ``total`` ticks.

        ``names`` are all that can be frozen, in declaration order; None means that they are not known. Raises the
        ``ScheduleError`` that says what is wrong with the configuration.
        """
        return self.build(self.parse(raw), *_checked(names, total, steps_per_epoch))

    def learning_rates(
        self, raw: object, names: Sequence[str] | None = None, *, total: int, steps_per_epoch: int = 1
    ) -> Rates | None:
        """Return the learning rate of each name over time, None if the configuration sets none; as ``policy`` else."""
        config, run = self.parse(raw), _checked(names, total, steps_per_epoch)
        return None if self.rates is None else self.rates(config, *run)

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema (2020-12) of a configuration."""
        return msgspec.json.schema(self.config)

    def file_schema(self) -> dict[str, Any]:
        """Return the JSON Schema (2020-12) of a configuration file, ``{"dialect": ..., "config": ...}``."""
        config = self.json_schema()
        definitions = config.pop("$defs", {})
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": f"A refreeze configuration in the dialect {self.name}",
            "description": f"Source: {self.source}. Names are {self.names}, ticks are {self.unit}. "
            "JSON Schema takes 3.0 for an integer, and cannot say what other keys or the names forbid: "
            "refreeze rejects both.",
            "type": "object",
            "properties": {
                "dialect": {"const": self.name},
                "config": {"anyOf": [config, self.wrapped]} if self.wrapped else config,
            },
            "required": ["dialect", "config"],
            "additionalProperties": False,
            "$defs": definitions,
        }


def _checked(names: Sequence[str] | None, total: int, steps_per_epoch: int) -> tuple[tuple[str, ...] | None, Run]:
    run = Run(total=check_int("total", total), steps_per_epoch=check_int("steps_per_epoch", steps_per_epoch, 1))
    return None if names is None else checked_names("names", names), run


def _holds_structs(raw: object) -> bool:
    parts = raw if isinstance(raw, list | tuple) else [raw]
    return any(isinstance(part, msgspec.Struct) for part in parts)
