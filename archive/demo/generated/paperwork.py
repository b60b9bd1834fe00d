"""Orders before the images, reports and deliveries after them, with the delays of real life."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from archive.demo.generated.copying import NULL, moment, text
from archive.demo.generated.examinations import MODALITIES, MODALITY_OF
from archive.demo.generated.identities import INSURANCE_ISSUER, other_ids
from archive.demo.generated.images import REFERRERS, StudyPlan, station_of
from archive.demo.generated.persons import Persons, citizen_id, insurance_number, phone_number
from archive.demo.generated.places import DISTRICTS, PLACES, TIER_OF, Tier
from archive.demo.generated.visits import DAY, OFFSET, Visits
from archive.demo.province import CITIZEN_ID_ISSUER, NAMESPACE
from archive.description import fold_name
from archive.reports.canonical import canonical
from archive.reports.records import Version

ITEM_COLUMNS: Final = """id, facility_id, accession_number, requested_procedure_id, scheduled_procedure_step_id,
    study_instance_uid, patient_id, issuer, name, name_fold, birth_date, sex, modality, station_ae_titles, start_date,
    start_time, status, closed_by, source, attributes, created_at, updated_at"""
REPORT_COLUMNS: Final = "id, number, study_id, facility_id, status, version, source, final_at, created_at, updated_at"
VERSION_COLUMNS: Final = """id, report_id, number, status, content, description, conclusion, author, author_name,
    author_licence, subject, issued_at, signed_at, signed_by, digest, created_at"""
DELIVERY_COLUMNS: Final = "id, study_id, mode, delivered_at, delivered_by"

_ORDERED: Final = 0.94
"""Share of studies that an electronic order was written for; stations write fewer."""
_NEVER_READ: Final = np.array((0.25, 0.035, 0.012, 0.02))
"""By tier: studies that nobody ever writes a report for."""
_HOURS: Final = np.array((20.0, 3.4, 2.2, 1.8))
"""By tier: hours from the last image to the signature, in the median."""

_DRAFTS: Final = 0.25
_MR: Final = MODALITIES.index("MR")
_US: Final = MODALITIES.index("US")
_NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DOCTORS: Final = ("NGUYỄN VĂN KHẢI", "TRẦN THỊ MINH", "LÊ HOÀNG PHÚC", "PHẠM QUANG HUY", "ĐỖ THỊ NGÂN", "VÕ ANH TUẤN")


class Delays(NamedTuple):
    """Of the studies of a batch: seconds since 1970 by the clocks of the province; 0 where something is not."""

    ordered: list[int]
    signed: list[int]
    delivered: list[int]
    mode: list[str]
    draws: list[float]


def delays(visits: Visits, ends: list[int], since: int, now: int, rng: np.random.Generator) -> Delays:
    """When each study was ordered, read and handed over. `since` is the first day, `now` a second."""
    count = len(visits)
    tier = TIER_OF[visits.place]
    second, last = visits.second, np.array(ends, np.int64)
    wait = rng.lognormal(np.log(22 * 60), 0.75, count).clip(120, 6 * 3600)
    wait = np.where(visits.urgent, wait * 0.4, wait)
    wait = np.where(MODALITY_OF[visits.examination] == _MR, wait * 5, wait)  # it is waited for
    no_order = rng.random(count) > np.where(tier == Tier.STATION, 0.55, _ORDERED)
    ordered = np.where(no_order, 0, second - wait).astype(np.int64)
    signed = _signed(visits, last, tier, rng)
    signed[signed > now] = 0
    delivered, mode = _delivered(visits, signed, since, now, rng)
    return Delays(ordered.tolist(), signed.tolist(), delivered.tolist(), mode, rng.random(count).tolist())


def _signed(visits: Visits, last: NDArray[np.int64], tier: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int64]:
    """Plain images wait longer than sections; what comes at night waits for the morning unless it is urgent."""
    count = len(visits)
    hours = _HOURS[tier] * np.where(visits.urgent, 0.35, 1.0) * (1 + 0.6 * ((visits.place % 5) == 3))
    hours = hours * rng.lognormal(0, 0.9, count)
    signed = last + (hours * 3600).astype(np.int64) + 180
    of_day = signed % DAY
    night = (of_day < 6 * 3600) | (of_day > 21 * 3600)
    morning = signed - of_day + np.where(of_day > 21 * 3600, DAY, 0) + 7 * 3600
    signed = np.where(night & ~visits.urgent, morning + rng.integers(0, 3 * 3600, count), signed)
    # Two hospitals have too few readers: their backlog grows.
    never = _NEVER_READ[tier] + np.where(visits.place == 8, 0.09, 0) + np.where(visits.place == 12, 0.05, 0)
    return np.where(rng.random(count) < never, 0, signed)


def _delivered(
    visits: Visits, signed: NDArray[np.int64], since: int, now: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], list[str]]:
    """Film gives way to codes on paper over the years, sooner in some places than in others."""
    count = len(visits)
    years = (visits.second / DAY - since) / 365.25
    # A hospital changes over at some time, and takes about half a year for it.
    change = 0.5 + (visits.place * 7 % 15) / 15 * 2.6
    film = 0.06 + 0.86 / (1 + np.exp((years - change) * 3.2))
    draw = rng.random(count)
    rest = rng.random(count)
    mode = np.select((draw < film, rest < 0.78, rest < 0.93), (0, 1, 2), 3)
    plain = MODALITY_OF[visits.examination] == _US
    handed = (signed > 0) & (rng.random(count) < np.where(plain, 0.55, 0.9))
    at = signed + rng.exponential(5400, count).astype(np.int64) + 60
    delivered = np.where(handed & (at <= now), at, 0)
    names = ("film", "qr", "portal", "dicom_media")
    return delivered, [names[kind] for kind in mode.tolist()]


class Paperwork:
    """Writes the rows."""

    def __init__(self, people: Persons) -> None:
        self._people = people
        self._items = self._reports = self._deliveries = 0

    def rows(
        self, plans: list[StudyPlan], visits: Visits, ids: list[tuple[str, str]], when: Delays
    ) -> dict[str, tuple[str, Any]]:
        """By table: its columns and rows."""
        persons = visits.person.tolist()
        reports, versions = self._reports_of(plans, persons, ids, when)
        return {
            "worklist_item": (ITEM_COLUMNS, list(self._item_rows(plans, persons, ids, when))),
            "report": (REPORT_COLUMNS, reports),
            "report_version": (VERSION_COLUMNS, versions),
            "delivery": (DELIVERY_COLUMNS, list(self._delivery_rows(plans, when))),
        }

    def _item_rows(
        self, plans: list[StudyPlan], persons: list[int], ids: list[tuple[str, str]], when: Delays
    ) -> Iterator[tuple[str, ...]]:
        for plan, person, (issuer, patient_id), ordered in zip(plans, persons, ids, when.ordered, strict=True):
            if not ordered or not patient_id:
                continue
            self._items += 1
            item = _Item(self._people, person, plan, issuer, patient_id, ordered)
            start = datetime.fromtimestamp(plan.second - plan.second % 300, UTC)
            yield (
                str(self._items),
                str(plan.facility),
                *(plan.accession, plan.accession, plan.accession, plan.uid, patient_id, issuer),
                *(item.name, item.name_fold, item.birth_date, item.sex, plan.examination.modality),
                f"{{{item.station}}}",
                f"{start:%Y-%m-%d}",
                f"{start:%H:%M:%S}",
                *("COMPLETED", "images", "hl7", text(item.attributes(f"{start:%Y%m%d}", f"{start:%H%M%S}"))),
                *(moment(ordered - OFFSET), moment(plan.ends - OFFSET)),
            )

    def _reports_of(
        self, plans: list[StudyPlan], persons: list[int], ids: list[tuple[str, str]], when: Delays
    ) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
        reports: list[tuple[str, ...]] = []
        versions: list[tuple[str, ...]] = []
        for plan, person, number, signed, draw in zip(plans, persons, ids, when.signed, when.draws, strict=True):
            draft = not signed and draw < _DRAFTS
            if not (signed or draft):
                continue
            self._reports += 1
            identifier = str(self._reports)
            at = moment((signed or plan.ends + 600) - OFFSET)
            begun = moment(max(plan.ends, (signed or plan.ends + 600) - 420) - OFFSET)
            name = str(uuid.uuid5(NAMESPACE, f"report/{plan.uid}"))
            status = "final" if signed else "draft"
            head = (identifier, name, str(plan.id), str(plan.facility), status, "1", "page")
            reports.append((*head, at if signed else NULL, begun, at))
            written = _written(plan, draw)
            texts = (written.description, written.conclusion, written.author, written.author_name)
            given_out: tuple[str, ...] = (NULL, NULL, NULL, "", NULL)
            if signed:
                subject = self._subject(plan, person, *number)
                digest = "\\\\x" + hashlib.sha256(canonical(name, written, subject)).hexdigest()
                given_out = (text(orjson.dumps(subject).decode()), at, at, written.author, digest)
            content = text(orjson.dumps(written.content).decode())
            version = (identifier, identifier, "1", status, content, *texts, written.author_licence)
            versions.append((*version, *given_out, begun))
        return reports, versions

    def _subject(self, plan: StudyPlan, person: int, issuer: str, patient_id: str) -> dict[str, Any]:
        """As `archive.reports.subject` has it."""
        place, kind, people = PLACES[plan.place], plan.examination, self._people
        at = datetime.fromtimestamp(plan.second, UTC)
        unknown = patient_id.startswith("VD")
        born = datetime.fromtimestamp(int(people.born[person]) * DAY, UTC)
        return {
            "study": plan.uid,
            "study_date": f"{at:%Y-%m-%d}",
            "study_time": f"{at:%H:%M:%S}",
            "accession_number": plan.accession,
            "study_description": kind.description,
            "modalities": [kind.modality],
            "body_parts": [kind.body_part],
            "patient_id": patient_id,
            "issuer": issuer,
            "patient_name": "VÔ DANH" if unknown else people.name(person),
            "birth_date": "" if unknown else f"{born:%Y-%m-%d}",
            "sex": "" if unknown else "F" if people.woman[person] else "M",
            **dict.fromkeys(("owner", "facility"), place.code),
            **dict.fromkeys(("owner_name", "facility_name"), place.name),
            "procedure": kind.description,
            "referrer": REFERRERS[plan.referrer],
            **dict.fromkeys(("admission", "procedure_code", "reason", "department"), ""),
        }

    def _delivery_rows(self, plans: list[StudyPlan], when: Delays) -> Iterator[tuple[str, ...]]:
        for plan, delivered, mode in zip(plans, when.delivered, when.mode, strict=True):
            if delivered:
                self._deliveries += 1
                by = f"ktv.{PLACES[plan.place].code}"
                yield str(self._deliveries), str(plan.id), mode, moment(delivered - OFFSET), by


def _written(plan: StudyPlan, draw: float) -> Version:
    """What the doctor says; more than half of the examinations find nothing."""
    findings = plan.examination.findings
    description, conclusion = findings[0 if draw < 0.55 else 1 + int(draw * 1000) % (len(findings) - 1)]
    doctor = int(draw * 7919) % PLACES[plan.place].readers
    return Version(
        number=1,
        status="final",
        template="",
        content={"text": description},
        description=description,
        conclusion=conclusion,
        recommendation="",
        addenda=[],
        author=f"bs.{PLACES[plan.place].code}.{doctor + 1}",
        author_name=f"BS. {_DOCTORS[doctor % len(_DOCTORS)]}",
        author_licence=f"{plan.place:03d}{doctor:03d}/SX-CCHN",
        reason="",
        subject=None,
        issued_at=None,
        signed_at=None,
        signed_by="",
        signature=None,
        digest=None,
        created_at=_NO_TIME,
    )


class _Item:
    """What an order says (see `archive.worklist.order`): the hospital's system spells names right."""

    def __init__(
        self, people: Persons, person: int, plan: StudyPlan, issuer: str, patient_id: str, ordered: int
    ) -> None:
        self._people, self._person, self._plan = people, person, plan
        self._issuer, self._patient_id, self._ordered = issuer, patient_id, ordered
        unknown = patient_id.startswith("VD")
        self.name = "VÔ DANH" if unknown else people.name(person)
        self.name_fold = fold_name(self.name)
        born = datetime.fromtimestamp(int(people.born[person]) * DAY, UTC)
        self.birth_date = NULL if unknown else f"{born:%Y-%m-%d}"
        self.sex = "" if unknown else "F" if people.woman[person] else "M"
        self.station = station_of(plan.place, plan.examination.modality)

    def attributes(self, date: str, time: str) -> str:
        plan, people, person = self._plan, self._people, self._person
        ordered = datetime.fromtimestamp(self._ordered, UTC)
        step = ",".join(
            (
                _text("00080060", "CS", plan.examination.modality),
                _text("00400001", "AE", self.station),
                _text("00400002", "DA", date),
                _text("00400003", "TM", time),
                _text("00400007", "LO", plan.examination.description),
                _text("00400009", "SH", plan.accession),
            )
        )
        found = [
            _text("00080050", "SH", plan.accession),
            f'"00080090":{{"vr":"PN","Value":[{{"Alphabetic":"{REFERRERS[plan.referrer]}"}}]}}',
            f'"00100010":{{"vr":"PN","Value":[{{"Alphabetic":"{self.name}"}}]}}',
            _text("00100020", "LO", self._patient_id),
            _text("00100021", "LO", self._issuer),
            _text("0020000D", "UI", plan.uid),
            _text("00321060", "LO", plan.examination.description),
            f'"00400100":{{"vr":"SQ","Value":[{{{step}}}]}}',
            _text("00401001", "SH", plan.accession),
            _text("00402004", "DA", f"{ordered:%Y%m%d}"),
            _text("00402005", "TM", f"{ordered:%H%M%S}"),
        ]
        if self.sex:
            found.append(_text("00100030", "DA", self.birth_date.replace("-", "")))
            found.append(_text("00100040", "CS", self.sex))
            found.append(_text("00101040", "LO", f"Huyện {DISTRICTS[people.home[person]]}"))
            found.append(_text("00102154", "SH", phone_number(int(people.phone[person]))))
            if person % 10 < 8:
                citizen = citizen_id(int(people.citizen_numbers(person)))
                others = other_ids([(citizen, CITIZEN_ID_ISSUER), (insurance_number(person), INSURANCE_ISSUER)])
                found.append(f'"00101002":{{"vr":"SQ","Value":[{others}]}}')
        return "{" + ",".join(found) + "}"


def _text(tag: str, vr: str, value: str) -> str:
    return f'"{tag}":{{"vr":"{vr}","Value":["{value}"]}}'
