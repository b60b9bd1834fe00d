"""The receive journal: what is in it when a process is gone, and what `recover` makes of that.

A power cut cannot be had here. Its effect can: files that were not flushed have lost their bytes or their names.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import threading
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage import journal as journal_module
from storage.errors import ObjectExists, StorageUnavailable
from storage.filesystem import FilesystemStore
from storage.segments import FOLDER
from storage.together import commit_all
from tests.contracts.object_store import ObjectStoreContract
from tests.contracts.store_helpers import get, put
from tests.unit.storage import isolated
from tests.unit.storage.journaled import SEGMENT, STORING, commit, journaled


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def never_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only full segments are settled."""
    monkeypatch.setattr(journal_module, "SETTLED_AFTER", 1e9)


class IndexedStore(FilesystemStore):
    """All that is created is to have a row."""

    def create(self, key: str, *, indexed: bool = True):  # type: ignore[no-untyped-def]
        return super().create(key, indexed=indexed)


class TestJournaledStore(ObjectStoreContract):
    """The contract holds for objects that go through the journal, and for those too large for it."""

    @pytest.fixture
    def store(self, root: Path) -> Iterator[FilesystemStore]:
        plain = journaled(root)
        store = IndexedStore(root, journal=plain._journal)
        yield store
        store.close()


def power_cut(root: Path, *, lose: str) -> None:
    """What is left of files that were never flushed. The journal was."""
    for path in [each for each in root.rglob("*") if each.is_file() and FOLDER not in each.parts]:
        if lose == "names":
            path.unlink()
        elif lose == "bytes":
            path.write_bytes(bytes(path.stat().st_size))
        elif lose == "ends":
            path.write_bytes(path.read_bytes()[:-1])


def content(number: int, size: int = 100) -> bytes:
    """What `STORING` stores."""
    return bytes([number % 255 + 1]) * size


def left_by_killed_process(root: Path, count: int, size: int = 100, segment_size: int = 4 * SEGMENT) -> None:
    """Objects ``a/0``, ``a/1`` … stored by a process that was killed afterwards."""
    code = STORING + "print('stored', flush=True)\nsys.stdin.read()\n"
    command = isolated.command(code, root, *map(str, (count, size, segment_size)))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=isolated.ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"stored\n"
        process.send_signal(signal.SIGKILL)


def everything(asked: Sequence[str]) -> Collection[str]:
    return set(asked)


def nothing(asked: Sequence[str]) -> Collection[str]:
    return set()


@pytest.mark.parametrize("lose", ["names", "bytes", "ends", "nothing"])
@pytest.mark.parametrize("size", [1, 33_000, 200_000])
def test_given_a_power_cut_then_what_has_a_row_is_there_again(root: Path, lose: str, size: int) -> None:
    left_by_killed_process(root, 3, size)
    power_cut(root, lose=lose)
    store = FilesystemStore(root)
    assert store.recover(everything) == (0 if lose == "nothing" else 3)
    assert [get(store, f"a/{n}") for n in range(3)] == [content(n, size) for n in range(3)]
    assert list((root / FOLDER).glob("*.segment")) == []
    assert store.recover(everything) == 0


def test_given_lost_names_without_rows_then_they_stay_away(root: Path) -> None:
    left_by_killed_process(root, 3)
    power_cut(root, lose="names")
    store = FilesystemStore(root)
    assert store.recover(lambda asked: {"a/1"} & set(asked)) == 1
    assert list(store.keys("a/")) == ["a/1"]


def test_given_files_that_lost_bytes_and_have_no_rows_then_they_are_whole_for_whoever_adopts_them(root: Path) -> None:
    left_by_killed_process(root, 3)
    power_cut(root, lose="bytes")
    store = FilesystemStore(root)
    assert store.recover(nothing) == 3
    assert get(store, "a/2") == content(2)


def test_given_an_object_that_was_encrypted_meanwhile_then_its_plain_file_does_not_come_back(root: Path) -> None:
    left_by_killed_process(root, 2)
    (root / "a" / "0").rename(root / "a" / "0.enc1")
    (root / "a" / "1").unlink()
    store = FilesystemStore(root)
    assert store.recover(everything) == 1
    assert sorted(os.listdir(root / "a")) == ["0.enc1", "1"]


def test_given_lost_folders_then_they_are_made_again(root: Path) -> None:
    left_by_killed_process(root, 2)
    shutil.rmtree(root / "a")
    store = FilesystemStore(root)
    assert store.recover(everything) == 2
    assert get(store, "a/1") == content(1)


def test_given_an_index_that_does_not_answer_then_the_journal_is_kept(root: Path) -> None:
    left_by_killed_process(root, 2)
    power_cut(root, lose="names")
    store = FilesystemStore(root)

    def away(asked: Sequence[str]) -> Collection[str]:
        raise LookupError("away")

    with pytest.raises(LookupError):
        store.recover(away)
    assert store.recover(everything) == 2


