"""Studies in the index, as ImagingStudy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Select, and_, false, or_, select

from archive.access import visible, visible_series
from archive.errors import InvalidQuery
from archive.fhir import patients, service_requests
from archive.fhir.conditions import Condition, Days, Instants
from archive.fhir.imaging_study import imaging_study
from archive.fhir.kind import Kind, Rows, parameters
from archive.fhir.parameters import Asking, Key, Parameter, Sort, dates, references, texts, tokens
from archive.fhir.terms import BODY_PARTS, DCM, DICOM_UID, SNOMED, Json
from archive.fhir.values import Token
from archive.models import Facility, Instance, Patient, Series, Study
from archive.name_conditions import folded_name
from archive.standard.text import fold

_OID: Final = "urn:oid:"


class ImagingStudies:
    """Studies that the caller may see."""

    def statement(self, asking: Asking) -> Select[Any]:
        """See `archive.fhir.kind.Source`."""
        columns = (
            *(Study.id, Study.study_instance_uid, Study.patient_id, Study.study_date, Study.study_time),
            *(Study.accession_number, Study.study_description, Study.attributes, Study.modalities_in_study),
            *(Study.series_count, Study.instance_count, Study.updated_at, Facility.code.label("owner")),
        )
        return select(*columns).join(Facility, Facility.id == Study.facility_id).where(visible(asking.scope.shape))

    def by_ids(self, ids: Sequence[str]) -> Condition:
        """See `archive.fhir.kind.Source`."""
        found: Condition = Study.study_instance_uid.in_(list(ids))
        return found

    def resources(self, asking: Asking, rows: Rows) -> list[Json]:
        """With their series, and the orders that they were made for."""
        ids = [row.id for row in rows]
        series = _series(asking, ids)
        orders = service_requests.of_studies(asking, ids)
        return [imaging_study(row, series[row.id], orders.get(row.id, ()), asking.context) for row in rows]


def _series(asking: Asking, studies: list[int]) -> dict[int, list[Any]]:
    columns = (
        *(Series.study_id, Series.series_instance_uid, Series.modality, Series.series_number, Series.attributes),
        *(Series.series_description, Series.body_part_examined, Series.instance_count),
    )
    scope = asking.scope.shape
    statement = (
        select(*columns)
        .join(Study, Study.id == Series.study_id)
        .where(Study.id.in_(studies), visible(scope), visible_series(scope))
        .order_by(Series.study_id, Series.series_number, Series.id)
    )
    found: dict[int, list[Any]] = defaultdict(list)
    for row in asking.reader.fetch(asking.scope, statement) if studies else ():
        found[row.study_id].append(row)
    return found


def identified(asking: Asking, wanted: Token) -> Condition:
    """By Study Instance UID, with ``urn:oid:`` or without, and by accession number."""
    uid = wanted.code.removeprefix(_OID)
    own = asking.context.accession_system("")
    if not wanted.code:
        raise InvalidQuery("an identifier is searched by its value")
    by_accession = and_(Study.accession_number == wanted.code, Study.accession_number != "")
    if wanted.system is None:
        return or_(Study.study_instance_uid == uid, by_accession)
    if wanted.system == DICOM_UID:
        return _is(Study.study_instance_uid == uid)
    if wanted.system.startswith(own):
        code = wanted.system.removeprefix(own)
        return and_(by_accession, Study.facility_id.in_(select(Facility.id).where(Facility.code == code)))
    return false()


def _modality(_: Asking, wanted: Token) -> Condition:
    if wanted.system not in (None, DCM):
        return false()
    return _is(Study.modalities_in_study.overlap([wanted.code]))


def _of_series(condition: Condition) -> Condition:
    return select(1).where(Series.study_id == Study.id, Series.instance_count > 0, condition).correlate(Study).exists()


def _body_site(asking: Asking, wanted: Token) -> Condition:
    words = {word for word, (code, _) in BODY_PARTS.items() if code == wanted.code}
    if wanted.system == SNOMED:
        return _of_series(Series.body_part_examined.in_(words)) if words else false()
    if wanted.system not in (None, asking.context.own("body-part-examined")):
        return false()
    if wanted.system is None:
        words.add(wanted.code)
    else:
        words = {wanted.code}
    return _of_series(Series.body_part_examined.in_(words))


def _series_uid(_: Asking, wanted: Token) -> Condition:
    uid = wanted.code.removeprefix(_OID)
    shown = and_(Series.series_instance_uid == uid, Series.instance_count > 0)
    return _is(Study.id.in_(select(Series.study_id).where(shown)))


def _instance_uid(_: Asking, wanted: Token) -> Condition:
    uid = wanted.code.removeprefix(_OID)
    shown = and_(Instance.sop_instance_uid == uid, Instance.hidden == 0)
    return _is(Study.id.in_(select(Series.study_id).join(Instance, Instance.series_id == Series.id).where(shown)))


def _sop_class(_: Asking, wanted: Token) -> Condition:
    return _is(Study.sop_classes_in_study.overlap([wanted.code.removeprefix(_OID)]))


def _status(_: Asking, wanted: Token) -> Condition:
    return _is(Study.id.is_not(None)) if wanted.code == "available" else false()


def _patient(_: Asking, ids: Sequence[str]) -> Condition:
    return patients.numbered(Study.patient_id, ids)


def _patient_identifier(asking: Asking, wanted: Token) -> Condition:
    return _is(Study.patient_id.in_(select(Patient.id).where(patients.identified(asking, wanted))))


def _endpoint(_: Asking, ids: Sequence[str]) -> Condition:
    return _is(Study.id.is_not(None)) if {"dicomweb", "viewer"} & {*ids} else false()


def _performer(_: Asking, ids: Sequence[str]) -> Condition:
    return _is(Study.facility_id.in_(select(Facility.id).where(Facility.code.in_(list(ids)))))


def _referrer(_: Asking, value: str, modifier: str) -> Condition:
    del modifier
    if not fold(value):
        raise InvalidQuery("a name to search for has letters")
    return folded_name(Study.referring_physician_fold, value, "words")


def _is(condition: Any) -> Condition:
    found: Condition = condition
    return found


def _one(*path: str) -> Any:
    def follow(resource: Json) -> list[str]:
        found: Any = resource
        for name in path:
            found = found.get(name) or {}
        items = found if isinstance(found, list) else [found]
        return [each["reference"] for each in items if each.get("reference")]

    return follow


def _performers(resource: Json) -> list[str]:
    return [each["actor"]["reference"] for series in resource.get("series", ()) for each in series.get("performer", ())]


_OF_PATIENT: Final = references(("Patient",), _patient, _patient_identifier)
_CHAIN: Final = {name: patients.of_patients(Study.patient_id, build) for name, build in patients.CHAIN.items()}
_STARTED: Final = dates(Days(Study.study_date, Study.study_time))

KIND: Final = Kind(
    name="ImagingStudy",
    about="A study with its series; its id is the Study Instance UID. Only what is shown to those who treat patients.",
    source=ImagingStudies(),
    parameters=parameters(
        Parameter(
            "basedon",
            "reference",
            "The order",
            references(("ServiceRequest",), service_requests.studies_of),
            targets=("ServiceRequest",),
            follow=_one("basedOn"),
        ),
        Parameter("bodysite", "token", "Body part, by SNOMED CT or by the defined term of DICOM", tokens(_body_site)),
        Parameter("dicom-class", "token", "SOP Class UID of an instance", tokens(_sop_class)),
        Parameter(
            "endpoint",
            "reference",
            "Where the images are",
            references(("Endpoint",), _endpoint),
            targets=("Endpoint",),
            follow=_one("endpoint"),
        ),
        Parameter("identifier", "token", "Study Instance UID or accession number", tokens(identified)),
        Parameter("instance", "token", "SOP Instance UID of an instance", tokens(_instance_uid)),
        Parameter("modality", "token", "Modality of a series", tokens(_modality), ("not",)),
        Parameter(
            "patient", "reference", "The patient", _OF_PATIENT, ("identifier",), ("Patient",), _CHAIN, _one("subject")
        ),
        Parameter(
            "performer",
            "reference",
            "The facility that sent it",
            references(("Organization",), _performer),
            targets=("Organization",),
            follow=_performers,
        ),
        Parameter(
            "referrer",
            "reference",
            "Who referred, who is contained: only by `referrer.name`",
            references(("Practitioner",), lambda _, __: false()),
            targets=("Practitioner",),
            chain={"name": texts(_referrer)},
        ),
        Parameter("series", "token", "Series Instance UID", tokens(_series_uid)),
        Parameter("started", "date", "When it was begun", _STARTED, ("missing",)),
        Parameter("status", "token", "`available`, always", tokens(_status)),
        Parameter(
            "subject", "reference", "The patient", _OF_PATIENT, ("identifier",), ("Patient",), _CHAIN, _one("subject")
        ),
        Parameter(
            "_lastUpdated",
            "date",
            "When something of it was stored or changed. From no index: use it beside others",
            dates(Instants(Study.updated_at)),
        ),
    ),
    sorts={
        "started": Sort((Key(Study.study_date, True), Key(Study.study_time, True), Key(Study.id))),
        "_id": Sort((Key(Study.study_instance_uid), Key(Study.id))),
    },
    default_sort="-started",
    summary=frozenset(
        (
            *(
                "identifier",
                "status",
                "modality",
                "subject",
                "encounter",
                "started",
                "basedOn",
                "referrer",
                "interpreter",
            ),
            *("endpoint", "numberOfSeries", "numberOfInstances", "procedureReference", "procedureCode", "location"),
            *("reasonCode", "reasonReference", "note", "description", "series"),
        )
    ),
    required=frozenset(("status", "subject")),
)
