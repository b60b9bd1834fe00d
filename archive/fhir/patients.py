"""Patients in the index."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, Select, and_, bindparam, false, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import aliased

from archive.access import visible
from archive.errors import InvalidQuery
from archive.fhir.conditions import Condition, Days, Instants, any_of, text_condition
from archive.fhir.kind import Kind, Rows, parameters
from archive.fhir.parameters import Asking, Build, Key, Parameter, Sort, dates, references, texts, tokens
from archive.fhir.patient import patient
from archive.fhir.terms import GENDERS, Json
from archive.fhir.values import Token, row_number
from archive.identity.models import PatientPerson, Person
from archive.models import Patient, Study
from archive.name_conditions import exact_name, folded_name
from archive.standard.text import fold

_MOST_NAMED: Final = 5000
_SEXES: Final = {gender: sex for sex, gender in GENDERS.items()}


class Patients:
    """Rows of ``patient`` of which the caller may see a study."""

    def statement(self, asking: Asking) -> Select[Any]:
        """See `archive.fhir.kind.Source`."""
        seen = select(1).where(Study.patient_id == Patient.id, visible(asking.scope.shape)).correlate(Patient)
        return select(
            *(Patient.id, Patient.issuer, Patient.patient_id, Patient.name, Patient.name_fold, Patient.birth_date),
            *(Patient.sex, Patient.attributes, Patient.created_at),
        ).where(seen.exists())

    def by_ids(self, ids: Sequence[str]) -> Condition:
        """See `archive.fhir.kind.Source`."""
        return numbered(Patient.id, ids)

    def resources(self, asking: Asking, rows: Rows) -> list[Json]:
        """With the numbers of the persons, and who is the same elsewhere."""
        citizens, others = _persons(asking, [row.id for row in rows])
        return [patient(row, others.get(row.id, ()), asking.context, citizen=citizens.get(row.id, "")) for row in rows]


def _persons(asking: Asking, ids: list[int]) -> tuple[dict[int, str], dict[int, list[int]]]:
    """Numbers of citizens by patient, and other patients of the same person whom the caller may see."""
    if not ids:
        return {}, {}
    mine, theirs = aliased(PatientPerson), aliased(PatientPerson)
    # Whose a patient is says nothing that its own resource would not; so it is looked up for all alike.
    linked = (
        select(mine.patient_id, Person.citizen_id, theirs.patient_id.label("other"))
        .join(Person, Person.id == mine.person_id)
        .join(theirs, theirs.person_id == mine.person_id)
        .where(mine.patient_id.in_(ids))
    )
    rows = asking.reader.fetch_anybody(linked)
    different = {row.other for row in rows if row.other != row.patient_id}
    seen = set()
    if different:
        allowed = (
            select(Study.patient_id).where(Study.patient_id.in_(different), visible(asking.scope.shape)).distinct()
        )
        seen = {row.patient_id for row in asking.reader.fetch(asking.scope, allowed)}
    others: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        if row.other in seen and row.other != row.patient_id:
            others[row.patient_id].append(row.other)
    return {row.patient_id: row.citizen_id for row in rows}, {key: sorted(each) for key, each in others.items()}


def numbered(column: Any, ids: Sequence[str]) -> Condition:
    """Rows of these numbers."""
    numbers = [number for number in map(row_number, ids) if number is not None]
    found: Condition = column.in_(numbers) if numbers else false()
    return found


def named(asking: Asking, condition: Condition) -> Condition:
    """A condition on names, with where to look: row security lets no text of a name use an index.

    Which patients have the name is asked apart and is only a hint; what the caller may see is for their own statement.
    """
    if asking.scope.facilities is None:
        return condition
    found = asking.reader.fetch_anybody(select(Patient.id).where(condition).limit(_MOST_NAMED + 1))
    if len(found) > _MOST_NAMED:
        return condition
    return and_(Patient.id == func.any(bindparam(None, [row.id for row in found], type_=ARRAY(BigInteger))), condition)


def of_patients(column: Any, build: Build) -> Build:
    """A chain: rows whose patient, named by this column, is as a parameter of Patient asks."""

    def chained(asking: Asking, modifier: str, values: Sequence[str]) -> Condition:
        found: Condition = column.in_(select(Patient.id).where(build(asking, modifier, values)))
        return found

    return chained


def identified(asking: Asking, wanted: Token) -> Condition:
    """Patients with an identifier: patient ID of an issuer, of any issuer, or number of a citizen."""
    context = asking.context
    systems, own = context.settings.systems, context.patient_system("")
    of_citizen = Patient.id.in_(
        select(PatientPerson.patient_id).join(Person, Person.id == PatientPerson.person_id).where(
            Person.citizen_id == wanted.code
        )
    )  # fmt: skip
    by_id = and_(Patient.patient_id == wanted.code, Patient.patient_id != "")
    if not wanted.code:
        raise InvalidQuery("an identifier is searched by its value")
    if wanted.system is None:
        return or_(by_id, _citizen(asking, of_citizen))
    if wanted.system == systems.citizen:
        return _citizen(asking, of_citizen)
    if wanted.system == systems.patient:
        return by_id
    if wanted.system.startswith(own):
        return and_(by_id, Patient.issuer == wanted.system.removeprefix(own))
    if wanted.system == systems.insurance:
        tagged = [{"00100020": {"vr": "LO", "Value": [wanted.code]}}]
        found: Condition = Patient.attributes.contains({"00101002": {"Value": tagged}})
        return found
    return false()


def _citizen(asking: Asking, condition: Condition) -> Condition:
    """As a list of rows: the tables of persons are not for callers' statements."""
    rows = asking.reader.fetch_anybody(select(Patient.id).where(condition).limit(_MOST_NAMED))
    found: Condition = Patient.id.in_([row.id for row in rows]) if rows else false()
    return found


