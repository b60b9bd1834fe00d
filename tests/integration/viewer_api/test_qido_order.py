"""The order of what QIDO-RS and the search for workitems give, its pages, and what is too much to ask for."""

from __future__ import annotations

import random
from collections.abc import Iterator

import httpx
import psycopg
import pytest

import archive.search
from archive.core import Archive
from config.settings import DatabaseSettings, Settings
from tests.conformance.test_ps3_18_11_ups import START, text, workitem
from tests.integration.archive.support import url_of
from tests.web_server import dataset, fresh_archive, part10, serving, store
from viewer_api.app import create_app

# Study, date, time, name, patient, accession: with what is equal, empty and missing, and received in another order.
STUDIES = [
    ("1.2.1", "20250301", "080000", "TRẦN^AN", "P2", "A2"),
    ("1.2.2", "20250301", "080000", "NGUYỄN^AN", "P1", ""),
    ("1.2.3", "20250301", "", "ĐỖ^BÌNH", "P3", "A9"),
    ("1.2.4", "", "", "NGUYEN^AN", "P4", ""),
    ("1.2.5", "20240101", "235959", "NGUYỄN^AN", "P1", "A1"),
    ("1.2.6", "20251231", "000001", "", "", "A10"),
]


@pytest.fixture(scope="module")
def stored(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Archive, httpx.Client]]:
    with (
        fresh_archive(postgres, tmp_path_factory.mktemp("ordered")) as opened,
        serving(create_app(opened)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        made = [
            dataset(
                **dict(zip(("StudyInstanceUID", "StudyDate", "StudyTime", "PatientName"), study[:4], strict=True)),
                PatientID=study[4],
                AccessionNumber=study[5],
                SeriesInstanceUID=f"{study[0]}.{series}",
                SOPInstanceUID=f"{study[0]}.{series}.{number}",
                SeriesNumber={1: 7, 2: None, 3: 7}[series],
                SeriesDescription=f"S{9 - series}",
                InstanceNumber=10 - number if number < 3 else None,
            )
            for study in STUDIES
            for series in (1, 2, 3)
            for number in (1, 2, 3)
        ]
        random.Random(4).shuffle(made)
        assert store(client, *map(part10, made)).status_code == 200
        yield opened, client


@pytest.fixture
def filled(stored: tuple[Archive, httpx.Client]) -> httpx.Client:
    return stored[1]


def found(client: httpx.Client, path: str, key: str = "0020000D") -> list[str]:
    response = client.get(f"/dicom-web/{path}")
    assert response.status_code == 200, response.text
    return [match[key]["Value"][0].removeprefix("1.2.") for match in response.json()]


@pytest.mark.parametrize(
    ("query", "studies"),
    [
        # The newest first, the undated last; of the same moment, what came last.
        ("", "6 (12) 3 5 4"),
        ("orderby=-StudyDate", "6 (12) 3 5 4"),
        ("orderby=StudyDate", "4 5 3 (12) 6"),
        ("orderby=00080020", "4 5 3 (12) 6"),
        ("orderby=+StudyDate", "4 5 3 (12) 6"),
        ("orderby=%2BStudyDate", "4 5 3 (12) 6"),
        ("OrderBy=-studyinstanceuid", "6 5 4 3 2 1"),
        ("orderby=StudyDate,-StudyTime,StudyInstanceUID", "4 5 1 2 3 6"),
        ("orderby=StudyDate&orderby=-StudyInstanceUID", "4 5 3 2 1 6"),
        ("orderby=StudyInstanceUID", "1 2 3 4 5 6"),
        ("orderby=-0020000d", "6 5 4 3 2 1"),
        # Without regard to accents, as names are matched; of one patient, the newest first.
        ("orderby=PatientName,StudyInstanceUID", "6 3 2 4 5 1"),
        ("orderby=-PatientName,-StudyInstanceUID", "1 5 4 2 3 6"),
        ("orderby=PatientID", "6 2 5 1 3 4"),
        ("orderby=-PatientID,StudyDate", "4 3 1 5 2 6"),
        ("orderby=AccessionNumber,StudyDate", "4 2 5 6 1 3"),
        ("orderby=-AccessionNumber,StudyDate", "3 1 6 5 4 2"),
        ("orderby=PatientID&PatientName=nguyen*", "2 5 4"),
        ("orderby=StudyInstanceUID&limit=2&offset=3", "4 5"),
    ],
)
def test_studies_come_in_the_order_asked_for(filled: httpx.Client, query: str, studies: str) -> None:
    names = "".join(found(filled, f"studies?{query}"))
    wanted = studies.replace(" ", "")
    assert names in (wanted.replace("(12)", "12"), wanted.replace("(12)", "21"))


@pytest.mark.parametrize(
    ("query", "series"),
    [
        ("studies/1.2.2/series?orderby=SeriesDescription", "2.3 2.2 2.1"),
        ("studies/1.2.2/series?orderby=-SeriesDescription", "2.1 2.2 2.3"),
        ("studies/1.2.2/series?orderby=SeriesNumber,SeriesInstanceUID", "2.2 2.1 2.3"),
        ("studies/1.2.2/series?orderby=-SeriesNumber,SeriesInstanceUID", "2.1 2.3 2.2"),
        ("series?StudyInstanceUID=1.2.2&orderby=SeriesDescription", "2.3 2.2 2.1"),
        ("series?orderby=-SeriesInstanceUID&limit=4", "6.3 6.2 6.1 5.3"),
    ],
)
def test_series_come_in_the_order_asked_for(filled: httpx.Client, query: str, series: str) -> None:
    assert found(filled, query, "0020000E") == series.split()


def test_instances_come_in_the_order_asked_for(filled: httpx.Client) -> None:
    def instances(query: str) -> list[str]:
        return found(filled, query, "00080018")

    of_series = "studies/1.2.2/series/1.2.2.1/instances"
    assert instances(of_series) == ["2.1.2", "2.1.1", "2.1.3"]
    assert instances(f"{of_series}?orderby=InstanceNumber") == ["2.1.3", "2.1.2", "2.1.1"]
    assert instances(f"{of_series}?orderby=-00200013") == ["2.1.1", "2.1.2", "2.1.3"]
    of_study = "studies/1.2.2/instances"
    by_both = "SeriesDescription,-SOPInstanceUID"
    assert instances(f"{of_study}?orderby={by_both}&limit=4") == ["2.3.3", "2.3.2", "2.3.1", "2.2.3"]
    assert instances("instances?orderby=SOPInstanceUID&limit=2") == ["1.1.1", "1.1.2"]


def test_series_of_a_study_stay_together_where_studies_are_ordered(filled: httpx.Client) -> None:
    studies = found(filled, "series?orderby=AccessionNumber")
    assert [studies[at] for at in range(0, 18, 3)] == [studies[at] for at in range(2, 18, 3)]
    assert found(filled, "series?orderby=AccessionNumber&AccessionNumber=A2", "0020000E")[-1] == "1.2"


ORDERS = [
    *("", "StudyDate", "-StudyDate", "PatientName", "-PatientName", "PatientID", "-PatientID,StudyDate"),
    *("AccessionNumber", "-AccessionNumber", "StudyDate,PatientName", "-StudyDate,-StudyTime,PatientID"),
]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("path", "key", "count"),
    [("studies", "0020000D", 6), ("series", "0020000E", 18), ("instances", "00080018", 54)],
)
def test_pages_neither_repeat_nor_miss(filled: httpx.Client, path: str, key: str, count: int, order: str) -> None:
    """Although much is equal: the order is total."""
    pages = [found(filled, f"{path}?orderby={order}&limit=5&offset={offset}", key) for offset in range(0, count, 5)]
    paged = [name for page in pages for name in page]
    assert paged == found(filled, f"{path}?orderby={order}", key)
    assert len(set(paged)) == count


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("studies?orderby=StudyDescription", "StudyDescription; at STUDY level, results can be ordered by"),
        ("studies?orderby=StudyDescription", "AccessionNumber, PatientID, PatientName, StudyDate"),
        ("studies?orderby=SeriesNumber", "SeriesNumber"),
        ("studies?orderby=PatientBirthDate", "PatientBirthDate"),
        ("series?orderby=SeriesNumber", "SeriesNumber; at SERIES level"),
        ("studies/1.2.1/series?orderby=InstanceNumber", "InstanceNumber; at SERIES level within one study"),
        ("studies/1.2.1/series?orderby=Manufacturer", "Manufacturer"),
        ("studies/1.2.1/series?orderby=NumberOfSeriesRelatedInstances", "NumberOfSeriesRelatedInstances"),
        ("studies?orderby=StudyTime", "StudyTime can only come behind StudyDate"),
        ("studies?orderby=StudyTime,StudyDate", "StudyTime can only come behind StudyDate"),
        ("studies?orderby=PatientID,-00100020", "PatientID twice"),
        ("studies?orderby=Nonsense", "'Nonsense' is neither"),
        ("studies?orderby=-", "''"),
        ("studies?orderby=PatientID.PatientName", "PatientID.PatientName"),
        ("studies?orderby=PixelData", "PixelData"),
        ("studies?orderby=00091001", "(0009,1001)"),
        (f"studies/1.2.1/instances?orderby={'PatientID,PatientName,StudyDate,StudyTime,AccessionNumber,StudyID,'}"
         "StudyDescription,SeriesNumber,Rows", "more than 8"),
        ("workitems?orderby=WorklistLabel", "WorklistLabel; workitems can be ordered by ExpectedCompletionDateTime"),
    ],
)  # fmt: skip
def test_what_has_no_order_is_refused_with_what_has(filled: httpx.Client, query: str, said: str) -> None:
    response = filled.get(f"/dicom-web/{query}")
    assert response.status_code == 400
    assert said in response.json()["detail"]


