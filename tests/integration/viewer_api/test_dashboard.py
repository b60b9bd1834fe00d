"""The dashboard of a generated province: what it counts, what it is narrowed down to, and who sees what of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import orjson
import psycopg
import pytest

from archive.core import Archive
from archive.demo.generated.generate import generate
from archive.demo.generated.places import PLACES
from archive.people.caller import Caller, Kind, Where
from archive.people.roles import Right
from config.settings import load
from tests.conftest import fresh_database
from tests.integration.archive.test_generated_province import WANTED
from tests.kept_figures import Kept
from tests.web_server import serving
from viewer_api.app import create_app
from viewer_api.charts import INTEGRITY, PACKAGE, script_of

STUDIES = 400
ALL = "since=2025-01-01&until=2026-12-31"


@pytest.fixture(scope="module")
def archive(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An archive of the generated province whose figures are kept."""
    with fresh_database(postgres) as url:
        chosen = load(
            environ={},
            data_dir=tmp_path_factory.mktemp("dashboard"),
            database={"url": url, "pool_size": 8},
            storage={"minimum_free_bytes": 0},
            access={"sign_in": "off"},
            facilities=[
                {"code": place.code, "name": place.name, "district": place.district, "care_level": place.care_level}
                for place in PLACES
            ],
            unknown_peers="accept",
        )
        generate(chosen.database, replace(WANTED, studies=STUDIES))
        with Archive.open(chosen) as opened:
            kept = Kept(opened)
            kept.from_scratch()
            kept.close()
            yield opened


@pytest.fixture
def client(archive: Archive) -> Iterator[httpx.Client]:
    with serving(create_app(archive)) as address, httpx.Client(base_url=address, timeout=60) as opened:
        yield opened


