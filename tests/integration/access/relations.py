"""One study for each way in which a caller of a facility can stand to a study."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from archive.core import Archive
from archive.people.caller import Caller, Kind
from archive.people.roles import Right
from archive.records import Source
from tests.factories import ct_image, store
from tests.integration.archive.support import sql

HOME: Final = "86002"
"""Where all the callers are."""
OWNER: Final = "86001"
REPORT: Final = "1.2.840.10008.5.1.4.1.1.88.11"


class Relation(StrEnum):
    """How a study stands to the callers."""

    OWN = "own"
    OTHER = "other"
    GRANTED_VIEW = "granted view"
    GRANTED_COPY = "granted copy"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    CONSULTATION = "consultation"
    CARE = "care"
    BREAK_GLASS = "break-glass"
    """To the callers' account alone."""
    GLASS_EXPIRED = "break-glass that is over"
    GLASS_WITHDRAWN = "break-glass that was taken back"
    LINK = "link"
    """To whoever holds a link, and to nobody's facility."""
    UNKNOWN = "unknown"
    """There is no such study."""


class Reach(StrEnum):
    """By what of a caller a study is reached."""

    FACILITY = "facility"
    ACCOUNT = "account"
    LINK = "link"
    PROVINCE = "province"


SEEN: Final[dict[Reach, frozenset[Relation]]] = {
    Reach.FACILITY: frozenset(
        (Relation.OWN, Relation.GRANTED_VIEW, Relation.GRANTED_COPY, Relation.CONSULTATION, Relation.CARE)
    ),
    Reach.ACCOUNT: frozenset((Relation.BREAK_GLASS,)),
    Reach.LINK: frozenset((Relation.LINK,)),
    Reach.PROVINCE: frozenset(set(Relation) - {Relation.UNKNOWN}),
}
"""The rule: what is seen by what."""
COPIED: Final = frozenset((Relation.OWN, Relation.GRANTED_COPY))
"""Of what is seen, what may be copied by whoever has that right; who sees the province copies all of it."""


_GLASS: Final = (Relation.BREAK_GLASS, Relation.GLASS_EXPIRED, Relation.GLASS_WITHDRAWN)


@dataclass(frozen=True, slots=True)
class Kept:
    """A study with an image and a report."""

    study: str
    image: tuple[str, str]
    """Series and SOP Instance UID."""
    report: tuple[str, str]
    patient: str


def keep(archive: Archive, relation: Relation, account: int, link: int) -> Kept:
    """Store the study and grant what its relation says."""
    number = f"BN-{relation.name}"
    image = ct_image(PatientID=number, AccessionNumber=relation.name[:16])
    report = _report(image)
    if relation is not Relation.UNKNOWN:
        code = HOME if relation is Relation.OWN else OWNER
        source = Source(facility=code, issuer_of_patient_id="TINH", transport="import")
        for each in (image, report):
            store(archive, each, source)
        _grant(archive, relation, str(image.StudyInstanceUID), account, link)
    places = [(str(each.SeriesInstanceUID), str(each.SOPInstanceUID)) for each in (image, report)]
    return Kept(str(image.StudyInstanceUID), places[0], places[1], number)


def _report(image: Dataset) -> Dataset:
    report = ct_image(PatientID=image.PatientID, AccessionNumber=image.AccessionNumber)
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        del report[keyword]
    report.SOPClassUID, report.Modality = REPORT, "SR"
    report.StudyInstanceUID, report.SeriesInstanceUID = image.StudyInstanceUID, generate_uid()
    return report


def _grant(archive: Archive, relation: Relation, study: str, account: int, link: int) -> None:
    kinds = {
        Relation.CONSULTATION: "consultation",
        Relation.CARE: "care",
        **dict.fromkeys(_GLASS, "break_glass"),
        Relation.LINK: "link",
    }
    if relation in (Relation.OWN, Relation.OTHER):
        return
    to = {**dict.fromkeys(_GLASS, (None, account, None)), Relation.LINK: (None, None, link)}.get(
        relation, (HOME, None, None)
    )
    sql(
        archive,
        """INSERT INTO access_grant (study_id, facility_id, account_id, link_id, kind, may_copy, expires_at, withdrawn_at)
           SELECT id, (SELECT id FROM facility WHERE code = %s), %s, %s, %s, %s,
                  now() + %s * interval '1 hour', CASE WHEN %s THEN now() END
             FROM study WHERE study_instance_uid = %s""",
        *to,
        kinds.get(relation, "referral"),
        relation in (Relation.GRANTED_COPY, Relation.EXPIRED, Relation.WITHDRAWN),
        -1 if relation in (Relation.EXPIRED, Relation.GLASS_EXPIRED) else 1,
        relation in (Relation.WITHDRAWN, Relation.GLASS_WITHDRAWN),
        study,
    )


def seen_by(caller: Caller, right: Right) -> set[Relation]:
    """Where this right of the caller reaches, by the rule."""
    if right not in caller.rights:
        return set()
    if caller.kind is Kind.LINK:
        return set(SEEN[Reach.LINK])
    where = caller.rights[right]
    if where is None:
        return set(SEEN[Reach.PROVINCE])
    at_home = SEEN[Reach.FACILITY] if HOME in where else frozenset()
    return set(at_home) | (set(SEEN[Reach.ACCOUNT]) if caller.account is not None else set())


def copied_by(caller: Caller) -> set[Relation]:
    """What the caller may take away, by the rule."""
    reached = seen_by(caller, Right.COPY)
    return reached if caller.rights.get(Right.COPY, ()) is None else reached & COPIED
