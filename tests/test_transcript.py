"""P2: conversations recorded with released protocols replay for ever, against the daemon and through both codecs."""

import json
import sys

import pytest

import transcript
import wire

sys.path.insert(0, str(transcript.GOLDEN.parents[1] / "clients" / "python"))
from ambientd import wire as client_wire  # noqa: E402

LINES = [line for name in transcript.SESSIONS for line in transcript.load(name)]


@pytest.mark.threads
@pytest.mark.parametrize("name", transcript.SESSIONS)
def test_the_sessions_of_protocol_1_replay(daemon, tmp_path, name):
    one = daemon(*transcript.shards(tmp_path), *transcript.SESSIONS[name][1](tmp_path))
    assert transcript.replay(one.socket, transcript.load(name)) == []


def test_the_transcripts_hold_every_message():
    """Of protocol 1 but DATA, which comes with answers above a frame, and the clients' own frames decode as they were sent."""
    sent = {line["name"] for line in LINES if "send" in line}
    heard = {line["type"] for line in LINES if "expect" in line}
    names = set(transcript.NAMES.values())
    assert heard == {"WELCOME", "ERROR", "REPLY", "SUBSCRIBED", "LENT", "END", "EVENT"}
    assert sent == names - heard - {"DATA"} and len(sent) == 27
    good = [bytes.fromhex(line["frame"]) for line in LINES if "send" in line and line["send"] < 10]
    for frame in good:
        type, flags, length, _ = client_wire.decode_header(frame)
        assert flags == 0 and length == len(frame) - 16 and type in transcript.NAMES


def test_a_changed_answer_would_be_seen(daemon, tmp_path):
    """The replay itself can fail: one digit of a batch, a lost key, another kind."""
    recorded = {"a": 1, "b": {"server": "x/1", "n": [1, 2]}, "batch": {"x_t": "00"}}
    assert transcript.differences(recorded, {**recorded, "more": 1}) == []
    assert transcript.differences(recorded, {**recorded, "batch": {"x_t": "01"}}) == [".batch.x_t is '01', not '00'"]
    assert transcript.differences(recorded, {"a": 1, "batch": {"x_t": "00"}}) == [".b is missing"]
    assert transcript.differences(recorded, {**recorded, "b": {"server": "y/2", "n": [1, 2]}}) == []
    assert transcript.differences(recorded, {**recorded, "b": {"server": 3, "n": [1]}}) != []
    assert transcript.differences({"a": 1}, {"a": True}) != []
