# ruff: noqa: E501 (a corner is a row)
"""Cases reach the hard corners often, and are what they claim to be: valid, or wrong in one way."""

import copy
import itertools
import json

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from refreeze.conformance import cases
from refreeze.conformance.adapters import load
from refreeze.conformance.cases import DROP, LAYERS, at, edited
from refreeze.conformance.cases.kempner import ALIASES, active, matches
from refreeze.conformance.catalogue import laws
from refreeze.conformance.laws import agrees, reference_answer
from refreeze.conformance.protocol import Schedule, features, segments_request
from refreeze.conformance.reference import respond
from refreeze.dialects import BUILT_IN
from refreeze.dialects import dialect as get_dialect

DRAWS = 200


def drawn(strategy, count=DRAWS):
    found = []

    @seed(0)
    @settings(max_examples=count, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(strategy)
    def collect(case):
        found.append(copy.deepcopy(case))

    collect()
    return found


def cases_of(law, dialect, count=DRAWS):
    return drawn(laws()[law].families[dialect].cases, count)


@pytest.fixture(scope="module")
def requests():
    """The requests of every law that compares a valid configuration with the reference, by dialect."""
    found = {}
    for law in laws().values():
        for dialect, family in law.families.items():
            if family.check is agrees:
                found.setdefault(dialect, []).extend(case["request"] for case in drawn(family.cases, 40))
    return found


def kind(spec):
    return (spec.get("strategy") or {}).get("type", "plain")


def specs(request, *kinds):
    return [spec for spec in request["config"] if not kinds or kind(spec) in kinds]


def windows(request):
    """Yield layers, window size, start, span and stop of every specification with a window."""
    for spec in specs(request, "round_robin", "random"):
        layers = cases.meant(spec["layers"], request["names"] or spec["layers"])
        start, stop = spec["training_interval"]
        yield len(layers), spec["strategy"]["window_size"], start, spec["strategy"]["iterative_span"], stop


def boundaries(request):
    answer = reference_answer(request | {"start": 0})
    return {s.start for s in answer.segments} if isinstance(answer, Schedule) else set()


def rates_at_one_tick(request):
    answer = respond({"refreeze": 1, "id": "", **request, "total": request["total"] + 20})
    return answer.get("error") == "conflict"


def seeds(request):
    return [spec["strategy"].get("seed") for spec in specs(request, "random")]


def both(freezer):
    return "until_step" in freezer and "until_epoch" in freezer


def first(request, freezer):
    """Which of both conditions releases first."""
    step, epoch = freezer["until_step"], freezer["until_epoch"] * request["steps_per_epoch"]
    return "step" if step < epoch else "epoch" if epoch < step else "both"


def entries(freezer, key):
    value = freezer.get(key, [])
    return [value] if isinstance(value, str) else value


def stages(request):
    return request["config"].get("freeze_schedule", [])


def disagree(request):
    """Whether two active specifications disagree about a parameter, so that their order matters."""
    now = active(request["config"] | {"freeze": request["config"].get("freeze", [])}, 99)
    return any(len({f for m, f in now.items() if matches(name, m)}) > 1 for name in request["names"])


def overridden_in_place(request):
    base = [spec["module"] for spec in request["config"].get("freeze", [])]
    again = {spec["module"] for stage in stages(request) for spec in stage["specs"]}
    return any(module in again for module in base[:-1]) and disagree(request)


def calls(request, *kinds):
    return [call for call in request["config"].get("calls", []) if call["call"] in kinds]


# dialect, what is reached, how to see it, and in how many of a hundred requests at least
CORNERS = [
    ("vl3d", "total 0", lambda r: r["total"] == 0, 2),
    ("vl3d", "an interval that ends before total", lambda r: any(s["training_interval"][1] < r["total"] for s in specs(r)), 20),
    ("vl3d", "an interval that ends at total", lambda r: any(s["training_interval"][1] == r["total"] for s in specs(r)), 10),
    ("vl3d", "an interval that ends after total", lambda r: any(s["training_interval"][1] > r["total"] for s in specs(r)), 10),
    ("vl3d", "a window that wraps", lambda r: any(
        any((k * w) % n + w > n for k in range(-(-(b - a) // s))) for n, w, a, s, b in windows(r)), 10),
    ("vl3d", "a window of all layers", lambda r: any(n == w > 1 for n, w, *_ in windows(r)), 8),
    ("vl3d", "layers that the window does not divide", lambda r: any(n % w for n, w, *_ in windows(r)), 15),
    ("vl3d", "a last span that is cut", lambda r: any((b - a) % s for n, w, a, s, b in windows(r)), 20),
    ("vl3d", "several random specifications with equal seeds", lambda r: len(seeds(r)) > len({s or 0 for s in seeds(r)}), 3),
    ("vl3d", "several random specifications with different seeds", lambda r: len({s or 0 for s in seeds(r)}) > 1, 2),
    ("vl3d", "a random specification that is not the first", lambda r: any(kind(s) == "random" for s in r["config"][1:]), 12),
    ("vl3d", "seed 0", lambda r: 0 in seeds(r), 5),
    ("vl3d", "no seed", lambda r: None in seeds(r), 3),
    ("vl3d", "the largest seed", lambda r: 2**64 - 1 in seeds(r), 2),
    ("vl3d", "overlapping specifications", lambda r: any(
        max(x["training_interval"][0], y["training_interval"][0]) < min(x["training_interval"][1], y["training_interval"][1])
        for x, y in itertools.combinations(specs(r), 2)), 20),
    ("vl3d", "a learning rate", lambda r: any("initial_learning_rate" in s for s in specs(r)), 20),
    ("vl3d", "different learning rates", lambda r: len({s.get("initial_learning_rate") for s in specs(r)} - {None}) > 1, 4),
    ("vl3d", "rates that meet only from total on", lambda r: rates_at_one_tick(r) and bool(boundaries(r) or not r["total"]), 1),
    ("vl3d", "all layers", lambda r: any(s["layers"] in ("all", "all_reverse") for s in specs(r)), 15),
    ("vl3d", "a container", lambda r: any(s["layers"] == ["body"] for s in specs(r)), 4),
    ("vl3d", "names that are not known", lambda r: r["names"] is None, 2),
    ("lighter", "prefixes of each other", lambda r: any(
        x != y and x.startswith(y) for f in r["config"]
        for x, y in itertools.product(entries(f, "name_starts_with"), repeat=2)), 4),
    ("lighter", "a prefix that also lies inside another name", lambda r: any(
        p in name and not name.startswith(p) for f in r["config"] for p in entries(f, "name_starts_with") for name in r["names"]), 15),
    ("lighter", "an exact name that begins another", lambda r: any(
        e != name and name.startswith(e) for f in r["config"] for e in entries(f, "names") for name in r["names"]), 8),
    ("lighter", "until_step first", lambda r: any(both(f) and first(r, f) == "step" for f in r["config"]), 5),
    ("lighter", "until_epoch first", lambda r: any(both(f) and first(r, f) == "epoch" for f in r["config"]), 4),
    ("lighter", "neither", lambda r: any(not {"until_step", "until_epoch", "start_epoch", "unfreeze_every_n_epochs"} & f.keys() for f in r["config"]), 10),
    ("lighter", "several steps in an epoch", lambda r: r["steps_per_epoch"] > 1, 40),
    ("lighter", "a total inside an epoch", lambda r: r["total"] % r["steps_per_epoch"], 15),
    ("lighter", "exceptions", lambda r: any(k.startswith("except") for f in r["config"] for k in f), 25),
    ("lighter", "a string", lambda r: any(isinstance(f.get(k), str) for f in r["config"] for k in ("names", "name_starts_with")), 25),
    ("lighter", "an interval without a start", lambda r: any("unfreeze_every_n_epochs" in f and "start_epoch" not in f for f in r["config"]), 8),
    ("lighter", "several freezers", lambda r: len(r["config"]) > 1, 20),
    ("kempner", "a stage at 0", lambda r: any(s["start_step"] == 0 for s in stages(r)), 6),
    ("kempner", "a stage at total", lambda r: any(s["start_step"] == r["total"] for s in stages(r)), 4),
    ("kempner", "a stage beyond total", lambda r: any(s["start_step"] > r["total"] for s in stages(r)), 5),
    ("kempner", "a module that a later stage overrides, in a place that matters", overridden_in_place, 8),
    ("kempner", "overlapping patterns whose order matters", disagree, 20),
    ("kempner", "a module twice in one list", lambda r: any(
        len({s["module"] for s in part}) < len(part) for part in [r["config"].get("freeze", []), *(s["specs"] for s in stages(r))]), 8),
    ("kempner", "an alias", lambda r: any(s["module"] in ALIASES for s in r["config"].get("freeze", [])), 30),
    ("fastai", "a negative n", lambda r: any(c["n"] < 0 for c in calls(r, "freeze_to")), 30),
    ("fastai", "an n beyond the ends", lambda r: any(abs(c["n"]) > len(r["config"]["groups"]) for c in calls(r, "freeze_to")), 15),
    ("fastai", "two calls at one tick", lambda r: len({c["at"] for c in r["config"]["calls"]}) < len(r["config"]["calls"]), 20),
    ("fastai", "calls not in the order of their ticks", lambda r: (t := [c["at"] for c in r["config"]["calls"]]) != sorted(t), 20),
    ("fastai", "layers in no group", lambda r: sum(map(len, r["config"]["groups"])) < len(r["names"]), 15),
    ("fastai", "bn_freeze on and off", lambda r: len({c["do_freeze"] for c in calls(r, "bn_freeze")}) == 2, 2),
    ("composer", "a boundary exactly at an epoch that floats miss", lambda r: "freeze_start" in r["config"] and r["config"]["freeze_start"] in (0.1, 0.2, 0.4, 0.8), 10),
    ("lisa", "layers that are always on", lambda r: "always_on" in r["config"], 25),
    ("lightning", "a thaw at 0", lambda r: r["config"].get("unfreeze_backbone_at_epoch") == 0, 3),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "what", "reached", "share"), CORNERS, ids=[f"{d}: {w}" for d, w, *_ in CORNERS])
def test_a_corner_is_reached(requests, dialect, what, reached, share):
    found = sum(bool(reached(request)) for request in requests[dialect])
    assert 100 * found >= share * len(requests[dialect]), f"{what}: {found} of {len(requests[dialect])}"


@pytest.mark.parametrize("dialect", ["vl3d", "lighter", "kempner", "fastai", "chain_thaw"])
def test_resumed_runs_start_everywhere(dialect):
    found = cases_of("RES-1-a_resumed_run_is_the_rest_of_the_whole", dialect)
    where = {"0": 0, "a boundary": 0, "between": 0, "total - 1": 0, "total": 0}
    for case in found:
        start, total = case["other"]["start"], case["request"]["total"]
        inner = boundaries(case["request"]) - {0}
        where["0"] += start == 0
        where["total"] += start == total
        where["total - 1"] += start == total - 1
        where["a boundary"] += start in inner
        where["between"] += 0 < start < total and start not in inner
    assert all(100 * times >= 5 * len(found) for times in where.values()), where


@pytest.mark.parametrize("law", laws().values(), ids=lambda law: law.id)
def test_every_case_is_plain_json_about_its_dialect(law):
    for dialect, family in law.families.items():
        for case in [*family.always, *(drawn(family.cases, 5) if family.cases is not None else ())]:
            assert json.loads(json.dumps(case)) == case
            assert case["request"]["dialect"] == dialect
            assert dialect in features(case["request"])


def test_valid_requests_are_valid_and_many_change_something(requests):
    for dialect, found in requests.items():
        assert all(isinstance(reference_answer(request), Schedule) for request in found), dialect
        general = cases_of("SCH-3-every_tick_means_what_the_reference_says", dialect, 100)
        changing = sum(len(reference_answer(case["request"]).segments) > 1 for case in general)
        assert changing > len(general) / 5, (dialect, changing, len(general))


def test_a_law_that_compares_two_forms_finds_equal_ones_and_different_ones():
    """Else "equal forms mean equal schedules" would say nothing."""
    adapter = load("refreeze.conformance.reference:respond")

    def form(request):
        return str(adapter.ask({"op": "canonical", "dialect": "kempner", "config": request["config"]}))

    found = cases_of("KMP-2-equal_forms_mean_equal_schedules", "kempner")
    equal = sum(form(case["request"]) == form(case["other"]) for case in found)
    different = sum(reference_answer(case["request"]) != reference_answer(case["other"]) for case in found)
    assert equal > len(found) / 10
    assert different > len(found) / 5


@pytest.mark.parametrize("dialect", BUILT_IN)
def test_every_integer_of_a_dialect_is_asked_as_a_float_and_a_bool(dialect):
    """What the schema calls an integer is one in the configuration that has wrong values put into it."""

    def integers(node):
        if isinstance(node, dict):
            for key, value in node.get("properties", {}).items():
                yield from [key] * ('"integer"' in json.dumps(value))
            yield from (key for value in node.values() for key in integers(value))

    family = laws()["CFG-1-invalid_spec"].families[dialect]
    bases = [case["request"] for case in family.always if case["error"] is None]
    found = [(base, path, value) for base in bases for path, value in cases.numbers(base["config"])]
    assert {*integers(get_dialect(dialect).json_schema())} <= {key for _, path, _ in found for key in path}
    for base, path, value in found:
        wrong = [edited(base, path, wrong) for wrong in (float(value), True)]
        assert {json.dumps(request) for request in wrong} <= {json.dumps(case["request"]) for case in family.always}


def test_edits():
    request = segments_request("vl3d", list(LAYERS), [{"a": {"b": 1}}], 3)
    assert edited(request, (0, "a", "b"), 2)["config"] == [{"a": {"b": 2}}]
    assert edited(request, (0, "a"), DROP)["config"] == [{}]
    assert edited(request, (), "x")["config"] == "x"
    assert request["config"] == [{"a": {"b": 1}}]
    assert at(("a", 0), 1, 2) == [(("a", 0), 1), (("a", 0), 2)]
