from __future__ import annotations

import secrets

import pytest

from models.content import Content
from stream.contents import PIECE_BYTES, content_of, rows_of


class Noise(Content, frozen=True, kw_only=True):
    """Nothing that can be packed."""

    noise: bytes


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES // 2, PIECE_BYTES, 5 * PIECE_BYTES])
def test_a_content_of_any_size_is_read_back_from_rows_that_fit_a_record(size: int) -> None:
    content = Noise(noise=secrets.token_bytes(size))
    rows = rows_of(content)
    assert all(len(value) <= PIECE_BYTES for _, value in rows)
    assert rows[-1][0] == content.version
    assert content_of(content.version, dict(rows).get) == content.to_bytes()


def test_a_content_of_which_a_piece_is_missing_is_not_there() -> None:
    content = Noise(noise=secrets.token_bytes(3 * PIECE_BYTES))
    rows = dict(rows_of(content))
    del rows[f"{content.version}/1"]
    assert content_of(content.version, rows.get) is None
    assert content_of("another", rows.get) is None
