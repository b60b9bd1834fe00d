"""A DiagnosticReport made of a version of a report that was given out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final

from archive.fhir.context import Context
from archive.fhir.datatypes import (
    code,
    date_time,
    identifier,
    instant,
    practitioner,
    reference,
    text,
    without_empty,
)
from archive.fhir.terms import LOINC, REPORT_STATUS, URI, V2_0074, V2_0203, Json, coding, concept

_RADIOLOGY: Final = concept(
    coding(V2_0074, "RAD", "Radiology"), coding(LOINC, "LP29684-5", "Radiology"), text="Chẩn đoán hình ảnh"
)
_IMAGING: Final = coding(LOINC, "18748-4", "Diagnostic imaging study")
_PARTS: Final = (("Mô tả", "description"), ("Kết luận", "conclusion"), ("Đề nghị", "recommendation"))


def diagnostic_report(row: Any, orders: Sequence[int], context: Context) -> Json:
    """The resource. `row` has version, report and study; `orders` are those of the study."""
    kind = concept(coding(V2_0203, "MD", "Medical License number"))
    licence = identifier(context.own("practising-licence"), row.author_licence, type=kind)
    author = practitioner("author", row.author_name, [licence])
    writer = reference("Organization", row.writer, context.facilities.get(row.writer, ""))
    return without_empty(
        {
            "resourceType": "DiagnosticReport",
            "id": row.number,
            "meta": context.meta("DiagnosticReport", instant(row.issued_at), str(row.version)),
            "text": _narrative(row),
            "contained": [author] if author else [],
            "extension": _extensions(row, context),
            "identifier": _identifiers(row, context),
            "basedOn": [reference("ServiceRequest", order) for order in orders],
            "status": REPORT_STATUS[row.status],
            "category": [_RADIOLOGY],
            "code": _code(row, context),
            "subject": reference("Patient", row.patient_id),
            "effectiveDateTime": date_time(row.study_date, row.study_time),
            "issued": instant(row.issued_at),
            "performer": [writer],
            "resultsInterpreter": [{"reference": "#author"}] if author else [],
            "imagingStudy": [reference("ImagingStudy", row.study_instance_uid)],
            "conclusion": conclusion(row),
            "presentedForm": [_form(row, context)],
        }
    )


def binary_id(number: str, version: int) -> str:
    """Under which the printed form of a version is read."""
    return f"{number}.{version}"


def conclusion(row: Any) -> str:
    """The conclusion with all that was added to it later."""
    added = [f"Bổ sung ({str(each['at'])[:16].replace('T', ' ')}): {each['text']}" for each in row.addenda]
    return text("\n".join(filter(None, (row.conclusion, *added))))


def _extensions(row: Any, context: Context) -> list[Json]:
    parts = {"description": row.description, "recommendation": row.recommendation, "reason": row.reason}
    said = {name: text(each) for name, each in parts.items()}
    return [{"url": context.own(f"report-{name}"), "valueString": each} for name, each in said.items() if each]


def _identifiers(row: Any, context: Context) -> list[Json]:
    found = [identifier(URI, f"urn:uuid:{row.number}", use="official")]
    found.append(identifier(context.own(f"report:{row.writer}"), row.external or ""))
    return [each for each in found if each]


def _code(row: Any, context: Context) -> Json:
    subject = row.subject or {}
    value, described = code(str(subject.get("procedure_code", ""))), text(subject.get("procedure", ""))
    local = without_empty({"system": context.own(f"procedure:{row.owner}"), "code": value, "display": described})
    return concept(_IMAGING, *([local] if value else []), text=described)


def _narrative(row: Any) -> Json:
    parts = []
    for title, name in _PARTS:
        said = conclusion(row) if name == "conclusion" else text(getattr(row, name))
        if said:
            lines = "<br/>".join(map(escape, said.split("\n")))
            parts.append(f"<p><b>{title}</b></p><p>{lines}</p>")
    body = "".join(parts) or "<p>(trống)</p>"
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml" lang="vi">{body}</div>'}


def _form(row: Any, context: Context) -> Json:
    return {
        "contentType": "application/pdf",
        "language": "vi",
        "url": f"{context.base}/Binary/{binary_id(row.number, row.version)}",
        "title": "Kết quả chẩn đoán hình ảnh",
        "creation": instant(row.issued_at),
    }
