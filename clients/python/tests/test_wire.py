"""The protocol page's golden frames, byte for byte, and what malformed bytes get."""
import json
import math
from pathlib import Path

import pytest

from ambientd import errors, wire

GOLDEN = Path(__file__).parents[3] / "proto" / "golden" / "frames.json"


def golden():
    if not GOLDEN.exists():
        pytest.skip("proto/golden/frames.json is not beside this package: tests run in the repository")
    return json.loads(GOLDEN.read_text())


def encoded(frame):
    fields = frame.get("fields")
    if fields is None:
        return wire.encode_frame(frame["type"], frame["request_id"], frame["json"].encode(), frame["flags"])
    if frame["name"] == "DONE":
        return wire.encode_done(fields["slot"])
    if frame["name"] == "REQUEST":
        payload = wire.encode_request(fields["sigmas"], fields["scale"], fields["q"], fields["dataset"],
                                      fields["annotations"])
        return wire.encode_frame(wire.REQUEST, frame["request_id"], payload)
    return None  # LEND: only ever decoded by a client


def test_golden_frames_are_encoded_byte_for_byte():
    n_encoded = 0
    for frame in golden():
        ours = encoded(frame)
        if ours is not None:
            assert ours.hex() == frame["frame"], frame["name"]
            n_encoded += 1
    assert n_encoded >= 10


def test_golden_frames_are_decoded():
    n_lends = 0
    for frame in golden():
        data = bytes.fromhex(frame["frame"])
        type_, flags, length, request_id = wire.decode_header(data)
        assert (type_, flags, request_id) == (frame["type"], frame["flags"], frame["request_id"])
        assert length == len(data) - wire.HEADER_BYTES
        assert getattr(wire, frame["name"]) == type_
        if frame["name"] == "LEND":
            lend = wire.decode_lend(data[wire.HEADER_BYTES:])
            assert {**lend._asdict(), "state": lend.state.decode()} == frame["fields"]
            n_lends += 1
    assert n_lends == 2


def test_our_json_of_a_golden_request_is_the_golden_json():
    for frame in golden():
        if frame["name"] in ("SUBSCRIBE", "ADVANCE", "SAMPLE", "HELLO"):
            assert wire.dumps(json.loads(frame["json"])).decode() == frame["json"]


@pytest.mark.parametrize("data", [
    b"HTTP/1.1 400 Bad", b"AMBP\x02\x04\0\0\0\0\0\0\0\0\0\0", b"AMBP\x01\x04\0\0\x01\0\x01\0\0\0\0\0"])
def test_a_malformed_header_is_refused(data):
    with pytest.raises(errors.ProtocolError):
        wire.decode_header(data)


@pytest.mark.parametrize("payload", [b"", b"\0" * 47, b"\0" * 49, b"\0" * 44 + b"\1\0\0\0"])
def test_a_malformed_lend_is_refused(payload):
    with pytest.raises(errors.ProtocolError):
        wire.decode_lend(payload)


def test_json_carries_infinity_and_large_integers_as_text():
    data = wire.dumps({"sigma_max": math.inf, "seed": 2**53, "small": 2**53 - 1})
    assert json.loads(data) == {"sigma_max": "inf", "seed": str(2**53), "small": 2**53 - 1}
    assert wire.loads(b'{"sigma_max":"inf","key":"inf","gap":[1,"inf"]}') == {
        "sigma_max": math.inf, "key": "inf", "gap": [1, math.inf]}
    with pytest.raises(ValueError):
        wire.dumps({"sigma": math.nan})


def test_every_error_code_has_its_class():
    for code in ("format version checksum limit changed unsupported config gap state duplicate exhausted protocol "
                 "denied quota not-found busy").split():
        error = errors.from_json({"code": code, "errno": -7001, "message": "m", "detail": {}})
        assert type(error) is not errors.AmbientError and error.code == code and str(error) == "m"
    assert isinstance(errors.from_json({"code": "ENOSPC", "message": "full"}), OSError)
    assert type(errors.from_json({"code": "of-the-future", "message": "m"})) is errors.AmbientError
    assert isinstance(errors.from_json("nonsense"), errors.ProtocolError)
    gap = errors.from_json({"code": "gap", "message": "m", "detail": {"gap": [0.1, 0.5], "mass": 0.02}})
    assert (gap.gap, gap.mass, gap.sigmas) == ((0.1, 0.5), 0.02, [])
