"""Temporary files with patient data: what is read is what was written, and the disk sees none of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.private_file import PrivateFile


@given(
    pieces=st.lists(st.binary(max_size=300), max_size=12),
    reads=st.lists(st.tuples(st.integers(0, 3000), st.integers(-1, 500)), max_size=8),
    in_memory=st.integers(0, 1000),
)
def test_what_is_read_is_what_was_written(pieces: list[bytes], reads: list[tuple[int, int]], in_memory: int) -> None:
    written = b""
    with PrivateFile(in_memory) as file:
        for number, piece in enumerate(pieces):
            if number % 3 == 2:
                file.seek(number)
                assert file.read(50) == written[number : number + 50]
            assert file.write(piece) == len(piece)
            written += piece
            assert file.tell() == len(written)
        for offset, size in reads:
            assert file.seek(offset) == offset
            expected = written[offset:] if size < 0 else written[offset : offset + size]
            assert file.read(size) == expected
        assert file.seek(0, os.SEEK_END) == len(written)
        assert file.read() == b""


def test_the_disk_sees_nothing_of_it(tmp_path: Path) -> None:
    data = "NGUYỄN^VĂN AN ".encode() * 10_000
    with PrivateFile(1000, tmp_path / "made" / "now") as file:
        file.write(data[:900])
        assert not (tmp_path / "made").exists()
        for start in range(900, len(data), 7001):
            file.write(data[start : start + 7001])
        assert list((tmp_path / "made" / "now").iterdir()) == []
        assert file._file is not None
        on_disk = os.pread(file._file.fileno(), len(data) + 1, 0)
        assert len(on_disk) == len(data)
        assert "NGUYỄN".encode() not in on_disk
        blocks = [on_disk[start : start + 16] for start in range(0, len(data), 16)]
        assert len(set(blocks)) == len(blocks)
        file.seek(0)
        assert file.read() == data


def test_two_files_of_the_same_bytes_are_different_on_the_disk() -> None:
    seen = set()
    for _ in range(3):
        with PrivateFile(0) as file:
            file.write(bytes(64))
            assert file._file is not None
            seen.add(os.pread(file._file.fileno(), 64, 0))
    assert len(seen) == 3


@pytest.mark.parametrize("size", [10, 10_000])
def test_a_closed_file_has_nothing(size: int) -> None:
    file = PrivateFile(1000)
    file.write(bytes(size))
    file.close()
    file.close()
    assert file.read() == b""
