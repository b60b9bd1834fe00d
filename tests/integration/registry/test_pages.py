"""The pages under ``/peers`` and the routes under ``/registry``, as administrators see them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from archive.core import Archive
from archive.errors import Conflict, Outdated
from archive.people.caller import Membership
from archive.people.commands import OPERATOR
from archive.people.roles import Role
from archive.registry.entries import peer_of, settings_of
from config.peers import Peer
from config.settings import Settings
from tests.factories import ct_image, store
from tests.integration.archive.support import sql
from tests.integration.people.test_signing_in import make
from tests.integration.people.test_web_sign_in import BROWSER, enter
from tests.web_server import serving
from viewer_api.app import create_app
from viewer_api.pages.peer_form import PeerForm, typed

FORM = {"ae_title": "CT9", "facility": "86001", "rights": ["store", "commit"], "description": "CT tầng 2"}
EVERYTHING: dict[str, Any] = {
    "facility": "86001",
    "addresses": ["10.1.2.0/24", "10.9.9.9"],
    "default_character_set": "TCVN3",
    "actual_character_set": "VNI",
    "coerce": {
        "institution_name": 'TTYT "huyện" \\ xã',
        "institution_code": {"value": "1", "scheme": "99VN", "meaning": "Bệnh viện"},
        "set_if_empty": {"StudyDescription": "CT ngực"},
        "remove": ["OtherPatientIDs"],
        "from_worklist": ["AccessionNumber"],
    },
    "character_sets": ["ISO_IR 192", "ISO_IR 6"],
    "person_names": "words",
    "rights": ["find", "move", "store"],
    "sees": "province",
    "destinations": ["CT1", "X Y"],
    "worklist": "station",
    "host": "ws.local",
    "port": 104,
    "commitment": "new",
    "parallel": 3,
    "tls": True,
    "tls_name": "ws",
    "certificates": ["sha256:" + "ab" * 32, "ws.local"],
    "identity": "required",
    "limits": {"maximum_associations": 2, "maximum_pdu_length": 8192, "idle_timeout": 1.5, "write_timeout": 3.0},
    "view": "quality",
    "rejects": "province",
    "description": "Trạm đọc 😀",
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    access = settings.access.model_copy(update={"sign_in": "required", "mfa": "optional"})
    return settings.model_copy(update={"access": access, "unknown_peers": "reject"})


@pytest.fixture
def browser(archive: Archive) -> Iterator[httpx.Client]:
    with (
        serving(create_app(archive)) as url,
        httpx.Client(base_url=url, headers=BROWSER, timeout=60) as client,
    ):
        yield client


def of_facility(archive: Archive, browser: httpx.Client) -> None:
    make(archive, "chief", Membership(Role.FACILITY_ADMIN, "86001"))
    enter(browser, "chief")


def of_province(archive: Archive, browser: httpx.Client, name: str = "head") -> None:
    make(archive, name, Membership(Role.PROVINCE_ADMIN, None))
    enter(browser, name)


def revision(page: httpx.Response) -> str:
    found = re.search(r'name="revision" value="(\d+)"', page.text)
    assert found is not None
    return found[1]


def records(archive: Archive) -> list[Any]:
    return sql(archive, "SELECT name, detail FROM audit_record WHERE action = 'setting' ORDER BY recorded_at")


def test_the_form_holds_every_setting_of_a_peer() -> None:
    peer = peer_of("WS1", EVERYTHING)
    assert set(settings_of(peer)) == set(Peer.model_fields) - {"ae_title"}, "a setting that this test does not know"
    form = typed("WS1", settings_of(peer))
    assert peer_of("WS1", form.settings()) == peer
    assert peer_of("A", typed("A", {"facility": "86001"}).settings()) == peer_of("A", {"facility": "86001"})


def test_what_is_kept_and_odd_is_shown_all_the_same() -> None:
    odd: dict[str, Any] = {"port": "x", "limits": [1], "rights": "all", "coerce": None, "destinations": 7, "sees": None}
    assert isinstance(typed("A", odd), PeerForm)


def test_a_device_is_added_changed_disabled_and_removed_by_page(archive: Archive, browser: httpx.Client) -> None:
    of_province(archive, browser)
    assert "Thiết bị DICOM" in browser.get("/peers").text
    made = browser.post("/peers/new", data=FORM)
    assert (made.status_code, made.headers["location"]) == (303, "/peers/one?ae_title=CT9")
    peer = archive.peers.named("CT9")
    assert peer is not None and peer.rights == {"store", "commit"}
    page = browser.get("/peers/one?ae_title=CT9")
    assert "CT tầng 2" in page.text and "Đang dùng" in page.text
    change = {**FORM, "action": "change", "revision": revision(page), "rights": ["store", "find"], "sees": "province"}
    assert browser.post("/peers/one", data=change).status_code == 303
    peer = archive.peers.named("CT9")
    assert peer is not None and peer.may("find") and peer.sees == "province"
    # The revision is one that was seen before the change.
    late = browser.post("/peers/one", data={**change, "description": "muộn"})
    assert late.status_code == 412 and "Người khác vừa sửa" in late.text and "muộn" in late.text
    assert archive.peers.named("CT9") is peer
    for action, known in (("disable", None), ("enable", peer)):
        done = browser.post("/peers/one", data={"ae_title": "CT9", "action": action})
        assert done.status_code == 303
        assert archive.peers.named("CT9") == known
    assert browser.post("/peers/one", data={"ae_title": "CT9", "action": "explode"}).status_code == 422
    assert browser.post("/peers/one", data={"ae_title": "CT9", "action": "remove"}).headers["location"] == "/peers"
    assert archive.peers.known("CT9") is None
    told = [(name, detail["what"]) for name, detail in records(archive) if "peer" in detail]
    acts = ("added", "changed", "disabled", "enabled", "removed")
    assert told == [("head", f"peer {act}") for act in acts]
    changed = next(detail for _, detail in records(archive) if detail.get("what") == "peer changed")
    assert changed == {
        "what": "peer changed",
        "peer": "CT9",
        "after": ['rights = ["find","store"]', 'sees = "province"'],
    }


def test_what_is_wrong_is_said_beside_its_field_and_nothing_typed_is_lost(
    archive: Archive, browser: httpx.Client
) -> None:
    of_province(archive, browser)
    wrong = {**FORM, "addresses": "10.1.2\n10.1.2.3", "port": "99999", "coerce": "set = 1", "parallel": "99"}
    page = browser.post("/peers/new", data=wrong)
    assert page.status_code == 422
    for name in ("addresses", "port", "coerce", "parallel"):
        assert f'id="fault-{name}"' in page.text, name
    assert 'id="fault-host"' not in page.text
    assert "CT tầng 2" in page.text and "10.1.2.3" in page.text
    assert browser.post("/peers/new", data={**FORM, "coerce": "nonsense"}).status_code == 422
    assert browser.post("/peers/new", data={**FORM, "host": "a"}).status_code == 422
    for title in ("", "MÁY", "A" * 17, "a\\b", "PACS"):
        assert browser.post("/peers/new", data={**FORM, "ae_title": title}).status_code == 422, title
    assert browser.post("/peers/new", data={**FORM, "facility": "86009"}).status_code == 422
    assert sql(archive, "SELECT count(*) FROM peer") == [0]


def test_an_ae_title_stands_in_one_place(archive: Archive, browser: httpx.Client) -> None:
    of_province(archive, browser)
    in_file = browser.post("/peers/new", data={**FORM, "ae_title": "CT1"})
    assert in_file.status_code == 409 and "pacs.toml" in in_file.text
    assert browser.post("/peers/new", data=FORM).status_code == 303
    assert browser.post("/peers/new", data=FORM).status_code == 409
    page = browser.get("/peers/one?ae_title=CT1")
    assert "từ pacs.toml" in page.text and 'value="change"' not in page.text
    for action in ("change", "disable", "remove"):
        assert browser.post("/peers/one", data={**FORM, "ae_title": "CT1", "action": action}).status_code == 403


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("facility", "86002"),
        ("facility", "UNKNOWN"),
        ("sees", "province"),
        ("view", "quality"),
        ("view", "everything"),
        ("rejects", "province"),
        ("destinations", "province"),
    ],
)
def test_a_facility_gives_nothing_that_reaches_beyond_it(
    archive: Archive, browser: httpx.Client, field: str, value: str
) -> None:
    of_facility(archive, browser)
    page = browser.post("/peers/new", data={**FORM, field: value})
    assert page.status_code == 403 and f'id="fault-{field}"' in page.text
    assert browser.post("/peers/new", data=FORM).status_code == 303
    change = {**FORM, "action": "change", field: value}
    assert browser.post("/peers/one", data=change).status_code == 403
    assert sql(archive, "SELECT settings ->> 'facility', settings ? 'sees' FROM peer") == [("86001", False)]
    assert f'value="{value}"' not in browser.get("/peers/one?ae_title=CT9").text


def test_a_facility_sends_to_its_own_devices_only(archive: Archive, browser: httpx.Client) -> None:
    of_facility(archive, browser)
    form = {**FORM, "destinations": "listed"}
    assert browser.post("/peers/new", data={**form, "destination_titles": "CT1\nUS2"}).status_code == 403
    assert browser.post("/peers/new", data={**form, "destination_titles": "NOBODY"}).status_code == 403
    assert browser.post("/peers/new", data={**form, "destination_titles": "CT1\nCT9"}).status_code == 303


def test_a_facility_is_no_less_strict_than_the_node(archive: Archive, settings: Settings) -> None:
    node = settings.node.model_copy(update={"identity": "optional"})
    strict = settings.model_copy(update={"node": node})
    with (
        Archive.open(strict) as chosen,
        serving(create_app(chosen)) as url,
        httpx.Client(base_url=url, headers=BROWSER, timeout=60) as browser,
    ):
        of_facility(chosen, browser)
        assert browser.post("/peers/new", data={**FORM, "identity": "ignore"}).status_code == 403
        assert browser.post("/peers/new", data={**FORM, "identity": "required"}).status_code == 303


def test_a_facility_neither_sees_nor_touches_what_is_not_its_own(archive: Archive, browser: httpx.Client) -> None:
    of_facility(archive, browser)
    archive.registry.add(OPERATOR, "US9", {"facility": "86002", "description": "của huyện"})
    archive.registry.add(OPERATOR, "WS9", {"facility": "86001", "rights": ["find"], "sees": "province"})
    listed = browser.get("/peers").text
    assert "CT1" in listed and "WS9" in listed and "US9" not in listed and "US2" not in listed
    for title in ("US9", "US2", "NOBODY"):
        assert browser.get("/peers/one", params={"ae_title": title}).status_code == 404
        assert browser.post("/peers/one", data={"ae_title": title, "action": "test"}).status_code == 404
        assert browser.get("/registry/peer", params={"ae_title": title}).status_code == 404
    for action in ("change", "disable", "remove"):
        assert browser.post("/peers/one", data={**FORM, "ae_title": "US9", "action": action}).status_code == 404
        assert browser.post("/peers/one", data={**FORM, "ae_title": "WS9", "action": action}).status_code == 403
    assert "chỉ quản trị toàn tỉnh" in browser.get("/peers/one?ae_title=WS9").text
    number = archive.peer_checks.ask("US9", "somebody")
    assert browser.get(f"/registry/tests/{number}").status_code == 404
    assert archive.peers.named("US9") is not None and archive.peers.named("WS9") is not None
    # Another facility takes an AE title that is taken: it learns no more than that.
    taken = browser.post("/peers/new", data={**FORM, "ae_title": "US9"})
    assert taken.status_code == 409 and "của huyện" not in taken.text


def test_a_facility_does_not_take_the_name_for_which_images_of_others_wait(
    archive: Archive, browser: httpx.Client
) -> None:
    image = ct_image()
    store(archive, image)
    place = {"facility": "86002", "host": "127.0.0.1", "port": 104}
    archive.registry.add(OPERATOR, "WS9", place)
    assert archive.routing.send(image.StudyInstanceUID, "WS9") == 1
    archive.registry.remove(OPERATOR, "WS9", None)
    of_facility(archive, browser)
    page = browser.post("/peers/new", data={**FORM, "ae_title": "WS9", "host": "127.0.0.1", "port": "11113"})
    assert page.status_code == 403 and 'id="fault-ae_title"' in page.text
    archive.routing.discard("WS9", only_failed=False)
    assert browser.post("/peers/new", data={**FORM, "ae_title": "WS9"}).status_code == 303


def test_a_connection_test_is_on_record(archive: Archive, browser: httpx.Client) -> None:
    of_facility(archive, browser)
    archive.registry.add(OPERATOR, "WS9", {"facility": "86001", "host": "10.0.0.1", "port": 22})
    asked = browser.post("/peers/one", data={"ae_title": "WS9", "action": "test"})
    assert asked.status_code == 303 and "Đang thử" in browser.get(asked.headers["location"]).text
    found = sql(
        archive, "SELECT name, detail ->> 'place' FROM audit_record WHERE detail ->> 'what' = 'connection test'"
    )
    assert found == [("chief", "10.0.0.1:22")]


@pytest.mark.parametrize("role", [Role.RADIOLOGIST, Role.CLINICIAN, Role.TECHNICIAN, Role.ANALYST])
def test_nobody_else_comes_near(archive: Archive, browser: httpx.Client, role: Role) -> None:
    make(archive, "else", Membership(role, None))
    enter(browser, "else")
    for path in ("/peers", "/peers/new", "/peers/one?ae_title=CT1", "/registry/peers"):
        assert browser.get(path).status_code == 403
    assert browser.post("/peers/new", data=FORM).status_code == 403
    assert "/peers" not in browser.get("/profile").text


def test_a_page_of_another_site_changes_nothing(archive: Archive, browser: httpx.Client) -> None:
    of_province(archive, browser)
    foreign = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    assert browser.post("/peers/new", data=FORM, headers=foreign).status_code == 403
    assert sql(archive, "SELECT count(*) FROM peer") == [0]


def test_programs_do_the_same(archive: Archive, browser: httpx.Client) -> None:
    of_province(archive, browser)
    new = {"ae_title": "WS 1/x", "settings": {"facility": "86001", "rights": ["find"]}}
    made = browser.post("/registry/peers", json=new)
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    assert browser.post("/registry/peers", json=new).status_code == 409
    one = {"ae_title": "WS 1/x"}
    assert browser.get("/registry/peer", params=one).json()["settings"]["rights"] == ["find"]
    stale = browser.put("/registry/peer", params=one, json={"facility": "86001"}, headers={"if-match": '"7"'})
    assert stale.status_code == 412
    wrong = browser.put("/registry/peer", params=one, json={"facility": "86001", "colour": 1, "port": 0})
    assert wrong.status_code == 422
    assert {each["field"] for each in wrong.json()["errors"]} >= {"colour", "port"}
    changed = browser.put("/registry/peer", params=one, json={"facility": "86002"}, headers={"if-match": '"1"'})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert browser.post("/registry/disable", json=one, headers={"if-match": '"2"'}).json()["state"] == "disabled"
    assert browser.post("/registry/enable", json=one).json()["state"] == "enabled"
    assert {each["ae_title"] for each in browser.get("/registry/peers").json()} == {"CT1", "US2", "WS 1/x"}
    number = browser.post("/registry/tests", json=one).json()["id"]
    assert browser.get(f"/registry/tests/{number}").json()["outcome"] is None
    assert browser.post("/registry/tests", json=one).json()["id"] == number
    assert browser.delete("/registry/peer", params=one, headers={"if-match": '"1"'}).status_code == 412
    assert browser.delete("/registry/peer", params=one).status_code == 204
    assert browser.delete("/registry/peer", params=one).status_code == 404
    assert browser.put("/registry/peer", params={"ae_title": "CT1"}, json={"facility": "86001"}).status_code == 403


def test_the_list_is_filtered_and_says_what_was_heard(archive: Archive, browser: httpx.Client) -> None:
    of_province(archive, browser)
    for title, facility in (("CT9", "86001"), ("US9", "86002")):
        archive.registry.add(OPERATOR, title, {"facility": facility, "description": f"Máy {title}"})
    assert "US9" not in browser.get("/peers?facility=86001").text
    found = browser.get("/peers?find=may us").text
    assert "US9" in found and "CT9" not in found
    assert "Không có thiết bị nào" in browser.get("/peers?find=zzz").text
    page = browser.get("/peers?lang=en").text
    assert "from pacs.toml" in page and "Enter at the device" in page


def test_two_who_add_the_same_at_once(archive: Archive, settings: Settings) -> None:
    came: list[str] = []
    ready = threading.Barrier(4)

    def add() -> None:
        ready.wait()
        try:
            archive.registry.add(OPERATOR, "CT9", {"facility": "86001"})
            came.append("added")
        except Conflict:
            came.append("taken")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(came) == ["added", "taken", "taken", "taken"]


def test_of_two_who_change_the_same_one_is_told(archive: Archive) -> None:
    entry = archive.registry.add(OPERATOR, "CT9", {"facility": "86001"})
    came: list[str] = []
    ready = threading.Barrier(4)

    def change(number: int) -> None:
        ready.wait()
        try:
            settings = {"facility": "86001", "description": f"của {number}"}
            archive.registry.change(OPERATOR, "CT9", settings, entry.revision)
            came.append(f"của {number}")
        except Outdated:
            pass

    threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sql(archive, "SELECT settings ->> 'description', revision FROM peer") == [(came[0], 2)]
    assert len(came) == 1
