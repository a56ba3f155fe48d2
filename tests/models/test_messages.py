"""The wire contract: strict, versioned, and the same after a round trip."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import schema, topics
from models.errors import MessageError, Reason
from models.messages import (
    Detection,
    Fault,
    Lane,
    Message,
    Observation,
    ObservationBatch,
    Payload,
    Reading,
    decode,
    encode,
)


def observation(seq: int = 1, payload: Payload | None = None) -> Observation:
    return Observation(
        device_id="cam-01",
        outbox_id="ob-1",
        boot_id="b-1",
        lane=Lane.ALARM,
        seq=seq,
        observed_at_ms=1_000,
        observed_mono_ms=10,
        payload=payload or Fault(fault="dark"),
    )


def batch(*observations: Observation) -> ObservationBatch:
    return ObservationBatch(v=1, boot_id="b-1", sent_at_ms=1_001, sent_mono_ms=11, observations=observations)


units = st.floats(0, 1)
payloads: st.SearchStrategy[Payload] = st.one_of(
    st.builds(Fault, fault=st.text(max_size=64)),
    st.builds(Reading, property=st.text(max_size=9), value=st.floats(-1e12, 1e12), unit=st.just("Cel")),
    st.builds(
        Detection,
        detector=st.just("d"),
        detector_version=st.just("1"),
        label=st.text(max_size=64),
        confidence=units,
        box=st.tuples(units, units, units, units),
        track_id=st.text(max_size=9),
        hits=st.integers(1, 99),
        first_seen_ms=st.integers(0, 1 << 50),
        evidence_id=st.none(),
    ),
)


@given(st.lists(payloads, min_size=1, max_size=5))
def test_a_batch_is_the_same_after_a_round_trip(items: list[Payload]) -> None:
    sent = batch(*(observation(i + 1, item) for i, item in enumerate(items)))
    assert decode(encode(sent), ObservationBatch) == sent
    assert b"\n" not in encode(sent), "a payload is one line"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\xfe\x00noise", Reason.NOT_UTF8_JSON),
        (b"", Reason.NOT_UTF8_JSON),
        (b'{"v":1', Reason.NOT_UTF8_JSON),
        (b'{"v":2,"observations":[]}', Reason.UNKNOWN_VERSION),
        (b'{"v":1,"observations":[]}', Reason.WRONG_SHAPE),
        (b'{"v":"1"}', Reason.WRONG_SHAPE),
        (b"[1]", Reason.WRONG_SHAPE),
        (b"[" * 100_000, Reason.WRONG_SHAPE),
        (
            encode(batch(observation(1, Reading(property="t", value=7.0, unit="Cel")))).replace(b"7.0", b"1e999"),
            Reason.WRONG_SHAPE,
        ),
    ],
)
def test_what_cannot_be_decoded_says_why(data: bytes, reason: Reason) -> None:
    with pytest.raises(MessageError) as caught:
        decode(data, ObservationBatch)
    assert caught.value.reason is reason


def test_a_known_shape_of_an_unknown_version_is_refused() -> None:
    data = encode(batch(observation())).replace(b'{"v":1', b'{"v":7', 1)
    with pytest.raises(MessageError) as caught:
        decode(data, ObservationBatch)
    assert caught.value.reason is Reason.UNKNOWN_VERSION


@pytest.mark.parametrize(
    ("field", "value"),
    [("device_id", "a/b"), ("device_id", "+"), ("seq", 0), ("observed_at_ms", -1), ("surname", "x"), ("lane", "fast")],
)
def test_a_field_out_of_its_bounds_is_refused(field: str, value: object) -> None:
    data = msgspec.to_builtins(batch(observation()))
    data["observations"][0][field] = value
    with pytest.raises(MessageError) as caught:
        decode(msgspec.json.encode(data), ObservationBatch)
    assert caught.value.reason is Reason.WRONG_SHAPE


@pytest.mark.parametrize("field", ["device_id", "outbox_id", "boot_id"])
@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "a" * 65, "网格"])
def test_what_is_no_id_is_refused_in_any_observation_of_a_batch(field: str, name: str) -> None:
    data = msgspec.to_builtins(batch(observation(1), observation(2)))
    data["observations"][1][field] = name
    with pytest.raises(MessageError) as caught:
        decode(msgspec.json.encode(data), ObservationBatch)
    assert caught.value.reason is Reason.WRONG_SHAPE


def test_the_schema_file_is_current() -> None:
    assert schema.PATH.read_bytes() == schema.render(), "run: gridwarden schema"


def test_no_message_has_a_field_for_the_identity_of_a_person_seen() -> None:
    forbidden = ("face", "plate", "name", "phone", "gender", "identity", "embedding")
    fields = {field.name for kind in all_kinds(Message) for field in msgspec.structs.fields(kind)}
    assert not {name for name in fields for word in forbidden if word in name.split("_")}


def all_kinds(kind: type[Message]) -> list[type[Message]]:
    return [kind, *(found for child in kind.__subclasses__() for found in all_kinds(child))]


def test_topics_are_taken_apart_as_they_are_built() -> None:
    assert topics.parse(topics.obs("t", "cam-01")) == topics.Parsed("t", "cam-01", "obs")
    assert topics.parse(topics.evidence("t", "cam-01", "ev-1")) == topics.Parsed("t", "cam-01", "evidence", "ev-1")
    assert topics.parse(topics.order("t", "inc-1")) == topics.Parsed("t", "orders", "inc-1")


@pytest.mark.parametrize(
    "topic", ["", "gw/v1", "gw/v1/t/d", "gw/v2/t/d/obs", "gw/v1//d/obs", "gw/v1/t/d/e/f/g", "x/y/z/a/b"]
)
def test_a_topic_outside_the_tree_is_none(topic: str) -> None:
    assert topics.parse(topic) is None
