"""Routes: what fits, where it goes, and which hours."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from archive.routing.rules import Facts, Rule, fits_any
from config.peers import Facility, Peer, PeerBook
from config.routes import Route
from config.settings import SettingsError

CT = "1.2.840.10008.5.1.4.1.1.2"
BOOK = PeerBook(
    (Facility(code="86001", name="A"),),
    tuple(
        Peer(ae_title=title, facility="86001", host="10.0.0.1", port=port)
        for title, port in (("ONE", 104), ("TWO", 105), ("ALIAS", 104))
    ),
    "reject",
)


def facts(**values: Any) -> Facts:
    attributes = {
        "00081030": {"vr": "LO", "Value": ["Chụp CLVT lồng ngực"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Nguyễn^Văn Đức"}]},
        "00080080": {"vr": "LO", "Value": ["BV Đa khoa tỉnh", "Cơ sở 2"]},
        "00200011": {"vr": "IS", "Value": [3]},
        "00180015": {"vr": "CS"},
    }
    given = {
        "object_id": 1,
        "study_id": 1,
        "series_id": 1,
        "facility": "86001",
        "calling_ae_title": "CT1",
        "sop_class_uid": CT,
        "modality": "CT",
        "size": 1000,
        "been": frozenset({"CT1"}),
        "attributes": attributes,
        "instance": {"SOPClassUID": CT, "Rows": 512, "NumberOfFrames": 1, "InstanceNumber": None},
    }
    return Facts(**{**given, **values})


def goes(facts_: Facts, **route: Any) -> list[str]:
    return Rule(Route(**{"name": "r", "destinations": ("ONE",), **route}), BOOK).destinations(facts_)


@pytest.mark.parametrize(
    ("route", "fits"),
    [
        ({}, True),
        ({"facilities": ("86001", "86002")}, True),
        ({"facilities": ("86002",)}, False),
        ({"calling": ("ct*",)}, True),
        ({"calling": ("CT",)}, False),
        ({"modalities": ("MR", "CT")}, True),
        ({"modalities": ("MR",)}, False),
        ({"sop_classes": (CT,)}, True),
        ({"sop_classes": ("1.2.840.10008.5.1.4.1.1.4*",)}, False),
        ({"smallest": 1000, "largest": 1000}, True),
        ({"smallest": 1001}, False),
        ({"largest": 999}, False),
        ({"where": ("StudyDescription = *long nguc*",)}, True),
        ({"where": ("StudyDescription=*LỒNG NGỰC",)}, True),
        ({"where": ("StudyDescription = ngực",)}, False),
        ({"where": ("StudyDescription = *bụng*|*ngực*",)}, True),
        ({"where": ("StudyDescription = *ngực*", "InstitutionName = *huyện*")}, False),
        ({"where": ("InstitutionName = co so ?",)}, True),
        ({"where": ("PatientName = nguyen van duc",)}, True),
        ({"where": ("SeriesNumber = 3",)}, True),
        ({"where": ("Rows = 512",)}, True),
        ({"where": ("Rows = 51",)}, False),
        ({"where": ("InstanceNumber = *",)}, False),
        ({"where": ("BodyPartExamined = CHEST",)}, False),
        ({"where": ("BodyPartExamined = *",)}, True),
        ({"where": ("ProtocolName = a.c",)}, False),
    ],
)
def test_conditions(route: dict[str, Any], fits: bool) -> None:
    assert goes(facts(), **route) == (["ONE"] if fits else [])


def test_wildcards_are_the_only_special_characters() -> None:
    assert fits_any("a+b(c)", ["A+B(C)"])
    assert not fits_any("aab", ["a+b"])
    assert fits_any("đĐ", ["d?"])
    assert fits_any("x\ny", ["x*y"])


def test_nowhere_that_it_has_been_by_whatever_name() -> None:
    everywhere = {"destinations": ("ONE", "TWO", "ALIAS")}
    assert goes(facts(), **everywhere) == ["ONE", "TWO", "ALIAS"]
    assert goes(facts(been=frozenset({"ONE"})), **everywhere) == ["TWO"]
    assert goes(facts(been=frozenset({"TWO"})), **everywhere) == ["ONE", "ALIAS"]


@pytest.mark.parametrize("condition", ["Nothing = 1", "NumberOfStudyRelatedSeries = 1", "Rows = | |"])
def test_conditions_that_make_no_sense(condition: str) -> None:
    with pytest.raises(SettingsError):
        Rule(Route(name="r", destinations=("ONE",), where=(condition,)), BOOK)


@pytest.mark.parametrize(
    ("hours", "now", "closed"),
    [
        ("", "12:00", 0),
        ("08:00-17:00", "08:00", 0),
        ("08:00-17:00", "16:59", 0),
        ("08:00-17:00", "17:00", 15 * 3600),
        ("08:00-17:00", "07:30", 1800),
        ("22:00-05:30", "23:59", 0),
        ("22:00-05:30", "05:29", 0),
        ("22:00-05:30", "05:30", 16.5 * 3600),
        ("22:00-05:30", "21:00", 3600),
    ],
)
def test_hours(hours: str, now: str, closed: float) -> None:
    hour, minute = map(int, now.split(":"))
    assert (
        Route(name="r", destinations=("ONE",), hours=hours).closed_for(datetime(2026, 11, 22, hour, minute)) == closed
    )


def test_waits() -> None:
    for what, quiet in (("instance", 0), ("series", 60), ("study", 60)):
        assert Route(name="r", destinations=("ONE",), what=what).quiet == quiet
    assert Route(name="r", destinations=("ONE",), what="study", delay=0).quiet == 0
    assert Route(name="r", destinations=("ONE",), notify="availability").quiet == 60
