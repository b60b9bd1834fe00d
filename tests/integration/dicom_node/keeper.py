"""Another archive that can be asked to commit: pynetdicom in this process, well-behaved or not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association

from tests.integration.dicom_node.committing import COMMITMENT, WELL_KNOWN
from tests.integration.dicom_node.peer import EXPLICIT


def all_kept(asked: Dataset) -> tuple[int, Dataset]:
    """Everything is committed."""
    result = Dataset()
    result.TransactionUID = asked.TransactionUID
    result.ReferencedSOPSequence = asked.ReferencedSOPSequence
    return 1, result


def kept_but(*failed: str, reason: int | None = 0x0112) -> Callable[[Dataset], tuple[int, Dataset]]:
    """Everything but these instances."""

    def answer(asked: Dataset) -> tuple[int, Dataset]:
        _, result = all_kept(asked)
        result.ReferencedSOPSequence = []
        result.FailedSOPSequence = []
        for item in asked.ReferencedSOPSequence:
            if item.ReferencedSOPInstanceUID in failed:
                if reason is not None:
                    item.FailureReason = reason
                result.FailedSOPSequence.append(item)
            else:
                result.ReferencedSOPSequence.append(item)
        return 2, result

    return answer


@dataclass
class Keeper:
    """Answers N-ACTIONs with these statuses (then 0000), and reports as `answer` says."""

    answer: Callable[[Dataset], tuple[int, Dataset]] = all_kept
    statuses: list[int] = field(default_factory=list)
    here: bool = True
    """Report on the same association at once; else keep the request for `report_to`."""
    asked: list[Dataset] = field(default_factory=list)
    came: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    responses: list[int] = field(default_factory=list)
    """Statuses of the responses to reports."""
    instance: str = WELL_KNOWN

    def __call__(self, event: evt.Event) -> tuple[int, None]:
        status = self.statuses.pop(0) if self.statuses else 0x0000
        information = event.action_information
        self.asked.append(information)
        if status == 0 and self.here:
            threading.Thread(target=self.report, args=(event.assoc, information)).start()
        self.came.release()
        return status, None

    def report(self, association: Association, asked: Dataset) -> None:
        kind, information = self.answer(asked)
        status, _ = association.send_n_event_report(information, kind, COMMITMENT, self.instance)
        self.responses.append(int(status.Status) if "Status" in status else -1)

    def report_to(self, port: int, asked: Dataset | None = None, *, calling: str = "KEEPER", role: bool = True) -> int:
        """Report on an association to the node; give the status of the response."""
        ae = AE(ae_title=calling)
        ae.add_requested_context(COMMITMENT, EXPLICIT)
        roles = [build_role(COMMITMENT, scp_role=True, scu_role=not role)]
        association = ae.associate("127.0.0.1", port, ae_title="PACS", ext_neg=roles)
        assert association.is_established
        self.report(association, self.asked[-1] if asked is None else asked)
        association.release()
        ae.shutdown()
        return self.responses[-1]


@contextmanager
def keeping(
    keeper: Keeper, contexts: Sequence[str] = (COMMITMENT,), *, ae_title: str = "KEEPER", port: int = 0
) -> Iterator[int]:
    """The keeper as a server; give its port."""
    ae = AE(ae_title=ae_title)
    for context in contexts:
        ae.add_supported_context(context, EXPLICIT)
    handlers: list[Any] = [(evt.EVT_N_ACTION, keeper)]
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        yield int(server.socket.getsockname()[1])
    finally:
        server.shutdown()
