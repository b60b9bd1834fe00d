"""Objects that threads finish at the same moment, one each, so that they are one group."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

from pydicom.dataset import Dataset

from archive.core import Archive
from archive.index_writer import Added
from archive.receiving import Receiving
from archive.records import Outcome, Receipt
from tests.factories import ct_image
from tests.integration.archive.support import begun

Told = Receipt | BaseException


class HeldUp:
    """The thread of the first object; the others wait for it until `go`."""

    def __init__(self, archive: Archive) -> None:
        self._finishing = archive._ingest._finishing
        self._finish_all = self._finishing._finish_all
        self._begun, self.go = Event(), Event()
        self._finishing._finish_all = self._hold
        self._threads = ThreadPoolExecutor(32)
        self.told = self._threads.submit(finish, begun(archive, ct_image()))
        assert self._begun.wait(120)

    def _hold(self, receivings: Sequence[Receiving]) -> list[Added | Exception]:
        self._finishing._finish_all = self._finish_all
        found = self._finish_all(receivings)
        self._begun.set()
        assert self.go.wait(120)
        return found

    def others(self, receivings: Sequence[Receiving]) -> list[Told]:
        """What came of objects that a thread each finishes, in this order and all at once."""
        found: list[Future[Told]] = []
        try:
            for count, each in enumerate(receivings, 1):
                found.append(self._threads.submit(finish, each))
                while len(self._finishing._group._queue) < count:
                    assert not found[-1].done(), found[-1].result()
        finally:
            self.go.set()
        told = [each.result(120) for each in found]
        assert outcomes([self.told.result(120)]) == [Outcome.STORED]
        self._threads.shutdown()
        return told


def finish(receiving: Receiving) -> Told:
    try:
        with receiving:
            return receiving.finish()
    except BaseException as error:
        return error


def at_once(archive: Archive, datasets: Sequence[Dataset]) -> list[Told]:
    receivings = [begun(archive, each) for each in datasets]
    return HeldUp(archive).others(receivings)


def outcomes(told: Sequence[Told]) -> list[Outcome | type[BaseException]]:
    return [each.outcome if isinstance(each, Receipt) else type(each) for each in told]


def held_keys(archive: Archive) -> int:
    """Keys that nobody gave back."""
    return sum(block.held for block in archive._keys._blocks.values())
