"""Worklist items in the index, as ServiceRequest.

Who may see an order: whoever has the right at the facility that it is of, and whoever may see the study made for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, Select, and_, bindparam, false, func, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY

from archive.access import FACILITIES, visible
from archive.errors import InvalidQuery
from archive.fhir.conditions import Condition, Days, Instants, any_of
from archive.fhir.kind import Kind, Rows, parameters
from archive.fhir.parameters import Asking, Key, Parameter, Sort, dates, references, texts, tokens
from archive.fhir.patients import numbered
from archive.fhir.service_request import service_request
from archive.fhir.terms import DICOM_UID, ORDER_STATUS, PRIORITIES, Json
from archive.fhir.values import Token, row_number
from archive.models import Facility, Patient, Study
from archive.records import Scope
from archive.standard.matching import like_literal
from archive.standard.text import fold
from archive.worklist.models import WorklistItem as Item
from archive.worklist.rows import own_or_nobodys

_OID: Final = "urn:oid:"


def visible_order(scope: Scope) -> Condition:
    """Orders of the caller's facilities, and those whose study the caller may see.

    Who has the right to orders and not to look (the scope of any other right is one of copying) has those of the
    facilities of that right alone, as on the worklist.
    """
    if scope.facilities is None:
        return true()
    own: Condition = Item.facility_id == func.any(bindparam(FACILITIES, type_=ARRAY(BigInteger)))
    if scope.copying:
        return own
    made = select(1).where(
        Study.study_instance_uid == Item.study_instance_uid,
        own_or_nobodys(Study.facility_id, Item.facility_id),
        visible(scope),
    )
    return or_(own, made.correlate(Item).exists())


class ServiceRequests:
    """Worklist items that the caller may see."""

    def statement(self, asking: Asking) -> Select[Any]:
        """See `archive.fhir.kind.Source`."""
        scope = asking.scope.shape
        seen = select(1).where(Study.patient_id == Patient.id, visible(scope)).correlate(Patient)
        of = (
            select(Patient.id)
            .where(Patient.issuer == Item.issuer, Patient.identity == Item.patient_id, seen.exists())
            .correlate(Item)
            .scalar_subquery()
        )
        return (
            select(*Item.__table__.c, Facility.code.label("owner"), of.label("patient_row"))
            .join(Facility, Facility.id == Item.facility_id)
            .where(visible_order(scope))
        )

    def by_ids(self, ids: Sequence[str]) -> Condition:
        """See `archive.fhir.kind.Source`."""
        return numbered(Item.id, ids)

    def resources(self, asking: Asking, rows: Rows) -> list[Json]:
        """Each by itself."""
        return [service_request(row, asking.context) for row in rows]


def of_studies(asking: Asking, studies: Sequence[int]) -> dict[int, list[int]]:
    """The orders that these studies were made for, by study. An order of others that only names it does not count."""
    scope = asking.scope.shape
    statement = (
        select(Study.id, Item.id.label("item"))
        .join(Item, Item.study_instance_uid == Study.study_instance_uid)
        .where(Study.id.in_(list(studies)), own_or_nobodys(Study.facility_id, Item.facility_id), visible(scope))
        .order_by(Study.id, Item.id)
    )
    found: dict[int, list[int]] = defaultdict(list)
    for row in asking.reader.fetch(asking.scope, statement) if studies else ():
        found[row.id].append(row.item)
    return found


def studies_of(asking: Asking, ids: Sequence[str]) -> Condition:
    """Studies that were made for these orders."""
    del asking
    numbers = [number for number in map(row_number, ids) if number is not None]
    named = select(1).where(
        Item.id.in_(numbers),
        Item.study_instance_uid == Study.study_instance_uid,
        own_or_nobodys(Study.facility_id, Item.facility_id),
    )
    uids = select(Item.study_instance_uid).where(Item.id.in_(numbers))
    if not numbers:
        return false()
    return and_(Study.study_instance_uid.in_(uids), named.correlate(Study).exists())


def identified(asking: Asking, wanted: Token) -> Condition:
    """By accession number, Study Instance UID, and the ids of procedure and step."""
    own, system, value = asking.context.own, wanted.system, wanted.code
    if not value:
        raise InvalidQuery("an identifier is searched by its value")
    by_study: Condition = Item.study_instance_uid == value.removeprefix(_OID)
    by_accession: Condition = Item.accession_number == value
    if system is None:
        return or_(by_study, by_accession)
    if system == DICOM_UID:
        return by_study
    for name, column in (
        ("accession-number", Item.accession_number),
        ("requested-procedure", Item.requested_procedure_id),
        ("scheduled-step", Item.scheduled_procedure_step_id),
    ):
        prefix = own(f"{name}:")
        if system.startswith(prefix):
            facility = select(Facility.id).where(Facility.code == system.removeprefix(prefix))
            return and_(column == value, Item.facility_id.in_(facility))
    return false()


def _requisition(asking: Asking, wanted: Token) -> Condition:
    found = Item.accession_number == wanted.code
    own = asking.context.accession_system("")
    if wanted.system is None:
        return _is(found)
    if not wanted.system.startswith(own):
        return false()
    facility = select(Facility.id).where(Facility.code == wanted.system.removeprefix(own))
    return and_(found, Item.facility_id.in_(facility))


def _status(_: Asking, wanted: Token) -> Condition:
    return _is(Item.status.in_([name for name, status in ORDER_STATUS.items() if status == wanted.code]))


def _priority(_: Asking, wanted: Token) -> Condition:
    names = [name for name, priority in PRIORITIES.items() if priority == wanted.code]
    return _is(Item.attributes["00401003"]["Value"][0].astext.in_(names)) if names else false()


def _intent(_: Asking, wanted: Token) -> Condition:
    return true() if wanted.code == "order" else false()


def _patient(_: Asking, ids: Sequence[str]) -> Condition:
    numbers = [number for number in map(row_number, ids) if number is not None]
    if not numbers:
        return false()
    mine = select(Patient.patient_id).where(Patient.id.in_(numbers))
    same = select(1).where(Patient.id.in_(numbers), Patient.issuer == Item.issuer, Patient.identity == Item.patient_id)
    return and_(Item.patient_id.in_(mine), same.correlate(Item).exists())


def _patient_identifier(asking: Asking, wanted: Token) -> Condition:
    if not wanted.code:
        raise InvalidQuery("an identifier is searched by its value")
    context, own = asking.context, asking.context.patient_system("")
    found = Item.patient_id == wanted.code
    if wanted.system in (None, context.settings.systems.patient):
        return _is(found)
    if wanted.system is not None and wanted.system.startswith(own):
        return and_(found, Item.issuer == wanted.system.removeprefix(own))
    return false()


def _name(_: Asking, value: str, modifier: str) -> Condition:
    del modifier
    words = fold(value).split()
    if not words:
        raise InvalidQuery("a name to search for has letters")
    return and_(*(any_of([_begins(before, word) for before in ("", "% ", "%=")]) for word in words))


def _begins(before: str, word: str) -> Condition:
    return _is(Item.name_fold.like(f"{before}{like_literal(word)}%", escape="\\"))


def _facility(_: Asking, ids: Sequence[str]) -> Condition:
    return _is(Item.facility_id.in_(select(Facility.id).where(Facility.code.in_(list(ids)))))


def _is(condition: Any) -> Condition:
    found: Condition = condition
    return found


def _subject(resource: Json) -> list[str]:
    return [resource["subject"]["reference"]]


_OF_PATIENT: Final = references(("Patient",), _patient, _patient_identifier)
_CHAIN: Final = {
    "identifier": tokens(_patient_identifier),
    "name": texts(_name),
    "birthdate": dates(Days(Item.birth_date)),
}

KIND: Final = Kind(
    name="ServiceRequest",
    about="An order: a scheduled procedure step of the worklist. A create puts it on the worklist.",
    source=ServiceRequests(),
    parameters=parameters(
        Parameter("authored", "date", "When the order was entered here", dates(Instants(Item.created_at))),
        Parameter(
            "identifier",
            "token",
            "Accession number, Study Instance UID, or the ID of procedure or step",
            tokens(identified),
        ),
        Parameter("intent", "token", "`order`, always", tokens(_intent)),
        Parameter("occurrence", "date", "When it is due", dates(Days(Item.start_date, Item.start_time))),
        Parameter("patient", "reference", "The patient", _OF_PATIENT, ("identifier",), ("Patient",), _CHAIN, _subject),
        Parameter(
            "performer",
            "reference",
            "The facility",
            references(("Organization",), _facility),
            targets=("Organization",),
            follow=lambda found: [each["reference"] for each in found.get("performer", ())],
        ),
        Parameter("priority", "token", "`routine`, `urgent` or `stat`", tokens(_priority)),
        Parameter("requisition", "token", "Accession number", tokens(_requisition)),
        Parameter("status", "token", "`active`, `completed` or `revoked`", tokens(_status), ("not",)),
        Parameter("subject", "reference", "The patient", _OF_PATIENT, ("identifier",), ("Patient",), _CHAIN, _subject),
        Parameter("_lastUpdated", "date", "When it was changed last", dates(Instants(Item.updated_at))),
    ),
    sorts={
        "occurrence": Sort((Key(Item.start_date), Key(Item.start_time), Key(Item.id))),
        "_lastUpdated": Sort((Key(Item.updated_at), Key(Item.id))),
        "_id": Sort((Key(Item.id),)),
    },
    default_sort="-occurrence",
    summary=frozenset(
        (
            *(
                "identifier",
                "requisition",
                "status",
                "intent",
                "category",
                "priority",
                "code",
                "orderDetail",
                "subject",
            ),
            *("occurrenceDateTime", "authoredOn", "requester", "performer"),
        )
    ),
    required=frozenset(("status", "intent", "subject")),
)
