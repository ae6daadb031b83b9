"""Proofs by running the code itself on unknown numbers: every path that it can take, with Z3 to say which those are.

An unknown is a ``Num``, which the code adds, divides and compares like an integer. Where the code asks whether a
comparison is true, the run splits into the paths where it is and where it is not, as far as Z3 finds such numbers. If
the law holds at the end of every path, it holds for all numbers. If not, Z3 gives numbers for which it fails.

How long Z3 takes depends on the numbers that it gives to terms, and so on all that was made and freed before: seconds,
or for ever, which no limit of its own ends. So each proof has a context of its own, and no garbage is collected in it.
"""

from __future__ import annotations

import builtins
import gc
import inspect
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import z3

CODE = ("refreeze.policy", "refreeze.schedule", "refreeze.windows", "refreeze.dialects.")
MOST_VALUES = 64  # of an unknown that the code uses as an index
SMALL = 6
EFFORT = 50_000_000  # of Z3 for one question, in its own unit: the same on a slow machine


class Refuted(AssertionError):
    """The law fails, for the numbers in ``values``."""

    def __init__(self, values: dict[str, int | Fraction], why: Exception) -> None:
        super().__init__(f"fails for {values}: {why!r}")
        self.values = values


class _Run:
    """One path: the answers given so far, and those that other paths give instead."""

    now: _Run

    def __init__(self, answers: tuple[bool, ...], context: z3.Context) -> None:
        self.answers, self.others, self.asked = answers, [], 0
        self.context, self.solver, self.divisions = context, z3.Solver(ctx=context), {}
        self.solver.set("rlimit", EFFORT)

    def possible(self, term: z3.BoolRef) -> bool:
        """Return False if Z3 is sure that no such numbers exist; a path too many can spoil no proof."""
        return self.solver.check(term) != z3.unsat

    def decide(self, term: z3.BoolRef) -> bool:
        if self.asked == len(self.answers):
            true = self.possible(term)
            if true and self.possible(z3.Not(term)):
                self.others.append((*self.answers, False))
            self.answers += (true,)
        answer = self.answers[self.asked]
        self.asked += 1
        self.solver.add(term if answer else z3.Not(term))
        return answer

    def division(self, a: z3.ArithRef, b: z3.ArithRef) -> tuple[z3.ArithRef, z3.ArithRef]:
        if not self.decide(b > 0):
            raise ZeroDivisionError("division by an unknown that may be 0 or less")
        whole, rest = _multiple(a, b)  # Z3 knows little of products: what is a multiple of b is taken out
        if self.solver.check(z3.Or(rest < 0, rest >= b)) == z3.unsat:
            return whole, rest
        key = (rest.get_id(), b.get_id())
        if key not in self.divisions:
            q, r = z3.FreshInt("q", self.context), z3.FreshInt("r", self.context)
            self.solver.add(rest == q * b + r, r >= 0, r < b)
            for q1, r1, rest1, b1 in self.divisions.values():
                if b1.eq(b):  # follows from the line above, but by products, in which Z3 may lose its way
                    far = [rest - rest1 >= b, rest1 - rest >= b]
                    near = (z3.And(q == q1 + k, rest - rest1 == k * b + r - r1) for k in (-1, 0, 1))
                    self.solver.add(z3.Or(*far, *near))
            self.divisions[key] = q, r, rest, b  # rest and b are kept, so that no other term gets their numbers
        q, r = self.divisions[key][:2]
        return whole + q, r

    def counterexample(self, unknowns: dict[str, z3.ArithRef]) -> dict[str, int | Fraction] | None:
        """Return numbers that take this path, None if there are none."""
        answer = self.solver.check()
        if answer == z3.unknown:  # small numbers are easier to find
            self.solver.add(*(z3.And(term >= -SMALL, term <= SMALL) for term in unknowns.values()))
            if self.solver.check() != z3.sat:
                raise RuntimeError("Z3 can decide neither way")
        elif answer == z3.unsat:
            return None
        values = {n: self.solver.model().eval(term, model_completion=True) for n, term in unknowns.items()}
        return {n: value.as_long() if value.is_int() else value.as_fraction() for n, value in values.items()}


def _multiple(a: z3.ArithRef, b: z3.ArithRef) -> tuple[z3.ArithRef, z3.ArithRef]:
    """Return c and d with a = b * c + d, as far as ``a``, written as a sum of products, shows it."""
    a = z3.simplify(a, som=True)
    zero, one = z3.IntVal(0, a.ctx), z3.IntVal(1, a.ctx)
    whole, rest = [zero], [zero]
    for part in a.children() if z3.is_add(a) else [a]:
        factors = part.children() if z3.is_mul(part) else [part]
        place = next((place for place, factor in enumerate(factors) if factor.eq(b)), None)
        if place is None:
            rest.append(part)
        else:
            whole.append(z3.Product([one, *factors[:place], *factors[place + 1 :]]))
    return z3.simplify(z3.Sum(whole)), z3.simplify(z3.Sum(rest))


class Truth:
    """Whether something holds: known only on one path."""

    def __init__(self, term: z3.BoolRef) -> None:
        self.term = term

    def __bool__(self) -> bool:
        return _Run.now.decide(self.term)


def _term(value: Any) -> z3.ArithRef | None:
    if isinstance(value, Num):
        return value.term
    if isinstance(value, Fraction):
        return z3.RealVal(str(value), _Run.now.context)
    return z3.IntVal(value, _Run.now.context) if isinstance(value, int) else None