@pytest.mark.parametrize("change", ["cut", "flip"])
def test_given_a_record_that_is_not_whole_then_those_before_it_count(root: Path, change: str) -> None:
    left_by_killed_process(root, 3, 1000)
    power_cut(root, lose="names")
    (segment,) = [each for each in (root / FOLDER).glob("*.segment") if each.read_bytes().strip(b"\0")]
    held = bytearray(segment.read_bytes())
    last = held.rindex(content(2, 1000))
    if change == "cut":
        del held[last + 999 :]
    else:
        held[last + 500] ^= 1
    segment.write_bytes(held)
    store = FilesystemStore(root)
    assert store.recover(everything) == 2
    assert sorted(store.keys("a/")) == ["a/0", "a/1"]


def test_given_a_segment_used_before_then_its_old_records_do_not_count(root: Path) -> None:
    """As many objects as fill all segments more than once: what is deleted later must not come back from a rest."""
    left_by_killed_process(root, 200, 33_000, SEGMENT)
    power_cut(root, lose="names")
    store = FilesystemStore(root)
    found = store.recover(everything)
    names = sorted(int(key.removeprefix("a/")) for key in store.keys("a/"))
    assert 0 < found <= 4 * SEGMENT // 33_000
    assert names == list(range(200 - found, 200))
    assert all(get(store, f"a/{n}") == content(n, 33_000) for n in names)


def test_given_a_process_that_lives_then_its_segments_are_left_alone(root: Path, never_old: None) -> None:
    store = journaled(root)
    commit(store, "a/0", b"alive")
    (root / "a" / "0").unlink()
    assert FilesystemStore(root).recover(everything) == 0
    assert len(list((root / FOLDER).glob("*.segment"))) == 4
    store.close()
    assert list((root / FOLDER).glob("*.segment")) == []


def test_given_a_taken_key_then_refused_and_the_first_bytes_survive_a_power_cut(root: Path) -> None:
    code = STORING + "\n".join(
        [
            "writer = store.create('a/0', indexed=True)",
            "writer.write(b'second')",
            "try:",
            "    writer.commit()",
            "except ObjectExists:",
            "    os.kill(os.getpid(), 9)",
        ]
    )
    done = subprocess.run(isolated.command(code, root, "1", "6", SEGMENT), cwd=isolated.ROOT, timeout=120)
    assert done.returncode == -signal.SIGKILL
    power_cut(root, lose="names")
    store = FilesystemStore(root)
    assert store.recover(everything) == 1
    assert get(store, "a/0") == content(0, 6)


def test_given_many_threads_then_each_object_is_durable_and_segments_are_used_again(root: Path) -> None:
    store = journaled(root)
    data = {f"a/{n}": secrets.token_bytes(20_000 + n) for n in range(400)}
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda item: commit(store, *item), data.items()))
    assert all(get(store, key) == value for key, value in data.items())
    store.close()
    assert os.listdir(root / FOLDER) == ["lock"]