class Tables(HTMLParser):
    """The tables of the page by the class of their panel: rows of texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.links: dict[str, list[str]] = {}
        self._rows: list[list[str]] = []
        self._panel = ""
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "figure":
            self._panel = next((name for name in (given["class"] or "").split() if name.startswith("of-")), "state")
            self._rows = self.tables[self._panel] = []
            self.links[self._panel] = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("th", "td") and self._rows:
            self._rows[-1].append("")
            self._inside = True
        elif tag == "a" and self._panel:
            self.links[self._panel].append(given.get("href") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td"):
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self._rows[-1][-1] += data


def page(client: httpx.Client, query: str) -> Tables:
    response = client.get(f"/dashboard?{query}")
    assert response.status_code == 200, response.text
    return Tables(response.text)


def number(text: str) -> int:
    return int(text.replace(".", ""))


def test_tables_count_what_the_index_holds(client: httpx.Client, archive: Archive) -> None:
    with psycopg.connect(archive.settings.database.url.get_secret_value()) as connection:
        ((studies,),) = connection.execute("SELECT count(*) FROM study").fetchall()
        by_modality = dict(
            connection.execute(
                "SELECT replace(modalities_in_study[1], 'CR', 'DX'), count(*) FROM study GROUP BY 1"
            ).fetchall()
        )
        by_facility = dict(
            connection.execute("SELECT name, count(*) FROM study JOIN facility ON facility_id = facility.id GROUP BY 1")
        )
    tables = page(client, ALL).tables
    assert {row[0]: number(row[1]) for row in tables["of-modalities"][1:]} == by_modality
    assert {row[0]: number(row[1]) for row in tables["of-facilities"][1:]} == by_facility
    assert sum(number(cell) for row in tables["of-heat"][1:] for cell in row[1:]) == studies
    assert sum(number(row[1]) for row in tables["of-trend"][1:]) == studies
    assert [row[1] for row in tables["of-districts"][1:]] == sorted(
        (row[1] for row in tables["of-districts"][1:]), key=number, reverse=True
    )


def test_each_row_leads_to_itself_alone(client: httpx.Client) -> None:
    tables = page(client, ALL)
    name, count = tables.tables["of-facilities"][1][:2]
    (link,) = (each for each in tables.links["of-facilities"] if "facility=99001" in each)
    inside = page(client, urlsplit(link).query)
    assert name == "Bệnh viện Đa khoa tỉnh Sông Xanh"
    assert [row[:2] for row in inside.tables["of-facilities"][1:]] == [[name, count]]
    modality = inside.tables["of-modalities"][1]
    (link,) = (
        each
        for each in inside.links["of-modalities"]
        if parse_qs(urlsplit(each).query).get("modality") == [modality[0]]
    )
    deeper = page(client, urlsplit(link).query)
    assert deeper.tables["of-facilities"][1][1] == modality[1]
    month = next(each for each in deeper.links["of-trend"] if each.startswith("/dashboard"))
    asked = parse_qs(urlsplit(month).query)
    assert (asked["facility"], asked["modality"]) == (["99001"], [modality[0]])
    day = asked["since"][0]
    assert re.fullmatch(r"\d{4}-\d\d-01", day)
    assert page(client, urlsplit(month).query).tables["of-trend"][1:]


def test_files_hold_the_same_figures(client: httpx.Client) -> None:
    tables = page(client, ALL + "&facility=99001")
    (link,) = (each for each in tables.links["of-modalities"] if "format=csv" in each)
    file = client.get(link)
    assert file.headers["content-type"].startswith("text/csv")
    for modality, count, *_ in tables.tables["of-modalities"][1:]:
        assert re.search(rf"^{modality}[,;]{number(count)}\b", file.text, re.MULTILINE), file.text


def test_address_that_makes_no_sense_shows_the_usual_time(client: httpx.Client) -> None:
    usual = page(client, "").tables["of-trend"]
    for query in ("range=x", "since=2026-99-99&until=b", "since=2026-02-02&until=2026-01-01", "facility=%00", "view=x"):
        assert page(client, query).tables["of-trend"] == usual
    assert page(client, "facility=nobody").tables["of-facilities"] == [
        page(client, "facility=nobody").tables["of-facilities"][0],
        ["Không có số liệu."],
    ]


def test_every_range_can_be_looked_at_in_both_languages(client: httpx.Client) -> None:
    for name in ("today", "7", "30", "90", "12m", "36m"):
        assert "of-trend" in page(client, f"range={name}").tables
    assert "Facilities compared" in client.get("/dashboard?lang=en").text


def test_no_patient_stands_on_the_page(client: httpx.Client, archive: Archive) -> None:
    text = client.get(f"/dashboard?{ALL}").text
    with psycopg.connect(archive.settings.database.url.get_secret_value()) as connection:
        people = connection.execute("SELECT name, patient_id FROM patient WHERE patient_id <> ''").fetchall()
    assert people
    assert not [name for name, number in people if name in text or number in text]


def test_live_counters_come_as_events(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("viewer_api.pages.dashboard._EVENTS", 2)
    monkeypatch.setattr("viewer_api.pages.dashboard.LIVE_SECONDS", 0)
    response = client.get("/dashboard/live")
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [orjson.loads(part[6:]) for part in response.text.split("\n\n") if part.startswith("data: ")]
    assert len(events) == 2
    names = {tile["name"] for tile in events[0]["tiles"]}
    assert {"studies_today", "unread_now"} <= names
    shown = set(re.findall(r'data-tile="(\w+)"', client.get("/dashboard").text))
    assert names <= shown, "what is told has a place on the page"


def test_wall_needs_no_form_and_print_says_when(client: httpx.Client) -> None:
    wall = client.get("/dashboard?view=wall").text
    assert '<form class="narrow"' not in wall
    assert 'class="dashboard wall"' in wall
    assert "in lúc" in wall


def test_policy_of_the_page_lets_nothing_in_from_elsewhere(client: httpx.Client) -> None:
    response = client.get("/dashboard")
    assert "style-src 'self'" in response.headers["content-security-policy"]
    assert not re.search(r"\sstyle=", response.text)
    assert not re.search(r"<script(?![^>]*src=)", response.text)
    assert "https://" not in response.text


def test_charts_are_of_one_reviewed_package_and_may_be_missing(tmp_path: Path) -> None:
    assert re.fullmatch(r"echarts@\d+\.\d+\.\d+", PACKAGE)
    assert INTEGRITY.startswith("sha512-")
    assert script_of(tmp_path) == ""


def test_an_administrator_of_a_hospital_counts_only_that(archive: Archive) -> None:
    app = create_app(archive)
    where: Where = frozenset({"99002"})

    class Admin:
        async def caller(self, _connection: object) -> Caller:
            return Caller(Kind.ACCOUNT, "quantri", {Right.STATISTICS: where})

    app.state.sign_in = Admin()
    with serving(app) as address, httpx.Client(base_url=address, timeout=60) as client:
        tables = page(client, ALL).tables
        assert [row[0] for row in tables["of-facilities"][1:]] == ["Bệnh viện Sản Nhi tỉnh"]
        assert "of-storage" not in tables
        other = page(client, ALL + "&facility=99001").tables
        assert other["of-facilities"][1:] == [["Không có số liệu."]]
        assert other["of-backlog"][1:] == [] or all(row[1] == "0" for row in other["of-backlog"][1:])


def test_self_assessment_shows_every_criterion_with_live_figures(client: httpx.Client) -> None:
    response = client.get("/tt54")
    assert response.status_code == 200
    assert [int(number) for number in re.findall(r'<th scope="row">(\d+)</th>', response.text)] == list(range(62, 80))
    assert "115 cơ sở đã khai báo" in response.text
    assert re.search(r"Ca chụp trong một năm: (DX|US) \d+", response.text)
    assert "Measurement tools" in client.get("/tt54?lang=en").text
    # Every page that is named can be opened.
    for address in set(re.findall(r'class="places">(.*?)</span>', response.text)):
        for link in re.findall(r'href="([^"]+)"', address):
            assert client.get(link.replace("&amp;", "&")).status_code == 200, link
