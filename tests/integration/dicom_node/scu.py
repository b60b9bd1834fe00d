"""Clients that ask: pynetdicom in this process, DCMTK as programs."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from tests.integration.dicom_node.running import Node

PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY = (f"1.2.840.10008.5.1.4.1.2.{n}." for n in (1, 2, 3))
FIND, MOVE, GET = "1", "2", "3"
EXPLICIT, IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"

C_CANCEL = bytes.fromhex("00000001 02000000 ff0f")
"""The Command Field of a C-CANCEL-RQ (PS3.7 E.1-1), as it goes over the wire."""


def identifier(level: str, **keys: Any) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


@contextmanager
def associated(
    node: Node,
    contexts: Sequence[tuple[str, str]],
    *,
    calling: str = "CT1",
    extended: dict[str, bytes] | None = None,
    negotiation: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
) -> Iterator[Association]:
    """A pynetdicom association with these contexts, one for each pair of SOP class and transfer syntax."""
    ae = AE(ae_title=calling)
    for sop_class, syntax in contexts:
        ae.add_requested_context(sop_class, syntax)
    items = list(negotiation)
    for uid, information in (extended or {}).items():
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid, item.service_class_application_information = uid, information
        items.append(item)
    association = ae.associate(
        "127.0.0.1", node.port, ae_title="PACS", ext_neg=items or None, evt_handlers=list(handlers)
    )
    assert association.is_established
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        ae.shutdown()


def find(
    node: Node,
    asked: Dataset,
    *,
    root: str = STUDY_ROOT,
    syntax: str = EXPLICIT,
    calling: str = "CT1",
    extended: bytes = b"",
) -> tuple[list[Dataset], int, set[int]]:
    """Matches, final status, and the statuses of the pending responses."""
    model = root + FIND
    with associated(
        node, [(model, syntax)], calling=calling, extended={model: extended} if extended else None
    ) as association:
        matches, pending, final = [], set(), -1
        for status, match in association.send_c_find(asked, model):
            final = status.Status
            if final in (0xFF00, 0xFF01):
                pending.add(final)
                matches.append(match)
    return matches, final, pending


@dataclass
class Found:
    """What findscu got and said."""

    responses: list[Dataset]
    output: str
    code: int


def findscu(
    node: Node, folder: Path, *keys: str, root: str = "-S", options: Sequence[str] = (), query: Path | None = None
) -> Found:
    """Run DCMTK's findscu, with keys or a query file; its responses as files are read back."""
    folder.mkdir(exist_ok=True)
    command = ["findscu", "-v", root, "-aet", "CT1", "-aec", "PACS", "-X", "-od", str(folder), *options]
    for key in keys:
        command += ["-k", key]
    command += ["127.0.0.1", str(node.port), *([str(query)] if query else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    responses = [dcmread(path, force=True) for path in sorted(folder.glob("rsp*.dcm"))]
    return Found(responses, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr), done.returncode)


def cancellation_sent() -> tuple[threading.Event, tuple[Any, Any]]:
    """Is set once a C-CANCEL-RQ lies in the node's socket, for pynetdicom sends on another thread; and the handler."""
    sent = threading.Event()

    def note(event: Event) -> None:
        if C_CANCEL in event.data:
            sent.set()

    return sent, (evt.EVT_DATA_SENT, note)
