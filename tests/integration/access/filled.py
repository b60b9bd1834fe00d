"""Something of each kind that a facility can have, all of it with a word of the facility's in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

from pydicom.uid import generate_uid

from archive.core import Archive
from archive.delivery.links import NewLink
from archive.feed import record as feed
from archive.index_session import IndexSession
from archive.people.caller import Caller, Kind
from archive.people.roles import Right
from archive.records import DicomJSON, Scope, Source
from archive.sharing.break_glass import Emergency
from archive.sharing.sharings import Members, Terms
from archive.standard.json_model import dataset_json
from archive.worklist.steps import StepSource
from config.feed import FeedSettings
from tests.factories import ct_image, store
from tests.integration.archive.support import sql
from tests.worklist import begin, end, put

TERMS = Terms("chuyển tuyến")


@dataclass(frozen=True, slots=True)
class Filled:
    """What a facility has. `word` stands in every value of it that is free text; UIDs are its own."""

    facility: str
    word: str
    caller: Caller
    """Somebody with every right at this facility alone."""
    study: str
    instance: str
    item: int
    step: str
    workitem: str
    note: str
    decisions: tuple[int, ...]
    grant: int
    link: int

    @property
    def names(self) -> tuple[str, ...]:
        """What must not be told to others."""
        return (self.word, self.study, self.instance, self.step, self.workitem, self.note)


@contextmanager
def following(archive: Archive) -> Iterator[None]:
    """The change feed tells of what comes while this lasts."""
    session = IndexSession(archive.settings.database, "feed of the test")
    try:
        feed.begin(session)
        yield
        while feed.record(session, FeedSettings(quiet=1000)).behind:
            pass
    finally:
        session.close()


def everywhere_at(archive: Archive, name: str, *facilities: str) -> Caller:
    """Somebody with every right at these facilities."""
    account = sql(archive, "INSERT INTO account (name) VALUES (%s) RETURNING id", name)[0]
    return Caller(Kind.ACCOUNT, name, dict.fromkeys(Right, frozenset(facilities)), account=account)


def fill(archive: Archive, facility: str, word: str, stranger: Caller) -> Filled:
    """Make it. Rows of sharing are with a third facility and with `stranger`, who is of it."""
    caller = everywhere_at(archive, f"{word.lower()}.bs", facility)
    image = ct_image(PatientID=f"{word}1", PatientName=f"{word}^AN", StudyDescription=word, AccessionNumber=word)
    image.PatientBirthDate = "19620512"
    source = Source(facility=facility, issuer_of_patient_id=word, transport="import", calling_ae_title=word)
    store(archive, image, source)
    rejected = ct_image(PatientID=f"{word}1", PatientName=f"{word}^AN", StudyInstanceUID=image.StudyInstanceUID)
    store(archive, rejected, source)
    study = str(image.StudyInstanceUID)
    note = archive.rejections.reject(
        study, code="113001", who=word, why=word, instances=[str(rejected.SOPInstanceUID)], scope=_of(facility)
    ).sop_instance_uid
    given = {"PatientName": f"{word}^AN", "PatientID": f"{word}1", "AccessionNumber": f"{word}2"}
    entry = put(archive, Facility=facility, StudyInstanceUID=study, **given)
    step = str(generate_uid())
    begun = begin(entry, PatientName=f"{word}^AN")
    sender = StepSource(facility, word, "10.0.0.1", _of(facility))
    archive.performed.create(step, dataset_json(begun, None), sender)
    archive.performed.set(step, dataset_json(end(series={str(image.SeriesInstanceUID): ["1.2.3"]}), None), sender)
    put(archive, Facility=facility, **{**given, "AccessionNumber": f"{word}3"})
    workitem = archive.ups.workitems.create(_workitem(word), facility=facility).uid
    referral = archive.sharings.refer(caller, study, "86003", Terms(word))
    consultation = archive.sharings.consult(caller, word, Members(("86003",), (stranger.name,)), [study], TERMS)
    archive.break_glass.open(stranger, Emergency(f"{word}1", date(1962, 5, 12), f"cấp cứu {word}"))
    made = archive.links.create(caller, NewLink((study,), purpose=word))
    archive.deliveries.record(caller, study, "film")
    return Filled(
        *(facility, word, caller, study, str(image.SOPInstanceUID), entry.id, step, workitem, note),
        (referral.id, consultation.id),
        archive.sharings.grants(caller, study)[0].id,
        made.id,
    )


def _of(facility: str) -> Scope:
    return Scope(frozenset({facility}))


def _workitem(word: str) -> DicomJSON:
    return {
        "00741000": {"vr": "CS", "Value": ["SCHEDULED"]},
        "00404005": {"vr": "DT", "Value": ["20261122080000"]},
        "00741200": {"vr": "CS", "Value": ["MEDIUM"]},
        "00741204": {"vr": "LO", "Value": [word]},
        "00404041": {"vr": "CS", "Value": ["READY"]},
        "00100020": {"vr": "LO", "Value": [f"{word}1"]},
    }
