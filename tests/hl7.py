"""HL7 messages, settings of senders, and a running listener for tests."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hl7.client import MLLPClient

from archive.core import Archive
from archive.hl7.desk import Desk
from archive.hl7.listener import Listener
from archive.hl7.messages import Line, Wanted
from archive.worklist.listing import ItemSearch
from archive.worklist.rows import WorklistEntry
from config.hl7 import HL7Settings
from config.settings import Settings

SENDER: dict[str, Any] = {
    "name": "HIS1",
    "application": "HIS",
    "sending_facility": "BVDK",
    "facility": "86001",
    "modalities": {"XQ*": "DX", "CT*": "CT"},
    "messages": ["orders", "schedule", "patients", "merges", "results"],
}


def with_hl7(settings: Settings, *senders: dict[str, Any], **changes: Any) -> Settings:
    """These settings with HL7 on a free port of loopback."""
    given = {"enabled": True, "port": 0, "message_timeout": 5, **changes}
    hl7 = HL7Settings.model_validate({**given, "senders": [{**SENDER, **each} for each in senders or ({},)]})
    return settings.model_copy(update={"hl7": hl7})


def header(kind: str = "ORM^O01", control: str = "1", **changes: str) -> str:
    """MSH; changes are fields by number: ``f18="UNICODE UTF-8"``."""
    fields = ["|", "^~\\&", "HIS", "BVDK", "PACS", "SYT", "20261122083000", "", kind, control, "P", "2.5.1"]
    fields += [""] * 5 + ["UNICODE UTF-8"]
    for name, value in changes.items():
        fields[int(name[1:]) - 1] = value
    return "MSH" + fields[0] + "|".join(fields[1:])


PID = "PID|1||BN0001^^^BVDK^MR~079062000001^^^BCA^NI||NGUYỄN^ĐỨC^VĂN||19620512|M|||12 Lê Lợi^^TP. Sông Xanh"
PV1 = "PV1|1|O|KHOANOI^P2^G5||||BS1^LÊ^HOA|BS2^TRẦN^BÌNH"


def order(
    control: str = "1",
    *,
    what: str = "NW",
    accession: str = "A100",
    pid: str = PID,
    service: str = "CT01^Chụp CLVT sọ não^BYT",
    start: str = "20261122083000",
    status: str = "",
    **changes: str,
) -> str:
    """An ORM^O01 as a hospital sends it, segments ended by CR."""
    obr = [""] * 36
    obr[0], obr[1], obr[2], obr[3] = "1", f"PL{accession}", f"FL{accession}", service
    obr[17], obr[23], obr[35] = accession, "CT", start
    lines = [header("ORM^O01", control, **changes), pid, PV1, f"ORC|{what}|PL{accession}|FL{accession}||{status}"]
    return "".join(f"{line}\r" for line in (*lines, "OBR|" + "|".join(obr)))


def adt(event: str, control: str, *segments: str, **changes: str) -> str:
    """An ADT message."""
    return "".join(f"{line}\r" for line in (header(f"ADT^{event}", control, **changes), f"EVN|{event}|2026", *segments))


@contextmanager
def listening(archive: Archive) -> Iterator[Listener]:
    """The listener of this archive."""
    settings = archive.settings.hl7
    listener = Listener(settings, Desk(settings, archive.messages.inbox))
    listener.start()
    try:
        yield listener
    finally:
        listener.stop()


@contextmanager
def client(port: int) -> Iterator[MLLPClient]:
    """The client of the package hl7, which is none of ours."""
    with MLLPClient("127.0.0.1", port) as opened:
        opened.socket.settimeout(60)
        yield opened


def send(port: int, *messages: str | bytes) -> list[list[str]]:
    """Send by that client; of each answer the fields of MSA."""
    found = []
    with client(port) as peer:
        for message in messages:
            data = message.encode() if isinstance(message, str) else message
            answer = peer.send_message(data).decode()
            found.append(field_of(answer, "MSA"))
    return found


def field_of(answer: str, name: str) -> list[str]:
    """The fields of the first segment of this name; empty if there is none."""
    lines = (line.split("|") for line in answer.strip("\x0b\x1c\r\n").split("\r"))
    return next((line for line in lines if line[0] == name), [])


def read_frame(sock: socket.socket) -> bytes:
    """One frame of MLLP, without its frame."""
    data = b""
    while not data.endswith(b"\x1c\r"):
        more = sock.recv(65536)
        if not more:
            raise EOFError(data)
        data += more
    return data[1:-2]


def items(archive: Archive) -> list[WorklistEntry]:
    return archive.worklist.search(ItemSearch())[0]


def said(archive: Archive) -> dict[str, Any]:
    """The only item of the worklist as an order says it."""
    [item] = items(archive)
    return item.order()


def log(archive: Archive, **wanted: Any) -> list[Line]:
    """The message log, the oldest first."""
    return archive.messages.search(Wanted(limit=1000, **wanted))[::-1]
