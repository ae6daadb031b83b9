"""KempnerForge: freeze specifications that later stages override, on parameters and in steps.

Source: KempnerForge, ``kempnerforge.training.freeze``, and ``kempnerforge.config.vlm`` for the specifications and the
default aliases. Differences: patterns match case-sensitively on every platform (fnmatch alone does not on Windows); a
module that matches nothing is an error in a configuration; elements flipped add up if a module is given twice.

- **KMP-1** Equal ``canonical_freeze_meta`` implies equal masks exactly when no parameter is matched by two
  specifications that disagree: then order cannot matter, and where one is, two orders of that metadata differ in it.
- **KMP-2** Equal ``canonical_freeze_form`` always implies equal masks, and does not depend on the order of
  neighbouring specifications that agree, on duplicates, or on how aliases are called.
"""

from __future__ import annotations

import glob
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from refreeze.dialects import Dialect, Run, targets
from refreeze.dialects.fields import Names, Tick
from refreeze.dialects.spans import grouped, spans
from refreeze.errors import InvalidSpec, NeedsModel, UnknownName
from refreeze.policy import Policy, always, never, override, stages
from refreeze.schedule import Segment
from refreeze.selectors import Glob, listed

DEFAULT_MODULE_PATTERNS: dict[str, tuple[str, ...]] = {
    name: (name, f"{name}.*") for name in ("transformer", "vision_encoder", "adapter")
}
"""KempnerForge's own aliases, used by a configuration that gives none."""


class FreezeSpec(Struct, forbid_unknown_fields=True, frozen=True):
    """One specification: what it matches becomes frozen, or trainable."""

    module: str
    """An alias, or else an fnmatch pattern of full parameter names."""
    frozen: bool = True
    """True: frozen. False: trainable."""


class FreezeStage(Struct, forbid_unknown_fields=True, frozen=True):
    """Specifications that apply from a step on."""

    start_step: Tick
    """The first step at which they apply."""
    specs: tuple[FreezeSpec, ...]
    """Each overrides the one with the same module that was active before; none: nothing changes."""


