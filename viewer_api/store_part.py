"""One Part 10 file of a STOW-RS request on its way into the archive (PS3.10 7.1, PS3.18 10.5.2).

`feed` and `check` are called by the thread that reads the request; `commit` and `store_all`, which wait for the medium
and the index, may be called by others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from archive.core import Archive
from archive.errors import ArchiveError, SOPClassMismatch
from archive.ingest_together import finish_all
from archive.private_file import PrivateFile
from archive.receiving import Receiving
from archive.records import Arrival, Receipt, Source
from archive.rejection.causes import KEY_OBJECT_SELECTION
from archive.standard.file_format import FileMeta, NeedMoreBytes
from archive.standard.received_file import read_received, refuse_encapsulated
from archive.standard.scan import scan
from viewer_api.middleware import log_failure

_IN_MEMORY: Final = 1 << 20
_PIECE: Final = 1 << 20
_STUDY_INSTANCE_UID: Final = 0x0020000D
_START: Final = 4096
"""Bytes of the dataset in which the SOP UIDs are looked for; almost nothing comes before them."""
_SOP_CLASS_UID: Final = b"\x08\x00\x16\x00"
_SOP_INSTANCE_UID: Final = b"\x08\x00\x18\x00"


class Part:
    """Takes the bytes of one part. Never raises: `error` or `receipt` tell how it ended."""

    def __init__(self, archive: Archive, source: Source, study: str | None, announced: str = "") -> None:
        """`announced` is the transfer syntax that the headers of the part name."""
        self.error: ArchiveError | None = None
        self.receipt: Receipt | None = None
        self.arrival: Arrival | None = None
        """What the part is; known after `check`."""
        self.meta = FileMeta("", "", "", "", 0)
        self._archive = archive
        self._source = source
        self._study = study
        self._announced = announced
        self._head = bytearray()
        self._start = b""
        self._needed = 0
        self._receiving: Receiving | None = None
        self._spool: PrivateFile | None = None

    @property
    def meta_disagrees(self) -> bool:
        """Whether the file meta information names another object than the dataset, which was stored."""
        if self.receipt is None:
            return False
        pairs = (
            (self.meta.sop_class_uid, self.receipt.sop_class_uid),
            (self.meta.sop_instance_uid, self.receipt.sop_instance_uid),
        )
        return any(announced and announced != found for announced, found in pairs)

    def feed(self, buffer: memoryview) -> None:
        """The next bytes; ignored once the part has failed."""
        if self.error is None:
            self._guarded(lambda: self._take(buffer))

    def check(self) -> None:
        """The part is complete: find out what it is."""
        if self.error is None:
            self._guarded(self._check)

    @property
    def shares(self) -> bool:
        """Whether it is best made durable together with others (`store_all`), for which it waits in memory."""
        return self.error is not None or self._receiving is None or self._receiving.shares

    @property
    def size(self) -> int:
        """Bytes of the dataset so far."""
        return self._receiving.size if self.error is None and self._receiving is not None else 0

    @property
    def is_note(self) -> bool:
        """Whether it may reject others (PS3.3 A.35.4)."""
        return self.arrival is not None and self.arrival.instance.sop_class_uid == KEY_OBJECT_SELECTION

    def commit(self) -> None:
        """Make durable what was checked. Waits for the medium: for parts that do not share this, in many threads."""
        if self.error is None and self._receiving is not None:
            self._guarded(self._receiving.commit)

    def fail(self, error: ArchiveError) -> None:
        """Give the part up; the first reason counts."""
        self.error = self.error or error
        self.abort()

    def abort(self) -> None:
        """Leave nothing behind."""
        self._head.clear()
        if self._receiving is not None:
            self._receiving.abort()
        if self._spool is not None:
            self._spool.close()

    def _guarded(self, action: Callable[[], None]) -> None:
        """Do something with the part; what goes wrong ends the part, not the request."""
        try:
            action()
        except ArchiveError as error:
            self.fail(error)
        except Exception as error:
            log_failure("storing an instance failed", error)
            self.fail(ArchiveError("the instance could not be processed"))

    def _take(self, buffer: memoryview) -> None:
        if self._receiving is not None or self._spool is not None:
            self._write(buffer)
            return
        self._head += buffer
        if len(self._head) >= self._needed:
            self._open(at_end=False)

    def _open(self, *, at_end: bool) -> None:
        """Read the file meta information and let the dataset through, once all of it is here."""
        head = bytes(self._head)
        try:
            self.meta = read_received(head, at_end=at_end, announced=self._announced)
        except NeedMoreBytes as need:
            self._needed = need.minimum
            return
        self._head.clear()
        self._start = head[self.meta.dataset_offset :][:_START]
        if self._study is None and not self.meta.guessed:
            self._receiving = self._begin()
        else:
            self._spool = self._hold_back()
        self._write(memoryview(head)[self.meta.dataset_offset :])

    def _hold_back(self) -> PrivateFile:
        return PrivateFile(_IN_MEMORY, self._archive.settings.spool_dir)

    def _begin(self) -> Receiving:
        """Announce what the file meta information says, if the dataset says the same.

        Otherwise the archive takes the UIDs from the dataset: files whose meta information names another instance are
        common (edited by tools that forget it), and the dataset is what the file is about.
        """
        sop_class, sop_instance = self.meta.sop_class_uid, self.meta.sop_instance_uid
        if not (_says(self._start, _SOP_CLASS_UID, sop_class) and _says(self._start, _SOP_INSTANCE_UID, sop_instance)):
            sop_class = sop_instance = ""
        return self._archive.begin(
            self._source,
            sop_class_uid=sop_class,
            sop_instance_uid=sop_instance,
            transfer_syntax_uid=self.meta.transfer_syntax_uid,
        )

    def _write(self, buffer: memoryview) -> None:
        if self._receiving is not None:
            self._receiving.write(buffer)
        elif self._spool is not None:
            self._spool.write(buffer)

    def _check(self) -> None:
        if self._receiving is None and self._spool is None:
            self._open(at_end=True)
        if self._spool is not None:
            self._receiving = self._checked(self._spool)
        assert self._receiving is not None
        self.arrival = self._receiving.check()

    def _take_outcome(self, outcome: Receipt | Exception) -> None:
        if isinstance(outcome, Exception):
            raise outcome
        self.receipt = outcome

    def _checked(self, spool: PrivateFile) -> Receiving:
        """Hand over a held-back dataset, if it is of the study that the request names, and what it was taken for.

        Others are not held back. What is not of the study must not be stored, and the UID may stand behind megabytes of
        private elements; how pixel data are encoded shows where they begin.
        """

        def read(offset: int, length: int) -> bytes:
            spool.seek(offset)
            return spool.read(length)

        found = scan(read, spool.seek(0, 2), self.meta.transfer_syntax_uid, frozenset({_STUDY_INSTANCE_UID}))
        refuse_encapsulated(self.meta, found.pixel is not None and found.pixel.encapsulated)
        element = found.elements.get(_STUDY_INSTANCE_UID)
        if (
            self._study is not None
            and (element.value if element else b"").strip(b"\0 ").decode("ascii", "replace") != self._study
        ):
            raise SOPClassMismatch("StudyInstanceUID is not the one of the request")
        receiving = self._receiving = self._begin()
        spool.seek(0)
        while piece := spool.read(_PIECE):
            receiving.write(piece)
        spool.close()
        return receiving


def store_all(parts: Sequence[Part]) -> None:
    """Make durable and visible what was checked, as if one after the other; they share a flush if they can. Never
    raises, as `Part` does not."""
    sound = [(part, part._receiving) for part in parts if part.error is None and part._receiving is not None]
    try:
        outcomes = finish_all([receiving for _, receiving in sound])
    except Exception as error:
        outcomes = [error for _ in sound]
    for (part, _), outcome in zip(sound, outcomes, strict=True):
        part._guarded(partial(part._take_outcome, outcome))


def _says(start: bytes, tag: bytes, uid: str) -> bool:
    """Whether the beginning of a little endian dataset has this UID in this element (PS3.5 7.1.2, 7.1.3, 9.1)."""
    value = uid.encode("ascii", "replace")
    value += b"\0" * (len(value) % 2)
    explicit = tag + b"UI" + len(value).to_bytes(2, "little") + value
    implicit = tag + len(value).to_bytes(4, "little") + value
    return bool(uid) and (explicit in start or implicit in start)
