"""The study list: what it shows, how it searches, and that nothing of a patient leaks from it."""

from __future__ import annotations

import logging
import re
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from archive.core import Archive
from tests.web_server import dataset, part10, serving, shared_web, store, web  # noqa: F401
from viewer_api.app import create_app
from viewer_api.pages.language import LANGUAGES, catalogue, texts
from viewer_api.pages.study_rows import row
from viewer_api.pages.study_search import Search

PAGES = Path(__file__).parents[3] / "viewer_api" / "pages"
SIGN_IN = PAGES.parent / "sign_in"
TEMPLATES = sorted((PAGES / "templates").glob("*.html"))
HOSTILE = '<script>alert("x")</script>^\'"&{{7*7}}'


class _Page(HTMLParser):
    """The text of the table cells and the attributes of all elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[-1][-1] += data


def _names(response: httpx.Response) -> list[str]:
    return [cells[1].strip() for cells in _Page(response.text).rows if cells]


@pytest.fixture(scope="module")
def filled(shared_web: httpx.Client) -> httpx.Client:  # noqa: F811
    stored = store(
        shared_web,
        part10(dataset(StudyInstanceUID="1.2.1", PatientName="NGUYỄN^VĂN AN", StudyDate="20250301", PatientAge="045Y")),
        part10(
            dataset(
                StudyInstanceUID="1.2.2",
                PatientName="TRẦN^THỊ ĐÀO",
                PatientID="BN0002",
                PatientSex="F",
                PatientBirthDate="20230401",
                StudyDate="20240501",
                AccessionNumber="PHIEU-7",
                Modality="MR",
            )
        ),
        part10(
            dataset(
                StudyInstanceUID="1.2.3",
                PatientName=HOSTILE,
                PatientID="<b>",
                StudyDate="20230101",
                StudyDescription="</td><img src=x onerror=alert(1)>",
                Modality="US",
            )
        ),
    )
    assert stored.status_code == 200, stored.text
    return shared_web


def test_the_newest_study_is_first_and_everything_is_shown(filled: httpx.Client) -> None:
    response = filled.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    rows = [[" ".join(cell.split()) for cell in cells] for cells in _Page(response.text).rows if cells]
    assert [cells[1] for cells in rows][:2] == ["NGUYỄN VĂN AN", "TRẦN THỊ ĐÀO"]
    assert rows[0][2:] == [
        "BN0001",
        "Nam / 45 tuổi",
        "03/02/1980",
        "01/03/2025 08:30",
        "CT",
        "CT ngực",
        "A1",
        "Chưa xác định / Unknown",
        "1 / 1 Chưa đọc",
        "Xem ảnh Lần chụp khác Trả kết quả Chia sẻ",
    ]
    assert rows[1][3] == "Nữ / 13 tháng"


def test_studies_open_in_the_viewer_and_show_a_thumbnail(filled: httpx.Client) -> None:
    elements = _Page(filled.get("/").text).elements
    links = [attributes["href"] for tag, attributes in elements if tag == "a" and "viewer" in str(attributes["href"])]
    assert links == [f"/viewer/viewer?StudyInstanceUIDs=1.2.{n}" for n in (1, 2, 3)]
    images = [attributes for tag, attributes in elements if attributes.get("class") == "thumbnail"]
    assert [image["src"] for image in images] == [f"/dicom-web/studies/1.2.{n}/thumbnail" for n in (1, 2, 3)]
    assert {image["loading"] for image in images} == {"lazy"}


def test_hostile_values_are_shown_as_text(filled: httpx.Client) -> None:
    response = filled.get("/")
    page = _Page(response.text)
    assert "<script>alert" not in response.text
    assert [tag for tag, attributes in page.elements if "onerror" in attributes] == []
    assert sum(tag == "script" for tag, _ in page.elements) == 1
    shown = next(cells for cells in page.rows if cells and "script" in cells[1])
    assert shown[1].strip() == '<script>alert("x")</script> \'"&{{7*7}}'
    assert shown[7] == "</td><img src=x onerror=alert(1)>"
    typed = filled.post("/", data={"name": '"><script>alert(2)</script>'})
    assert "<script>alert" not in typed.text
    assert ("input", '"><script>alert(2)</script>') in [
        (tag, attributes.get("value"))
        for tag, attributes in _Page(typed.text).elements
        if attributes.get("name") == "name"
    ]


@pytest.mark.parametrize(
    ("form", "found"),
    [
        ({}, 3),
        ({"name": "tran dao"}, 1),
        ({"name": "Đào"}, 1),
        ({"name": "nguyễn"}, 1),
        ({"name": "guyen"}, 0),
        ({"patient_id": "BN0002"}, 1),
        ({"patient_id": "BN"}, 2),
        ({"patient_id": "*2"}, 1),
        ({"accession": "PHIEU"}, 1),
        ({"first": "2024-01-01", "last": "2024-12-31"}, 1),
        ({"first": "2024-01-01"}, 2),
        ({"last": "2024-12-31"}, 2),
        ({"modality": "MR"}, 1),
        ({"modality": ["MR", "CT"]}, 2),
        ({"modality": ["nonsense"]}, 3),
        ({"name": "nobody"}, 0),
        ({"range": "today"}, 0),
        ({"range": "all", "first": "2024-01-01"}, 3),
        ({"name": "an", "modality": "CT", "first": "2025-01-01", "patient_id": "BN0001"}, 1),
    ],
)
def test_the_form_finds(filled: httpx.Client, form: dict[str, str | list[str]], found: int) -> None:
    response = filled.post("/", data=form)
    assert response.status_code == 200
    assert len(_names(response)) == found


def test_the_form_keeps_what_was_typed(filled: httpx.Client) -> None:
    response = filled.post("/", data={"name": "tran", "modality": ["MR"], "first": "2024-01-01"})
    inputs = [attributes for tag, attributes in _Page(response.text).elements if tag == "input"]
    values = {
        attributes["name"]: attributes.get("value") for attributes in inputs if attributes.get("type") != "hidden"
    }
    values.pop("modality")
    assert values == {"name": "tran", "patient_id": "", "accession": "", "first": "2024-01-01", "last": ""}
    assert [attributes["value"] for attributes in inputs if "checked" in attributes] == ["MR"]


@pytest.mark.parametrize(
    "form", [{"first": "yesterday"}, {"first": "2025-02-01", "last": "2025-01-01"}, {"patient_id": "a\\b"}]
)
def test_what_cannot_be_searched_is_said(filled: httpx.Client, form: dict[str, str]) -> None:
    response = filled.post("/", data=form)
    assert response.status_code == 400
    assert 'role="alert"' in response.text
    assert response.headers["content-type"].startswith("text/html")


def test_the_search_is_by_post_and_leaves_no_trace(filled: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    response = filled.post("/", data={"name": "dao", "patient_id": "BN0002"})
    assert _names(response) == ["TRẦN THỊ ĐÀO"]
    form = next(attributes for tag, attributes in _Page(response.text).elements if tag == "form")
    assert (form["method"], form["action"]) == ("post", "/")
    for page in (filled.get("/"), response):
        assert page.headers["cache-control"] == "no-store"
        for _, attributes in _Page(page.text).elements:
            address = str(attributes.get("href") or attributes.get("src") or "")
            assert not re.search(r"BN|dao|ĐÀO|NGUY|PHIEU", address), address
    ours = [record.__dict__ for record in caplog.records if record.name.split(".")[0] in ("viewer_api", "archive")]
    assert not re.search(r"dao|BN0002|ĐÀO", str(ours))


def test_languages(filled: httpx.Client) -> None:
    vietnamese = filled.get("/")
    assert '<html lang="vi">' in vietnamese.text and "Bệnh nhân" in vietnamese.text
    with httpx.Client(base_url=filled.base_url) as client:
        english = client.get("/?lang=en")
        assert '<html lang="en">' in english.text and "Patient" in english.text and "2025-03-01" in english.text
        assert '<html lang="en">' in client.get("/").text  # remembered
        assert '<html lang="vi">' in client.get("/?lang=vi").text
        assert '<html lang="vi">' in client.get("/?lang=xx").text


def test_an_empty_archive_says_so(web: httpx.Client) -> None:  # noqa: F811
    assert catalogue()["empty_archive"]["vi"] in web.get("/").text
    assert catalogue()["empty_search"]["vi"] in web.post("/", data={"name": "x"}).text


def test_many_studies_are_shown_page_by_page(archive: Archive) -> None:
    with serving(create_app(archive)) as url, httpx.Client(base_url=url) as client:
        many = [
            part10(
                dataset(PatientName=f"P{n:03}", PatientID=f"P{n:03}", StudyDate=f"2025{1 + n // 28:02}{1 + n % 28:02}")
            )
            for n in range(60)
        ]
        assert store(client, *many).status_code == 200
        first, second = client.get("/"), client.post("/", data={"page": "2"})
        assert (len(_names(first)), len(_names(second))) == (50, 10)
        assert _names(first)[0] == "P059" and _names(second)[-1] == "P000"
        assert "1–50 trong 60 ca" in first.text and "51–60 trong 60 ca" in second.text
        for odd in ("0", "-1", "x", "99999999999", "9"):
            assert client.post("/", data={"page": odd}).status_code == 200


def test_static_files(filled: httpx.Client) -> None:
    page = filled.get("/").text
    for address in set(re.findall(r"/static/[^\"]+", page)):
        response = filled.get(address)
        assert response.status_code == 200
        assert "immutable" in response.headers["cache-control"]
    for outside in ("../study_list.py", "..%2fstudy_list.py", "nothing.css"):
        assert filled.get(f"/static/{outside}").status_code == 404


# -- texts ---------------------------------------------------------------------------------------------------------


def test_every_text_is_in_both_languages() -> None:
    for key, entry in catalogue().items():
        assert set(entry) == set(LANGUAGES), key
        assert all(text.strip() for text in entry.values()), key
        placeholders = [set(re.findall(r"{(\w+)}", entry[language])) for language in LANGUAGES]
        assert placeholders[0] == placeholders[1], key


def test_every_text_that_is_used_exists_and_every_text_is_used() -> None:
    files = [*TEMPLATES, *(PAGES / "templates").glob("*.txt"), *PAGES.glob("*.py"), *SIGN_IN.glob("*.py")]
    files.append(PAGES.parent / "viewer_config.py")
    sources = "".join(path.read_text(encoding="utf-8") for path in files)
    # Keys made of data: t("range_" + range), text.get(f"sex_{sex}").
    families = ("range_", "sex_", "worklist_shown_", "worklist_status_", "queue_state_", "queue_task_", "hidden_113")
    families += ("patient_", "modality_", "link_state_", "link_factor_", "share_kind_", "trouble_4", "trouble_5")
    families += ("role_", "right_", "account_", "password_fault_", "audit_", "dash_", "figure_", "tt54_", "person_")
    families += ("message_", "link_slip_", "peer_", "public_", "report_error_", "report_status_", "report_code_")
    used = set(re.findall(r'\bt\("([a-zA-Z0-9_]+)"[,)]', sources)) | set(
        re.findall(r'"([a-z]+_[a-zA-Z0-9_]+|search|clear)"', sources)
    )
    assert set(re.findall(r'\bt\("([a-zA-Z0-9_]+)"[,)]', sources)) <= catalogue().keys()
    assert [key for key in catalogue() if key not in used and not key.startswith(families)] == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_no_text_of_their_own(path: Path) -> None:
    source = re.sub(r"{{.*?}}|{%.*?%}|{#.*?#}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    between_tags = re.sub(r"<[^>]*>", "", source)
    assert re.findall(r"\w+", between_tags) == []
    for attribute in ("alt", "title", "placeholder", "aria-label", "data-label"):
        assert [value for value in re.findall(rf'\b{attribute}="([^"]*)"', source) if re.search(r"\w", value)] == []


# -- lines ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("born", "taken", "stated", "age"),
    [
        ("19800203", "20250301", "", "45 tuổi"),
        ("19800303", "20250301", "", "44 tuổi"),
        ("20230401", "20240501", "", "13 tháng"),
        ("20250220", "20250301", "", "9 ngày"),
        ("20220301", "20250301", "", "3 tuổi"),
        ("", "20250301", "007M", "7 tháng"),
        ("19800203", "20250301", "044Y", "44 tuổi"),
        ("20260101", "20250301", "", ""),
        ("1980", "20250301", "", ""),
        ("", "", "", ""),
        ("19809999", "20250301", "old", ""),
    ],
)
def test_ages(born: str, taken: str, stated: str, age: str) -> None:
    values = {"00100030": born, "00080020": taken, "00101010": stated}
    match = {key: {"vr": "DA", "Value": [value]} for key, value in values.items() if value}
    assert row(match, "", texts("vi")).age == age


def test_a_study_without_anything_has_a_line() -> None:
    bare = row({"0020000D": {"vr": "UI", "Value": ["1.2"]}, "00100010": {"vr": "PN"}}, "X", texts("en"))
    assert (bare.study, bare.name, bare.facility, bare.modalities) == ("1.2", "(no name)", "X", ())


def test_quick_ranges_count_today() -> None:
    week, today = Search(name="a", page=3).within(7), Search().within(1)
    assert today.first == today.last == week.last
    assert (week.name, week.page) == ("a", 1)
    assert week.within(0).is_empty is False and week.within(0).first == ""