def test_workitems_come_in_the_order_asked_for(filled: httpx.Client) -> None:
    for number, (start, patient) in enumerate([("20250102", "B"), ("20250101", "A"), ("20250103", "A")], 1):
        made = workitem(**{START: text("DT", start), "t00100020": text("LO", patient)})
        assert filled.post(f"/dicom-web/workitems?1.2.9{number}", json=made).status_code == 201

    def items(query: str) -> str:
        return "".join(name[-1] for name in found(filled, f"workitems?{query}", "00080018"))

    assert items("") == "213"
    assert items("orderby=-ScheduledProcedureStepStartDateTime") == "312"
    assert items("orderby=PatientID,-SOPInstanceUID") == "321"
    assert items("orderby=-00100020,00080018&limit=2") == "12"


@pytest.fixture
def paging_through_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if ten matches were too many to count."""
    monkeypatch.setattr(archive.search, "DEEPEST", 10)


@pytest.mark.usefixtures("paging_through_ten")
def test_more_than_can_be_paged_through_is_not_counted(filled: httpx.Client) -> None:
    few = filled.get("/dicom-web/studies?limit=2")
    assert few.headers["x-total-count"] == "6"
    many = filled.get("/dicom-web/instances?limit=2")
    assert many.status_code == 200
    assert "x-total-count" not in many.headers
    assert "warning" not in many.headers  # no more were asked for
    last = filled.get("/dicom-web/instances?offset=10&limit=1000")
    assert (len(last.json()), last.headers["x-total-count"]) == (44, "54")


def test_of_a_broad_question_only_what_comes_next_is_counted(
    filled: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive.search, "COUNTED", 3)
    totals = {
        path: filled.get(f"/dicom-web/{path}").headers.get("x-total-count")
        for path in (
            "studies?limit=2",
            "studies?limit=3",
            "studies?limit=2&offset=2",
            "studies?limit=2&offset=7",
            "studies?limit=0",
            "studies?PatientID=NOBODY&limit=2",
            "instances?limit=2&StudyInstanceUID=1.2.1",
        )
    }
    assert list(totals.values()) == [None, "6", "6", "6", None, "0", "9"]
    answer = filled.get("/dicom-web/studies?limit=2")
    assert len(answer.json()) == 2


@pytest.mark.usefixtures("paging_through_ten")
def test_pages_too_far_away_are_refused_with_how_to_narrow(filled: httpx.Client) -> None:
    response = filled.get("/dicom-web/instances?offset=11")
    assert response.status_code == 413
    assert "narrow by StudyDate" in response.json()["detail"]
    assert filled.get("/dicom-web/instances?StudyInstanceUID=1.2.1&offset=9").status_code == 200


@pytest.mark.usefixtures("paging_through_ten")
def test_a_cut_result_of_more_than_is_counted_says_so(stored: tuple[Archive, httpx.Client]) -> None:
    shared, _ = stored
    settings = shared.settings.model_copy(
        update={"ingest": shared.settings.ingest.model_copy(update={"query_limit": 3})}
    )
    with Archive.open(settings) as other, serving(create_app(other)) as url:
        cut = httpx.get(f"{url}/dicom-web/instances")
    assert len(cut.json()) == 3
    assert "There are more than 7 additional results that can be requested" in cut.headers["warning"]
    assert "x-total-count" not in cut.headers


def test_a_query_that_takes_too_long_is_refused_with_how_to_narrow(archive: Archive) -> None:
    quick = Settings.model_validate(
        {
            **archive.settings.model_dump(),
            "database": DatabaseSettings.model_validate({"url": url_of(archive), "statement_timeout": 0.3}),
        }
    )
    with Archive.open(quick) as other, serving(create_app(other)) as url, psycopg.connect(url_of(archive)) as blocking:
        blocking.execute("LOCK TABLE study IN ACCESS EXCLUSIVE MODE")
        response = httpx.get(f"{url}/dicom-web/studies?StudyDescription=*x*", timeout=60)
    assert response.status_code == 413
    assert response.json()["type"] == "urn:pacs:problem:too-many-matches"
    assert "narrow by StudyDate" in response.json()["detail"]
