"""The page of findings says what the files of known failures say; no peer is needed to see that."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest
from refreeze.conformance import known_failures
from refreeze.conformance.catalogue import checks
from refreeze.conformance.protocol import segments_request

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from peers import findings
from peers.adapter import CannotExpress, adapter


def test_the_page_is_what_the_files_say():
    assert findings.PAGE.read_text(encoding="utf-8") == findings.page(), "write it: python -m peers.findings"


def test_every_file_has_its_peer_and_every_peer_its_file():
    files = {path.stem for path in findings.known_failures_of("x").parent.iterdir()}
    assert files == findings.PEERS.keys()


@pytest.mark.parametrize("name", findings.PEERS)
def test_every_entry_is_of_a_law_and_says_in_which_version_and_when_it_was_seen(name):
    peer, ids = findings.PEERS[name], {check.id for level in ("schedule", "execution") for check in checks(level)}
    for entry in known_failures.read(findings.known_failures_of(name)):
        assert entry.dialect in peer.dialects
        assert entry.check_id in ids
        assert findings.REASON.fullmatch(entry.reason), entry.reason


def answers(run, **changes):
    request = segments_request("vl3d", ["a", "b"], [], 3, start=1) | {"id": "c1"} | changes
    return adapter("vl3d")(run)(request)


def test_an_adapter_answers_with_a_segment_for_each_tick():
    found = [{"start": 1, "stop": 2, "frozen": ["a", "b"]}, {"start": 2, "stop": 3, "frozen": []}]
    assert answers(lambda request: [["b", "a"], []]) == {"id": "c1", "segments": found}


@pytest.mark.parametrize("changes", [{"op": "canonical"}, {"dialect": "lighter"}, {"names": None}])
def test_an_adapter_leaves_alone_what_it_has_no_words_for(changes):
    assert answers(lambda request: [], **changes) == {"id": "c1", "unsupported": True}


def raises(error):
    def run(request):
        raise error

    return run


def test_what_a_peer_raises_is_its_way_to_refuse():
    said = {"id": "c1", "error": "invalid-spec", "message": "TypeError: no such argument"}
    assert answers(raises(TypeError("no such argument"))) == said
    assert answers(raises(CannotExpress())) == {"id": "c1", "unsupported": True}


def test_a_warning_of_a_peer_is_no_refusal():
    def run(request):
        warnings.warn("deprecated", stacklevel=1)
        return [[], []]

    assert "segments" in answers(run)