def _operator(of: Callable[[Any, Any], Any], swapped: bool = False) -> Any:
    def method(self: Num, other: Any) -> Any:
        if isinstance(other, float) and math.isinf(other):
            found = of(0, other)
            return found if isinstance(found, bool) else NotImplemented
        term = _term(other)
        if term is None:
            return NotImplemented
        found = of(term, self.term) if swapped else of(self.term, term)
        return Truth(found) if z3.is_bool(found) else Num(found)

    return method


def _divided(part: int) -> Callable[[Any, Any], Any]:
    def of(a: z3.ArithRef, b: z3.ArithRef) -> z3.ArithRef:
        if z3.is_int_value(b) and b.as_long() > 0:
            return (a / b, a % b)[part]
        return _Run.now.division(a, b)[part]

    return of


def _quotient(a: z3.ArithRef, b: z3.ArithRef) -> z3.ArithRef:
    if _Run.now.decide(b == 0):
        raise ZeroDivisionError("division by an unknown that may be 0")
    return z3.ToReal(a) / b if a.is_int() else a / b


class Num:
    """An unknown integer or fraction."""

    def __init__(self, term: z3.ArithRef) -> None:
        self.term = term

    __add__ = __radd__ = _operator(lambda a, b: a + b)
    __mul__ = __rmul__ = _operator(lambda a, b: a * b)
    __sub__, __rsub__ = (_operator(lambda a, b: a - b, swapped) for swapped in (False, True))
    __floordiv__, __rfloordiv__ = (_operator(_divided(0), swapped) for swapped in (False, True))
    __mod__, __rmod__ = (_operator(_divided(1), swapped) for swapped in (False, True))
    __truediv__, __rtruediv__ = (_operator(_quotient, swapped) for swapped in (False, True))
    __lt__ = _operator(lambda a, b: a < b)
    __le__ = _operator(lambda a, b: a <= b)
    __gt__ = _operator(lambda a, b: a > b)
    __ge__ = _operator(lambda a, b: a >= b)
    __eq__ = _operator(lambda a, b: a == b)
    __ne__ = _operator(lambda a, b: a != b)

    def __neg__(self) -> Num:
        return Num(-self.term)

    def __abs__(self) -> Num:
        return -self if self < 0 else self

    def __pow__(self, power: int) -> Num:
        return math.prod([self] * power)

    def __divmod__(self, other: Any) -> tuple[Num, Num]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Num, Num]:
        return other // self, other % self

    def __floor__(self) -> Num:
        return self if self.term.is_int() else Num(z3.ToInt(self.term))

    def __ceil__(self) -> Num:
        return -math.floor(-self)

    def __bool__(self) -> bool:
        return bool(self != 0)

    def __hash__(self) -> int:
        return 0  # equal numbers must have equal hashes, and any two may be equal

    def __index__(self) -> int:
        return next(value for value in range(MOST_VALUES) if self == value)

    def __repr__(self) -> str:
        return str(self.term)


def _kind(plain: type, is_one: Callable[[z3.ArithRef], bool]) -> type:
    class Kind(type):
        def __instancecheck__(cls, value: object) -> bool:
            return is_one(value.term) if isinstance(value, Num) else isinstance(value, plain)

        def __call__(cls, value: Any = 0) -> Any:
            return value if isinstance(value, Num) else plain(value)

    return Kind(plain.__name__, (), {})


_KINDS = {int: _kind(int, lambda term: term.is_int()), float: _kind(float, lambda term: term.is_real())}


def _type(value: object) -> type:
    plain = (int if value.term.is_int() else float) if isinstance(value, Num) else builtins.type(value)
    return _KINDS.get(plain, plain)


@contextmanager
def _no_garbage_collected() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _unknowns_allowed() -> Iterator[None]:
    """Let the code that is under proof take a ``Num`` for an integer where it looks at types: nothing else changes."""
    names = {"int": _KINDS[int], "float": _KINDS[float], "type": _type}
    modules = [vars(module) for name, module in sys.modules.items() if name.startswith(CODE)]
    for module in modules:
        module.update(names)
    try:
        yield
    finally:
        for module in modules:
            for name in names:
                del module[name]


def prove(law: Callable[..., None]) -> int:
    """Return the number of paths on which ``law`` was shown to hold; raises ``Refuted`` with numbers for which not.

    Its parameters are the unknowns: the default is the least value, None for any; a ``Fraction`` one means a fraction
    in [least, 1].
    """
    least = {name: parameter.default for name, parameter in inspect.signature(law).parameters.items()}
    context = z3.Context()
    unknowns = {n: (z3.Real if isinstance(v, Fraction) else z3.Int)(n, context) for n, v in least.items()}
    todo, done = [()], 0
    with _unknowns_allowed(), _no_garbage_collected():
        while todo:
            run = _Run.now = _Run(todo.pop(), context)
            run.solver.add(*(unknowns[n] >= _term(v) for n, v in least.items() if v is not None))
            run.solver.add(*(unknowns[n] <= 1 for n, v in least.items() if isinstance(v, Fraction)))
            try:
                law(**{name: Num(term) for name, term in unknowns.items()})
            except RuntimeError:
                raise
            except Exception as why:
                if (values := run.counterexample(unknowns)) is not None:
                    raise Refuted(values, why) from why
            todo += run.others
            done += 1
    return done
