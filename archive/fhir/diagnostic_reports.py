"""Reports in the index, as DiagnosticReport: what was given out, never a draft."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, false, or_, select
from sqlalchemy.orm import aliased

from archive.access import visible
from archive.errors import InvalidQuery
from archive.fhir import patients, service_requests
from archive.fhir.conditions import Condition, Days, Instants
from archive.fhir.diagnostic_report import diagnostic_report
from archive.fhir.kind import Kind, Rows, parameters
from archive.fhir.parameters import R5, Asking, Key, Parameter, Sort, dates, references, texts, tokens
from archive.fhir.terms import LOINC, REPORT_STATUS, URI, V2_0074, Json
from archive.fhir.values import Token
from archive.models import Facility, Patient, Study
from archive.records import Scope
from archive.reports.models import Report, ReportVersion
from archive.standard.text import fold

_UUID: Final = "urn:uuid:"
_WRITER: Final = aliased(Facility)
_OWNER: Final = aliased(Facility)


def _given_out(scope: Scope, *conditions: ColumnElement[bool]) -> Select[Any]:
    """Versions that were given out, of studies that the caller may see. Holders of links get signed ones."""
    columns = (
        *(Report.number, ReportVersion.number.label("version"), ReportVersion.status, ReportVersion.description),
        *(ReportVersion.conclusion, ReportVersion.recommendation, ReportVersion.addenda, ReportVersion.author_name),
        *(ReportVersion.author_licence, ReportVersion.reason, ReportVersion.subject, ReportVersion.issued_at),
        *(Report.external, Report.study_id, Study.study_instance_uid, Study.patient_id, Study.study_date),
        *(Study.study_time, _WRITER.code.label("writer"), _OWNER.code.label("owner")),
    )
    hidden = ("draft",) if scope.link is None else ("draft", "preliminary")
    return (
        select(*columns)
        .select_from(ReportVersion)
        .join(Report, Report.id == ReportVersion.report_id)
        .join(Study, Study.id == Report.study_id)
        .join(_WRITER, _WRITER.id == Report.facility_id)
        .join(_OWNER, _OWNER.id == Study.facility_id)
        .where(visible(scope.shape), Study.quarantine == "", ReportVersion.status.not_in(hidden), *conditions)
    )


class DiagnosticReports:
    """The current version of each report that was given out."""

    def statement(self, asking: Asking) -> Select[Any]:
        """See `archive.fhir.kind.Source`."""
        return _given_out(asking.scope, ReportVersion.number == Report.version)

    def by_ids(self, ids: Sequence[str]) -> Condition:
        """See `archive.fhir.kind.Source`."""
        return _is(Report.number.in_(list(ids)))

    def resources(self, asking: Asking, rows: Rows) -> list[Json]:
        """With the orders of their studies."""
        orders = service_requests.of_studies(asking, sorted({row.study_id for row in rows}))
        return [diagnostic_report(row, orders.get(row.study_id, ()), asking.context) for row in rows]


def versions(asking: Asking, number: str, version: int | None = None) -> list[Json]:
    """All versions of a report that were given out, or the one with this number; the latest first."""
    statement = _given_out(asking.scope, Report.number == number).order_by(ReportVersion.number.desc())
    if version is not None:
        statement = statement.where(ReportVersion.number == version)
    return DiagnosticReports().resources(asking, asking.reader.fetch(asking.scope, statement))


def _identified(asking: Asking, wanted: Token) -> Condition:
    own = asking.context.own("report:")
    by_number = _is(Report.number == wanted.code.removeprefix(_UUID))
    by_external = _is(Report.external == wanted.code)
    if not wanted.code:
        raise InvalidQuery("an identifier is searched by its value")
    if wanted.system is None:
        return or_(by_number, by_external)
    if wanted.system == URI:
        return by_number
    if wanted.system.startswith(own):
        return and_(by_external, _WRITER.code == wanted.system.removeprefix(own))
    return false()


def _status(_: Asking, wanted: Token) -> Condition:
    return _is(ReportVersion.status.in_([name for name, status in REPORT_STATUS.items() if status == wanted.code]))


def _category(_: Asking, wanted: Token) -> Condition:
    known = {(V2_0074, "RAD"), (LOINC, "LP29684-5")}
    fits = any(wanted.system in (None, system) and wanted.code in ("", code) for system, code in known)
    return _is(Report.id.is_not(None)) if fits else false()


def _code(asking: Asking, wanted: Token) -> Condition:
    if wanted.code == "18748-4" and wanted.system in (None, LOINC):
        return _is(Report.id.is_not(None))
    own = asking.context.own("procedure:")
    by_code = _is(ReportVersion.subject["procedure_code"].astext == wanted.code)
    if wanted.system is None:
        return by_code
    return and_(by_code, _OWNER.code == wanted.system.removeprefix(own)) if wanted.system.startswith(own) else false()


def _studies(_: Asking, ids: Sequence[str]) -> Condition:
    return _is(Study.study_instance_uid.in_(list(ids)))


def _based_on(asking: Asking, ids: Sequence[str]) -> Condition:
    return service_requests.studies_of(asking, ids)


def _performer(_: Asking, ids: Sequence[str]) -> Condition:
    return _is(_WRITER.code.in_(list(ids)))


def _interpreter(asking: Asking, wanted: Token) -> Condition:
    if wanted.system not in (None, asking.context.own("practising-licence")):
        return false()
    return and_(ReportVersion.author_licence == wanted.code, ReportVersion.author_licence != "")


def _patient(_: Asking, ids: Sequence[str]) -> Condition:
    return patients.numbered(Study.patient_id, ids)


def _patient_identifier(asking: Asking, wanted: Token) -> Condition:
    return _is(Study.patient_id.in_(select(Patient.id).where(patients.identified(asking, wanted))))


def _author(_: Asking, value: str, modifier: str) -> Condition:
    del modifier
    if not fold(value):
        raise InvalidQuery("a name to search for has letters")
    return _is(ReportVersion.author_name.ilike(f"%{value.replace('%', '').replace('_', '')}%"))


def _is(condition: Any) -> Condition:
    found: Condition = condition
    return found


def _refers(element: str) -> Any:
    def follow(resource: Json) -> list[str]:
        found = resource.get(element) or []
        return [each["reference"] for each in (found if isinstance(found, list) else [found])]

    return follow


_OF_PATIENT: Final = references(("Patient",), _patient, _patient_identifier)
_CHAIN: Final = {name: patients.of_patients(Study.patient_id, build) for name, build in patients.CHAIN.items()}
_NOBODY: Final = references(("Practitioner",), lambda _, __: false(), _interpreter)
_SUBJECT: Final = _refers("subject")

KIND: Final = Kind(
    name="DiagnosticReport",
    about="A report: its latest version that was given out. Earlier ones by `_history`. Never a draft.",
    source=DiagnosticReports(),
    parameters=parameters(
        Parameter(
            "based-on",
            "reference",
            "The order",
            references(("ServiceRequest",), _based_on),
            targets=("ServiceRequest",),
            follow=_refers("basedOn"),
        ),
        Parameter("category", "token", "`RAD`, always", tokens(_category)),
        Parameter("code", "token", "Code of the procedure", tokens(_code)),
        Parameter(
            "date", "date", "When the study was begun", dates(Days(Study.study_date, Study.study_time)), ("missing",)
        ),
        Parameter("identifier", "token", "Its UUID, or its name in the system that sent it", tokens(_identified)),
        Parameter("issued", "date", "When this version was given out", dates(Instants(ReportVersion.issued_at))),
        Parameter("patient", "reference", "The patient", _OF_PATIENT, ("identifier",), ("Patient",), _CHAIN, _SUBJECT),
        Parameter(
            "performer",
            "reference",
            "The facility that reports",
            references(("Organization",), _performer),
            targets=("Organization",),
            follow=_refers("performer"),
        ),
        Parameter(
            "results-interpreter",
            "reference",
            "Who reports, who is contained: by `:identifier` (practising licence) or `.name`",
            _NOBODY,
            ("identifier",),
            ("Practitioner",),
            {"name": texts(_author)},
        ),
        Parameter("status", "token", "Status of this version", tokens(_status), ("not",)),
        Parameter("subject", "reference", "The patient", _OF_PATIENT, ("identifier",), ("Patient",), _CHAIN, _SUBJECT),
        Parameter(
            "study",
            "reference",
            "The study",
            references(("ImagingStudy",), _studies),
            targets=("ImagingStudy",),
            follow=_refers("imagingStudy"),
            definition=f"{R5}/DiagnosticReport-study",
        ),
        Parameter("_lastUpdated", "date", "The same as `issued`", dates(Instants(ReportVersion.issued_at))),
    ),
    sorts={
        "issued": Sort((Key(ReportVersion.issued_at), Key(ReportVersion.id))),
        "_lastUpdated": Sort((Key(ReportVersion.issued_at), Key(ReportVersion.id))),
        "_id": Sort((Key(Report.number),)),
    },
    default_sort="-issued",
    summary=frozenset(
        (
            *(
                "identifier",
                "basedOn",
                "status",
                "category",
                "code",
                "subject",
                "encounter",
                "effectiveDateTime",
                "issued",
            ),
            *("performer", "resultsInterpreter", "media"),
        )
    ),
    required=frozenset(("status", "code")),
)
