"""Clients that ask an archive and cost little: QIDO-RS on a kept connection, C-FIND on a kept association.

`TCP_NODELAY` and quick acknowledgements as in `benchmarks.sender`. Identifiers are encoded before the clock starts.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import struct
import time
from typing import Final, NamedTuple, Protocol
from urllib.parse import quote, urlencode

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from benchmarks.questions import Question
from benchmarks.sender import associate, element, pdus

_STUDY_ROOT: Final = "1.2.840.10008.5.1.4.1.2.2.1"
_EXPLICIT: Final = "1.2.840.10008.1.2.1"
_PENDING: Final = (0xFF00, 0xFF01)
_CANCELLED: Final = 0xFE00
_RETURNED: Final = {
    "STUDY": "StudyDate StudyTime AccessionNumber ModalitiesInStudy PatientName PatientID PatientBirthDate PatientSex"
    " StudyInstanceUID StudyDescription ReferringPhysicianName NumberOfStudyRelatedSeries"
    " NumberOfStudyRelatedInstances",
    "SERIES": "StudyInstanceUID SeriesInstanceUID Modality SeriesNumber SeriesDescription BodyPartExamined"
    " NumberOfSeriesRelatedInstances",
    "IMAGE": "StudyInstanceUID SeriesInstanceUID SOPInstanceUID SOPClassUID InstanceNumber Rows Columns NumberOfFrames",
}


class Answer(NamedTuple):
    seconds: float
    matches: int


class Client(Protocol):
    """Asks one question after the other."""

    def ask(self, question: Question) -> Answer:
        """Raises `SystemExit` for an answer that is none."""

    def close(self) -> None: ...


class Qido:
    """QIDO-RS, as the root of a DICOMweb service has it."""

    def __init__(self, port: int, token: str = "") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._headers = {"Accept": "application/dicom+json", "Accept-Encoding": "identity"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def ask(self, question: Question) -> Answer:
        path = address(question)
        started = time.perf_counter()
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        seconds = time.perf_counter() - started
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {body[:300]!r}")
        return Answer(seconds, len(json.loads(body)))

    def close(self) -> None:
        self._connection.close()


def address(question: Question) -> str:
    """The path and query of a question by QIDO-RS."""
    keys, path = dict(question.keys), "/dicom-web/studies"
    if question.level == "SERIES":
        path = f"{path}/{keys.pop('StudyInstanceUID')}/series" if "StudyInstanceUID" in keys else "/dicom-web/series"
    if question.level == "IMAGE":
        if "SeriesInstanceUID" in keys and "StudyInstanceUID" in keys:
            path = f"{path}/{keys.pop('StudyInstanceUID')}/series/{keys.pop('SeriesInstanceUID')}/instances"
        else:
            study = keys.pop("StudyInstanceUID", "")
            path = f"{path}/{study}/instances" if study else "/dicom-web/instances"
    more = {"limit": str(question.limit), **({"offset": str(question.offset)} if question.offset else {})}
    return f"{path}?{urlencode({**keys, **question.options, **more}, quote_via=quote)}"


class Finder:
    """C-FIND on one association, of the Study Root model with relational queries."""

    def __init__(self, port: int, calling: str, called: str = "PACS") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = io.BufferedReader(socket.SocketIO(self._socket, "r"), 1 << 16)
        self._number = 0
        self._socket.sendall(
            associate(called, {(_STUDY_ROOT, _EXPLICIT): 1}, calling=calling, extended={_STUDY_ROOT: b"\1"})
        )
        kind, body = self._receive()
        if kind != 2:
            raise SystemExit(f"{calling}: association not accepted (PDU type {kind}, {body[:4].hex()})")

    def ask(self, question: Question) -> Answer:
        self._number = self._number % 65535 + 1
        command = self._command(0x0020, 0x0110, data=True)
        request = pdus(1, command, 1) + pdus(1, identifier(question), 0)
        started = time.perf_counter()
        self._socket.sendall(request)
        found, cancelled = 0, False
        while (status := self._status()) in _PENDING:
            found += 1
            if question.cut and found == question.limit and not cancelled:
                self._socket.sendall(pdus(1, self._command(0x0FFF, 0x0120, data=False), 1))
                cancelled = True
        seconds = time.perf_counter() - started
        if status not in (0, _CANCELLED):
            raise SystemExit(f"C-FIND {question.kind}: status {status:04X}")
        return Answer(seconds, found)

    def close(self) -> None:
        self._socket.sendall(struct.pack(">BxII", 5, 4, 0))
        self._receive()
        self._socket.close()

    def _command(self, field: int, message: int, *, data: bool) -> bytes:
        command = element(0x0100, struct.pack("<H", field)) + element(message, struct.pack("<H", self._number))
        if data:
            uid = element(0x0002, _STUDY_ROOT.encode())
            command = uid + command + element(0x0700, b"\0\0")
        command += element(0x0800, b"\0\0" if data else b"\1\1")
        return element(0, struct.pack("<I", len(command))) + command

    def _status(self) -> int:
        """The status of the next response, its identifier read and left."""
        status = -1
        while True:
            kind, body = self._receive()
            if kind != 4:
                raise SystemExit(f"PDU type {kind} instead of a response")
            offset, last_of_data, has_data = 0, False, False
            while offset < len(body):
                (length,) = struct.unpack_from(">I", body, offset)
                control = body[offset + 5]
                if control & 1:
                    status, has_data = _read_command(body[offset + 6 : offset + 4 + length])
                else:
                    last_of_data = bool(control & 2)
                offset += 4 + length
            if last_of_data or (status >= 0 and not has_data and status not in _PENDING):
                return status

    def _receive(self) -> tuple[int, bytes]:
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        kind, length = struct.unpack(">BxI", self._buffer.read(6))
        return kind, self._buffer.read(length)


def _read_command(data: bytes) -> tuple[int, bool]:
    """Status, and whether a dataset follows."""
    offset, status, follows = 0, -1, False
    while offset + 8 <= len(data):
        group, number, length = struct.unpack_from("<HHI", data, offset)
        if (group, number) == (0, 0x0900):
            (status,) = struct.unpack_from("<H", data, offset + 8)
        if (group, number) == (0, 0x0800):
            follows = struct.unpack_from("<H", data, offset + 8)[0] != 0x0101
        offset += 8 + length
    return status, follows


def identifier(question: Question) -> bytes:
    """The identifier of a question by C-FIND: its keys, and what a workstation shows of each match."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.QueryRetrieveLevel = question.level
    for keyword in _RETURNED[question.level].split():
        setattr(dataset, keyword, None if dictionary_VR(keyword) in ("IS", "US") else "")
    for keyword, value in question.keys.items():
        setattr(dataset, keyword, value)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, dataset)
    return buffer.getvalue()