def test_given_an_old_segment_then_it_is_settled_though_it_is_not_full(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled = threading.Event()
    flush = journal_module.flush_file_system

    def note(folder: str) -> None:
        flush(folder)
        settled.set()

    monkeypatch.setattr(journal_module, "flush_file_system", note)
    monkeypatch.setattr(journal_module, "SETTLED_AFTER", 0.01)
    store = journaled(root)
    commit(store, "a/0", b"alone")
    assert settled.wait(120)
    store.close()


def test_given_no_free_segment_then_files_are_flushed_by_themselves(
    root: Path, never_old: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = threading.Event()
    flush = journal_module.flush_file_system
    monkeypatch.setattr(journal_module, "flush_file_system", lambda folder: (held.wait(), flush(folder)))
    store = journaled(root, segments=1)
    data = bytes(200_000)
    for n in range(12):
        commit(store, f"a/{n}", data)
    journal = store._journal
    assert journal is not None and not journal.active
    held.set()
    assert all(get(store, f"a/{n}") == data for n in range(12))
    store.close()


def test_given_a_flush_that_fails_then_the_segments_are_kept_and_objects_go_on(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stored = threading.Event()

    def failing(folder: str) -> None:
        stored.wait()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(journal_module, "flush_file_system", failing)
    store = journaled(root)
    for n in range(12):
        commit(store, f"a/{n}", bytes([n]) * 200_000)
    stored.set()
    journal = store._journal
    assert journal is not None and journal._thread is not None
    journal._thread.join(120)
    assert "the receive journal cannot be used" in caplog.text
    commit(store, "a/after", b"still")
    store.close()
    power_cut(root, lose="bytes")
    again = FilesystemStore(root)
    again.recover(everything)
    assert all(get(again, f"a/{n}") == bytes([n]) * 200_000 for n in range(12))


def test_given_a_segment_that_cannot_be_written_then_not_stored(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = journaled(root)

    def refuse(*_: object) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwritev", refuse)
        with pytest.raises(StorageUnavailable, match="EIO"):
            commit(store, "a/0", b"lost")
    assert list(store.keys("a/")) == []
    commit(store, "a/0", b"kept")
    store.close()
    assert get(store, "a/0") == b"kept"


STORING_TOGETHER = """
from storage.together import commit_all
writers = [store.create(f"b/{number}", indexed=True) for number in range(5)]
for number, writer in enumerate(writers):
    writer.write(bytes([number + 1]) * size)
"""


def test_given_some_committed_together_then_one_flush_before_the_first_name(root: Path) -> None:
    calls = "trace=pwritev,pwritev2,fdatasync,linkat,fsync,write"
    code = STORING + STORING_TOGETHER
    code += "os.write(2, b'commit')\ncommit_all(writers)\nos.write(2, b'done')\nos.kill(os.getpid(), 9)\n"
    trace = root.parent / "trace"
    under = ["strace", "-f", "-y", "-o", str(trace), "-e", calls]
    subprocess.run(
        [*under, *isolated.command(code, root, "1", "33000", SEGMENT)], cwd=isolated.ROOT, timeout=120, check=False
    )
    steps = [step.partition("(")[0] for step in isolated.steps_of_commit(trace)]
    assert steps == [*["write"] * 5, "pwritev2", "fdatasync", *["linkat"] * 5]
    power_cut(root, lose="names")
    assert FilesystemStore(root).recover(everything) == 6
    assert [get(FilesystemStore(root), f"b/{n}") for n in range(5)] == [content(n, 33_000) for n in range(5)]


def test_given_more_together_than_segments_take_then_the_rest_is_flushed_by_itself(
    root: Path, never_old: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them waits for a segment that can only be settled when they have their names."""
    store = journaled(root, segments=2, segment_size=1 << 16)
    flushed: list[int] = []
    fdatasync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (flushed.append(fd), fdatasync(fd)))
    writers = [store.create(f"a/{n}", indexed=True) for n in range(12)]
    for n, writer in enumerate(writers):
        writer.write(content(n, 20_000))
    assert commit_all(writers) == [None] * 12
    assert len(flushed) >= 12 - 6
    assert [get(store, f"a/{n}") for n in range(12)] == [content(n, 20_000) for n in range(12)]
    store.close()
    assert list((root / FOLDER).glob("*.segment")) == []


def test_given_a_journal_that_fails_then_all_that_were_to_share_it_are_told(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = journaled(root)

    def refuse(*_: object) -> int:
        raise OSError(5, "Input/output error")

    writers = [store.create(f"a/{n}", indexed=True) for n in range(3)]
    for writer in writers:
        writer.write(b"lost")
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwritev", refuse)
        outcomes = commit_all(writers)
    assert [type(each) for each in outcomes] == [StorageUnavailable] * 3
    assert list(store.keys("a/")) == []
    commit(store, "a/0", b"kept")
    store.close()
    assert get(store, "a/0") == b"kept"


def test_objects_that_have_no_rows_do_not_go_into_the_journal(root: Path, never_old: None) -> None:
    store = journaled(root)
    put(store, "a/0", b"an anchor")
    journal = store._journal
    assert journal is not None and journal._current is not None and journal._current.end == 0
    store.close()


def test_given_a_commit_then_the_journal_is_durable_before_the_name(root: Path) -> None:
    """Write, flush of the segment, name: in this order, no flush of the object's own file or folder, no other name."""
    calls = "trace=pwritev,pwritev2,fdatasync,linkat,unlinkat,fsync"
    code = STORING + "print('ready', store._journal._current.path, flush=True)\n"
    code += "with store.create('a/x', indexed=True) as writer:\n"
    code += "    writer.write(b'bytes')\n    os.write(2, b'commit')\n    writer.commit()\n    os.write(2, b'done')\n"
    code += "os.kill(os.getpid(), 9)\n"
    trace = root.parent / "trace"
    under = ["strace", "-f", "-y", "-o", str(trace), "-e", f"{calls},write"]
    subprocess.run(
        [*under, *isolated.command(code, root, "1", "6", SEGMENT)], cwd=isolated.ROOT, timeout=120, check=False
    )
    steps = isolated.steps_of_commit(trace)
    assert [step.partition("(")[0] for step in steps] == ["write", "pwritev2", "fdatasync", "linkat"]
    assert ".segment" in steps[1] and ".segment" in steps[2]


def test_a_key_that_is_taken_is_refused(root: Path) -> None:
    store = journaled(root)
    commit(store, "a/0", b"first")
    with pytest.raises(ObjectExists):
        commit(store, "a/0", b"second")
    assert get(store, "a/0") == b"first"
    store.close()
