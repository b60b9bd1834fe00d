"""Pieces compressed apart are one gzip stream of one member (RFC 1951, RFC 1952)."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.joined_gzip import HEADER, Ending, Piece, compress


def joined(contents: list[bytes]) -> bytes:
    ending = Ending()
    stream = HEADER
    for content in contents:
        piece = Piece.from_bytes(compress(content).to_bytes())
        assert piece.content() == content
        ending.add(piece)
        stream += piece.deflated
    return stream + ending.to_bytes()


@given(st.lists(st.binary(max_size=3000), max_size=8))
def test_pieces_are_one_member_with_the_right_checksum(contents: list[bytes]) -> None:
    stream = joined(contents)
    # What a browser does: it reads the first member and no other.
    reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
    assert reader.decompress(stream) == b"".join(contents)
    assert (reader.eof, reader.unused_data) == (True, b"")
    assert gzip.decompress(stream) == b"".join(contents)


def test_long_pieces_that_repeat_one_another() -> None:
    contents = [b"the same again " * 100_000, b"x", b"the same again " * 70_000, b"", bytes(1 << 20)]
    assert gzip.decompress(joined(contents)) == b"".join(contents)


def test_a_stream_that_was_cut_or_damaged_is_noticed() -> None:
    stream = joined([b"abc" * 1000, b"def" * 1000])
    with pytest.raises(EOFError):
        gzip.decompress(stream[:-1])
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(stream[:-8] + bytes([stream[-8] ^ 1]) + stream[-7:])
