"""Messages that we send: reports (ORU^R01) and what became of orders (HL7 v2.5.1 chapters 4 and 7)."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from archive.hl7 import charset
from archive.hl7.answer import stamp
from archive.hl7.message import escape
from config import clock
from config.hl7 import HL7Receiver, HL7Settings

ORDER_STATUS: Final[Mapping[str, str]] = {
    "SCHEDULED": "SC", "ARRIVED": "IP", "READY": "IP", "STARTED": "IP", "COMPLETED": "CM", "DISCONTINUED": "DC",
    "CANCELLED": "CA",
}  # fmt: skip
"""ORC-5 (HL7 table 0038) by the status of the worklist item."""
RESULT_STATUS: Final[Mapping[str, str]] = {
    "final": "F", "amended": "C", "addendum": "C", "cancelled": "X", "preliminary": "P",
}  # fmt: skip
"""OBR-25 (HL7 table 0123) by the kind of the version."""
FINDINGS: Final = ("59776-5", "Mô tả hình ảnh", "LN")
CONCLUSION: Final = ("19005-8", "Kết luận", "LN")
RECOMMENDATION: Final = ("18783-1", "Đề nghị", "LN")
STUDY: Final = ("113014", "DICOM Study", "DCM")
IMAGES: Final = ("IMAGES", "Xem hình ảnh", "L")
PRINTED: Final = ("PDF", "Bản in kết quả", "L")
_CHARSETS: Final = {"UTF-8": "UNICODE UTF-8", "windows-1258": "WINDOWS-1258", "ASCII": ""}


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom and what a message tells of."""

    patient_id: str
    issuer: str
    name: str
    """PN."""
    birth_date: str
    """YYYYMMDD."""
    sex: str
    study: str
    accession: str
    placer: str = ""
    filler: str = ""
    service: tuple[str, ...] = ()
    """Code, text and coding system."""
    modality: str = ""
    observed: str = ""
    """YYYYMMDDHHMMSS of the examination."""
    visit: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What a version of a report says."""

    number: str
    version: int
    kind: str
    findings: str
    conclusion: str
    recommendation: str
    author: str
    licence: str
    issued: datetime
    """On the clock of the hospitals."""
    link: str = ""
    pdf: bytes = b""


def composite(*parts: str) -> str:
    """A field of components."""
    return "^".join(escape(part) for part in parts).rstrip("^")


def report_message(settings: HL7Settings, receiver: HL7Receiver, subject: Subject, told: Told) -> tuple[str, bytes]:
    """ORU^R01 for a version of a report: its control ID and its bytes."""
    status = RESULT_STATUS[told.kind]
    of_each = "W" if status == "X" else status
    issued, author = stamp(told.issued), composite(told.licence, told.author)
    sections = [(FINDINGS, told.findings), (CONCLUSION, told.conclusion), (RECOMMENDATION, told.recommendation)]
    values = [("FT", code, escape(text)) for code, text in sections if text.strip()]
    values.append(("HD", STUDY, escape(subject.study)))
    if told.link:
        values.append(("RP", IMAGES, composite(told.link, settings.application, "TEXT", "HTML")))
    if told.pdf:
        encoded = base64.b64encode(told.pdf).decode("ascii")
        values.append(("ED", PRINTED, composite(settings.application, "AP", "PDF", "Base64", encoded)))
    lines = [
        *_patient(subject),
        _line("ORC", {1: "RE", 2: escape(subject.placer), 3: escape(subject.filler), 5: "CM", 9: issued}),
        _request(subject, {22: issued, 25: status, 32: author.replace("^", "&")}),
    ]
    for number, (kind, code, value) in enumerate(values, 1):
        # Several texts on one code would be told apart by OBX-4.
        observed = {1: str(number), 2: kind, 3: composite(*code), 4: "1", 5: value, 11: of_each, 14: issued, 16: author}
        lines.append(_line("OBX", observed))
    return _message(settings, receiver, ("ORU", "R01", "ORU_R01"), lines)


def order_message(settings: HL7Settings, receiver: HL7Receiver, subject: Subject, status: str) -> tuple[str, bytes]:
    """ORM^O01 or OMG^O19 that tells the status of an order: its control ID and its bytes."""
    kind, event = receiver.order_message.split("^")
    order = {1: "SC", 2: escape(subject.placer), 3: escape(subject.filler), 5: ORDER_STATUS[status]}
    lines = [*_patient(subject), _line("ORC", {**order, 9: stamp(clock.now())}), _request(subject, {})]
    return _message(settings, receiver, (kind, event, f"{kind}_{event}"), lines)


def _patient(subject: Subject) -> list[str]:
    family, given, middle, prefix, suffix = (*subject.name.partition("=")[0].split("^"), *[""] * 5)[:5]
    identity = {
        1: "1",
        3: f"{escape(subject.patient_id)}^^^{escape(subject.issuer)}^MR",
        5: composite(family, given, middle, suffix, prefix),
        7: subject.birth_date,
        8: subject.sex,
    }
    lines = [_line("PID", identity)]
    if subject.visit:
        lines.append(_line("PV1", {1: "1", 2: "U", 19: escape(subject.visit)}))
    return lines


def _request(subject: Subject, more: Mapping[int, str]) -> str:
    service = composite(*subject.service) or composite("", "Chẩn đoán hình ảnh")
    fields = {1: "1", 2: escape(subject.placer), 3: escape(subject.filler), 4: service, 7: subject.observed}
    return _line("OBR", {**fields, 18: escape(subject.accession), 24: subject.modality, **more})


def _line(name: str, fields: Mapping[int, str]) -> str:
    return "|".join((name, *(fields.get(number, "") for number in range(1, max(fields) + 1)))).rstrip("|")


def _message(
    settings: HL7Settings, receiver: HL7Receiver, kind: Sequence[str], lines: Sequence[str]
) -> tuple[str, bytes]:
    control = uuid.uuid4().hex[:20]
    named = "^".join(kind if receiver.version >= "2.4" else kind[:2])
    head: dict[int, str] = {
        2: "^~\\&",
        3: escape(settings.application),
        4: escape(settings.facility),
        5: escape(receiver.application),
        6: escape(receiver.receiving_facility),
        7: stamp(clock.now()),
        9: named,
        10: control,
        11: "P",
        12: receiver.version,
        18: _CHARSETS[receiver.character_set],
    }
    if receiver.mode == "enhanced":
        head |= {15: "AL", 16: "NE"}
    header = "MSH|" + _line("", {number - 1: value for number, value in head.items()}).removeprefix("|")
    whole = "".join(f"{line}\r" for line in (header, *lines))
    return control, charset.encode(whole, receiver.character_set)


def service_of(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Code, text and coding system of what an order asks for, from the attributes of a worklist item."""

    def first(found: Mapping[str, Any], key: str) -> Any:
        values = found.get(key, {}).get("Value") or [""]
        return values[0]

    code = first(attributes, "00321064") or {}
    text = str(first(attributes, "00321060"))
    if not isinstance(code, dict) or not code:
        return ("", text)
    parts = (str(first(code, key)) for key in ("00080100", "00080104", "00080102"))
    value, meaning, scheme = parts
    return (value, meaning or text, scheme)
