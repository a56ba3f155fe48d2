"""Who sent a message is proved by the message."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ConfigError, MessageError, Reason
from models.seal import Keyring, load_keys, make_keys, seal

KEYS = Keyring({"cam-01": b"a" * 32, "cam-02": b"b" * 32})
LINE = b'{"v":1}'


@given(st.binary(min_size=1, max_size=200))
def test_what_was_sealed_opens_with_its_attachment(attachment: bytes) -> None:
    payload = KEYS.seal("t/a", LINE, kid="cam-01", attachment=attachment)
    assert KEYS.open("t/a", payload) == ("cam-01", LINE, attachment)


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("t/b", KEYS.seal("t/a", LINE, kid="cam-01"), Reason.WRONG_SEAL),
        ("t/a", KEYS.seal("t/a", LINE, kid="cam-01").replace(b'"v":1', b'"v":2'), Reason.WRONG_SEAL),
        ("t/a", KEYS.seal("t/a", LINE, kid="cam-01").replace(b"cam-01", b"cam-02"), Reason.WRONG_SEAL),
        ("t/a", seal("t/a", LINE, kid="cam-09", key=b"c" * 32), Reason.UNKNOWN_SENDER),
        ("t/a", LINE, Reason.NO_SEAL),
        ("t/a", LINE + b"\nnoise", Reason.NO_SEAL),
        ("t/a", LINE + b'\n{"kid":"cam-01","mac":"\xc3\xa9"}', Reason.WRONG_SEAL),
        ("t/a", b"", Reason.NO_SEAL),
    ],
)
def test_a_payload_that_was_tampered_with_does_not_open(topic: str, payload: bytes, reason: Reason) -> None:
    with pytest.raises(MessageError) as caught:
        KEYS.open(topic, payload)
    assert caught.value.reason is reason


def test_keys_are_made_once_and_only_for_their_owner(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    make_keys(folder, ["stream", "cam-01"])
    first = (folder / "stream.key").read_text()
    make_keys(folder, ["stream", "cam-01", "cam-02"])
    assert (folder / "stream.key").read_text() == first
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())
    assert folder.stat().st_mode & 0o777 == 0o700
    keys = load_keys(folder)
    assert "cam-02" in keys
    assert first.strip() not in repr(keys)


def test_every_bad_key_is_named_at_once(tmp_path: Path) -> None:
    make_keys(tmp_path, ["a", "b"])
    (tmp_path / "a.key").chmod(0o644)
    (tmp_path / "b.key").write_text("not hexadecimal\n")
    with pytest.raises(ConfigError) as caught:
        load_keys(tmp_path, ["a", "b", "c"])
    assert {Path(problem.file).name for problem in caught.value.problems} == {"a.key", "b.key", "c.key"}