def _name(asking: Asking, value: str, modifier: str) -> Condition:
    if modifier == "exact":
        shown = func.replace(Patient.name, "^", " ")
        words = folded_name(Patient.name_fold, value, "words")
        return named(asking, and_(words, or_(exact_name(Patient.name, value), shown == value)))
    if modifier == "contains":
        return named(asking, text_condition(Patient.name_fold, value, modifier))
    if not fold(value):
        raise InvalidQuery("a name to search for has letters")
    return named(asking, folded_name(Patient.name_fold, value.replace("*", " ").replace("?", " "), "words"))


def _family(asking: Asking, value: str, modifier: str) -> Condition:
    if modifier == "exact":
        return named(
            asking, and_(text_condition(Patient.name_fold, value, ""), func.split_part(Patient.name, "^", 1) == value)
        )
    return named(asking, text_condition(Patient.name_fold, value, modifier))


def _gender(_: Asking, wanted: Token) -> Condition:
    sex = _SEXES.get(wanted.code)
    found: Condition = Patient.sex == sex if sex else Patient.sex.not_in(list(GENDERS))
    return found if wanted.code in (*_SEXES, "unknown") else false()


def _organization(asking: Asking, ids: Sequence[str]) -> Condition:
    issuers = [issuer for issuer, code in asking.context.issuers.items() if code in ids]
    found: Condition = Patient.issuer.in_(issuers) if issuers else false()
    return found


def _follow_organization(resource: Json) -> list[str]:
    found = resource.get("managingOrganization")
    return [found["reference"]] if found else []


def _link(asking: Asking, ids: Sequence[str]) -> Condition:
    numbers = [number for number in map(row_number, ids) if number is not None]
    mine, theirs = aliased(PatientPerson), aliased(PatientPerson)
    linked = (
        select(mine.patient_id)
        .join(theirs, theirs.person_id == mine.person_id)
        .where(theirs.patient_id.in_(numbers), mine.patient_id != theirs.patient_id)
    )
    rows = asking.reader.fetch_anybody(linked) if numbers else []
    return any_of([Patient.id.in_([row.patient_id for row in rows])] if rows else [])


_IDENTIFIER: Final = tokens(identified)
_BIRTH_DATE: Final = dates(Days(Patient.birth_date))
_NAME: Final = texts(_name)
_GENDER: Final = tokens(_gender)
CHAIN: Final = {
    "identifier": _IDENTIFIER,
    "name": _NAME,
    "family": texts(_family),
    "birthdate": _BIRTH_DATE,
    "gender": _GENDER,
}
"""Parameters of Patient that may follow behind a reference to one."""
_TEXT: Final = ("exact", "contains")

KIND: Final = Kind(
    name="Patient",
    about="A patient as one issuer of patient IDs knows them. Read only, and only who has a study that the caller may "
    "see. `link` leads to the same person elsewhere.",
    source=Patients(),
    parameters=parameters(
        Parameter("birthdate", "date", "Date of birth", _BIRTH_DATE, ("missing",)),
        Parameter(
            "family", "string", "The beginning of the name, which is the family's in Viet Nam", texts(_family), _TEXT
        ),
        Parameter("gender", "token", "`male`, `female`, `other` or `unknown`", _GENDER),
        Parameter("given", "string", "The beginning of any part of the name", _NAME, _TEXT),
        Parameter("identifier", "token", "Patient ID, or the number of the citizen", _IDENTIFIER),
        Parameter(
            "link",
            "reference",
            "The same person elsewhere",
            references(("Patient",), _link),
            targets=("Patient",),
            follow=lambda found: [each["other"]["reference"] for each in found.get("link", ())],
        ),
        Parameter(
            "name",
            "string",
            "The beginnings of parts of the name, in any order, without accents and case",
            _NAME,
            _TEXT,
        ),
        Parameter(
            "organization",
            "reference",
            "The facility whose patient ID it is",
            references(("Organization",), _organization),
            targets=("Organization",),
            follow=_follow_organization,
        ),
        Parameter(
            "_lastUpdated",
            "date",
            "When the patient became known. From no index: use it beside others",
            dates(Instants(Patient.created_at)),
        ),
    ),
    sorts={
        "_id": Sort((Key(Patient.id),)),
        "name": Sort((Key(Patient.name_fold), Key(Patient.id))),
        "family": Sort((Key(Patient.name_fold), Key(Patient.id))),
    },
    default_sort="_id",
    summary=frozenset(
        ("identifier", "active", "name", "telecom", "gender", "birthDate", "address", "managingOrganization", "link")
    ),
)