class KempnerConfig(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The keys ``freeze``, ``freeze_schedule`` and ``module_patterns`` of KempnerForge's ``[vlm]``."""

    freeze: tuple[FreezeSpec, ...] = ()
    """Active from step 0 on."""
    freeze_schedule: tuple[FreezeStage, ...] = ()
    """The stages; their start steps increase strictly."""
    module_patterns: dict[str, Names] = field(default_factory=DEFAULT_MODULE_PATTERNS.copy)
    """Alias -> fnmatch patterns."""
    valid_modules: tuple[str, ...] | None = None
    """If given, no specification may have another module."""


def freeze_params(model: Any, patterns: Iterable[str], *, frozen: bool = True) -> int:
    """Set the flags of the parameters that any fnmatch pattern matches; return how many elements were really flipped.

    A parameter that has the wanted state already is not touched and not counted: doing it twice flips nothing the
    second time. No pattern, or one that matches nothing, flips nothing. ``model`` is a mapping of names, a Keras model
    or a PyTorch module (``refreeze.dialects.targets``). Raises ``InvalidSpec`` for a string in place of the patterns,
    and unless ``frozen`` is a bool.

    >>> from refreeze.dialects.targets import Target
    >>> model = {"enc.w": Target(6), "enc.b": Target(2), "head.w": Target(3)}
    >>> [freeze_params(model, ["enc.*"]) for _ in range(2)]
    [8, 0]
    """
    glob, flipped = Glob(listed(patterns, "patterns")), 0
    if type(frozen) is not bool:
        raise InvalidSpec("frozen", frozen, "True or False")
    for name, parameter in targets.parameters(model).items():
        if targets.is_trainable(parameter) == frozen and glob.matches(name):
            targets.set_trainable(parameter, not frozen)
            flipped += targets.size(parameter)
    return flipped


def apply_freeze_specs(
    model: Any, specs: Iterable[FreezeSpec], pattern_map: Mapping[str, Sequence[str]]
) -> dict[str, int]:
    """Apply the specifications in order (the last write wins); return module -> elements flipped.

    A ``module`` that is in ``pattern_map`` stands for its patterns, any other is a pattern itself. Doing it twice gives
    the flags of once; what two specifications disagree about is flipped there and back each time, and counted.
    """
    totals: dict[str, int] = {}
    for spec in specs:
        flipped = freeze_params(model, pattern_map.get(spec.module, [spec.module]), frozen=spec.frozen)
        totals[spec.module] = totals.get(spec.module, 0) + flipped
    return totals


def canonical_freeze_meta(specs: Iterable[FreezeSpec]) -> list[dict[str, object]]:
    """Return the (module, frozen) pairs sorted and without duplicates, safe to encode as JSON and to compare (KMP-1).

    >>> canonical_freeze_meta([FreezeSpec("head", False), FreezeSpec("enc"), FreezeSpec("enc")])
    [{'module': 'enc', 'frozen': True}, {'module': 'head', 'frozen': False}]
    """
    return [{"module": module, "frozen": frozen} for module, frozen in sorted({(s.module, s.frozen) for s in specs})]


def canonical_freeze_form(
    specs: Iterable[FreezeSpec], pattern_map: Mapping[str, Sequence[str]]
) -> list[dict[str, object]]:
    """Return what the specifications do, in a form that is equal only for lists with equal masks (KMP-2).

    Aliases are replaced by their patterns; of specifications with the same patterns the last one stays, as it
    overwrites the others; neighbours that agree are sorted, as their order cannot matter.

    >>> canonical_freeze_form([FreezeSpec("b"), FreezeSpec("a"), FreezeSpec("a.*", False), FreezeSpec("b")], {})
    [{'patterns': ['a'], 'frozen': True}, {'patterns': ['a.*'], 'frozen': False}, {'patterns': ['b'], 'frozen': True}]
    """
    last: dict[tuple[str, ...], bool] = {}
    for spec in specs:
        patterns = tuple(sorted({*listed(pattern_map.get(spec.module, [spec.module]), spec.module)}))
        last.pop(patterns, None)
        last[patterns] = spec.frozen
    return [
        {"patterns": list(patterns), "frozen": frozen}
        for frozen, run in itertools.groupby(last, key=last.__getitem__)
        for patterns in sorted(run)
    ]


def effective_freeze(
    step: int,
    base: Iterable[FreezeSpec],
    schedule: Iterable[FreezeStage],
    valid_modules: Collection[str] | None = None,
) -> list[FreezeSpec]:
    """Return the specifications that are active at ``step``, one per module.

    ``base`` comes first; then each stage with ``start_step <= step``, in ascending order whatever the order given,
    overrides the specification of the same module, in its place, or adds one at the end. Stages that begin later are
    ignored. Raises ``UnknownName`` for a module of ``base`` or of an applied stage that is not in ``valid_modules``.

    >>> unfreeze = FreezeStage(100, (FreezeSpec("enc", False),))
    >>> [effective_freeze(step, [FreezeSpec("enc")], [unfreeze])[0].frozen for step in (99, 100)]
    [True, False]
    """
    valid = None if valid_modules is None else {*listed(valid_modules, "valid_modules")}
    active: dict[str, FreezeSpec] = {}
    stages = sorted((stage for stage in schedule if stage.start_step <= step), key=lambda stage: stage.start_step)
    parts = [("base", base), *((f"FreezeStage(start_step={stage.start_step})", stage.specs) for stage in stages)]
    for where, specs in parts:
        for spec in specs:
            if valid is not None and spec.module not in valid:
                raise UnknownName(where, [spec.module], sorted(valid))
            active[spec.module] = spec
    return list(active.values())


def checked_modules(config: KempnerConfig) -> dict[str, str]:
    """Return place -> module for every specification, of whatever stage.

    Raises what is wrong whatever the names are: ``InvalidSpec`` unless the start steps increase strictly (KMP-6),
    ``UnknownName`` for a module outside of ``valid_modules`` (KMP-7).
    """
    starts = [stage.start_step for stage in config.freeze_schedule]
    for number, (before, start) in enumerate(itertools.pairwise(starts), start=1):
        if start <= before:
            raise InvalidSpec(f"freeze_schedule[{number}].start_step", start, f"> {before}, as it follows that one")
    parts = [(f"freeze_schedule[{i}].specs", stage.specs) for i, stage in enumerate(config.freeze_schedule)]
    modules = {
        f"{key}[{number}].module": spec.module
        for key, specs in [("freeze", config.freeze), *parts]
        for number, spec in enumerate(specs)
    }
    for where, module in modules.items():
        if config.valid_modules is not None and module not in config.valid_modules:
            raise UnknownName(where, [module], config.valid_modules)
    return modules


def policy(config: KempnerConfig, names: Sequence[str] | None = None, run: Run | None = None) -> Policy:
    """Return the policy of a configuration, in steps.

    In [start_step, next start_step) the specifications of ``effective_freeze`` are active: of the parameters that any
    specification of the configuration matches all are trainable, then each active one, in that list's order, sets what
    it matches; the last write wins. All other parameters keep the state that they had.

    Raises ``InvalidSpec`` unless the start steps increase strictly, ``UnknownName`` for a module outside of
    ``valid_modules``, ``EmptySelection`` for one that matches nothing, ``NeedsModel`` if ``names`` is None.
    """
    matched: dict[str, tuple[str, ...]] = {}
    for where, module in checked_modules(config).items():
        if names is None:
            raise NeedsModel(where, module)
        if module not in matched:
            matched[module] = Glob(config.module_patterns.get(module, (module,)))(names, where)
    trainable = never(name for found in matched.values() for name in found)
    set_at: dict[str, dict[int, bool]] = {}  # each module keeps the place of its first specification
    for step, specs in ((0, config.freeze), *((stage.start_step, stage.specs) for stage in config.freeze_schedule)):
        for spec in specs:
            set_at.setdefault(spec.module, {})[step] = spec.frozen
    masks = (
        stages(*((step, (always if frozen else never)(matched[module])) for step, frozen in at.items()))
        for module, at in set_at.items()
    )
    return override(trainable, *masks)


def from_segments(run: Sequence[Segment], names: Sequence[str]) -> dict[str, Any]:
    """Return an alias for all parameters that freeze and thaw together, and a stage for each tick at which any do."""
    parts = [(ranges, found) for ranges, found in grouped(spans(run, names)).items() if ranges]
    stages: dict[int, list[dict[str, Any]]] = {}
    for number, (ranges, _) in enumerate(parts):
        for start, stop in ranges:
            stages.setdefault(start, []).append({"module": f"part{number}", "frozen": True})
            if stop < run[-1].stop:
                stages.setdefault(stop, []).append({"module": f"part{number}", "frozen": False})
    return {
        "freeze": stages.pop(0, []),
        "freeze_schedule": [{"start_step": tick, "specs": stages[tick]} for tick in sorted(stages)],
        "module_patterns": {f"part{number}": [*map(glob.escape, found)] for number, (_, found) in enumerate(parts)},
    }


DIALECT = Dialect(
    name="kempner",
    source="KempnerForge, kempnerforge.training.freeze",
    config=KempnerConfig,
    unit="steps",
    names="parameters",
    build=policy,
    from_segments=from_segments,
)
