"""Sign-in by HTTP: pages, cookies, tokens, and the ways around them that must not exist."""

from __future__ import annotations

import re
import time
from base64 import b32decode
from collections.abc import Iterator

import httpx
import pytest

from archive.core import Archive
from archive.people import factor
from archive.people.caller import Membership
from archive.people.roles import Right, Role
from config.settings import Settings
from tests.integration.people.test_signing_in import OPERATOR, OTHER, PASSWORD, back, current, make, with_factor
from tests.web_server import dataset, part10, serving, store
from viewer_api.app import create_app
from viewer_api.sign_in import finding
from viewer_api.sign_in.returning import safe
from viewer_api.sign_in.throttle import SECONDS, TRIES, Throttle

BROWSER = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    access = settings.access.model_copy(update={"sign_in": "required"})
    return settings.model_copy(update={"access": access})


@pytest.fixture
def url(archive: Archive) -> Iterator[str]:
    with serving(create_app(archive)) as address:
        yield address


@pytest.fixture
def browser(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers=BROWSER, timeout=60) as client:
        yield client


def enter(browser: httpx.Client, name: str = "lan", password: str = PASSWORD, to: str = "") -> httpx.Response:
    return browser.post("/sign-in", data={"name": name, "password": password, "to": to})


def test_a_browser_is_led_to_the_sign_in_and_back(archive: Archive, browser: httpx.Client) -> None:
    make(archive)
    asked = browser.get("/viewer/viewer?StudyInstanceUIDs=1.2.3")
    assert asked.status_code == 303
    assert asked.headers["location"] == "/sign-in?to=%2Fviewer%2Fviewer%3FStudyInstanceUIDs%3D1.2.3"
    form = browser.get(asked.headers["location"])
    assert 'value="/viewer/viewer?StudyInstanceUIDs=1.2.3"' in form.text
    entered = enter(browser, to="/viewer/viewer?StudyInstanceUIDs=1.2.3")
    assert (entered.status_code, entered.headers["location"]) == (303, "/viewer/viewer?StudyInstanceUIDs=1.2.3")
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    listed = browser.get("/")
    assert listed.status_code == 200
    assert "Trần Thị Lan" in listed.text
    assert "Bệnh viện Đa khoa tỉnh" in listed.text
    assert browser.get("/sign-in").headers["location"] == "/"
    # The viewer is not installed here; what counts is that it does not send back to the sign-in.
    assert browser.get("/viewer/viewer?StudyInstanceUIDs=1.2.3").status_code == 404


def test_programs_and_scripts_are_told_401(browser: httpx.Client) -> None:
    for headers in ({"Accept": "*/*"}, {"Accept": "text/html", "Sec-Fetch-Mode": "cors"}):
        answer = browser.get("/dicom-web/studies", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"


def test_places_are_shown_by_rights(archive: Archive, browser: httpx.Client) -> None:
    make(archive, "nam", Membership(Role.CLINICIAN, "86001"))
    enter(browser, "nam")
    shown = browser.get("/").text
    assert 'href="/queues"' not in shown
    assert 'href="/worklist"' not in shown
    assert browser.get("/queues").status_code == 403


def test_with_https_the_cookie_belongs_to_the_host_alone(settings: Settings) -> None:
    web = settings.web.model_copy(update={"public_url": "https://pacs.example/"})
    with Archive.open(settings.model_copy(update={"web": web})) as archive:
        make(archive)
        with serving(create_app(archive)) as url, httpx.Client(base_url=url) as client:
            cookie = enter(client).headers["set-cookie"]
            assert re.match(r"__Host-pacs-session=[\w-]{43}; HttpOnly; Path=/; SameSite=lax; Secure$", cookie)
            secret = cookie.split("=", 1)[1].split(";")[0]
            # Under the name that a page of another host could set, it is not taken.
            for name, status in (("pacs-session", 401), ("__Host-pacs-session", 200)):
                answer = httpx.get(f"{url}/dicom-web/studies", headers={"Cookie": f"{name}={secret}"})
                assert answer.status_code in (status, 204)


def test_wrong_locked_and_unknown_look_the_same(archive: Archive, browser: httpx.Client) -> None:
    number = make(archive)
    make(archive, "off")
    archive.people.accounts.disable(OPERATOR, archive.people.accounts.named(OPERATOR, "off").id)
    seen = set()
    for name, password in (("lan", "wrong"), ("nobody", "wrong"), ("off", PASSWORD), ("", "")):
        answer = enter(browser, name, password)
        assert answer.status_code == 403
        seen.add(answer.text)
        assert "set-cookie" not in answer.headers
    assert len(seen) == 1
    assert archive.people.sessions.of(number) == []


def test_a_session_that_somebody_planted_is_not_taken_over(archive: Archive, browser: httpx.Client) -> None:
    make(archive)
    make(archive, "mallory")
    enter(browser, "mallory")
    planted = browser.cookies["pacs-session"]
    enter(browser, "lan")
    assert browser.cookies["pacs-session"] != planted
    assert archive.people.sessions.find(planted, "browser") is None
    browser.cookies.set("pacs-session", "chosen-by-somebody")
    enter(browser, "lan")
    assert archive.people.sessions.find("chosen-by-somebody", "browser") is None


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example/",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/%0d%0aSet-Cookie:x=1\r\nX: y",
        "evil.example",
        "///evil.example",
        "/\x00",
        "/sign-in?to=/sign-in",
        "/s/abc",
        "/" + "x" * 3000,
        "",
    ],
)
def test_nobody_is_led_to_another_site(archive: Archive, browser: httpx.Client, path: str) -> None:
    assert safe(path) == "/"


def test_the_way_back_is_checked_where_it_is_used(archive: Archive, browser: httpx.Client) -> None:
    make(archive)
    assert enter(browser, to="//evil.example/").headers["location"] == "/"
    assert browser.get("/sign-in", params={"to": "https://evil.example"}).headers["location"] == "/"
    assert safe("/viewer/viewer?StudyInstanceUIDs=1.2") == "/viewer/viewer?StudyInstanceUIDs=1.2"


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
def test_other_sites_change_nothing_by_any_route(
    archive: Archive, browser: httpx.Client, headers: dict[str, str]
) -> None:
    make(archive)
    assert browser.post("/sign-in", data={"name": "lan", "password": PASSWORD}, headers=headers).status_code == 403
    enter(browser)
    for path in ("/sign-out", "/profile/password", "/profile/sessions", "/", "/worklist", "/dicom-web/studies"):
        answer = browser.post(path, headers={**headers, "Accept": "*/*"})
        assert answer.status_code == 403, path
        assert "page of the archive" in answer.json()["detail"], path
    assert browser.get("/profile", headers=headers).status_code == 200


def test_signing_out_ends_the_session_at_once(archive: Archive, browser: httpx.Client) -> None:
    make(archive)
    enter(browser)
    secret = browser.cookies["pacs-session"]
    assert browser.get("/").status_code == 200
    left = browser.post("/sign-out")
    assert left.headers["location"] == "/sign-in"
    assert left.headers["clear-site-data"] == '"cache", "storage"'
    assert "pacs-session" not in browser.cookies
    browser.cookies.set("pacs-session", secret)
    assert browser.get("/").status_code == 303


def test_the_second_factor_by_page(archive: Archive, browser: httpx.Client) -> None:
    make(archive)
    secret, codes = with_factor(archive)
    begun = enter(browser, to="/profile")
    assert begun.headers["location"] == "/sign-in?to=%2Fprofile"
    half = browser.cookies["pacs-session"]
    assert browser.get("/").status_code == 303
    assert browser.get("/dicom-web/studies", headers={"Accept": "*/*"}).status_code == 401
    assert 'name="code"' in browser.get("/sign-in").text
    assert browser.post("/sign-in/code", data={"code": "x"}).status_code == 403
    # What is not asked for now cannot be done now.
    for path in ("/sign-in/password", "/sign-in/factor"):
        assert browser.post(path, data={"new": OTHER, "again": OTHER, "code": "1"}).status_code == 303
    entered = browser.post("/sign-in/code", data={"code": current(secret), "to": "/profile"})
    assert entered.headers["location"] == "/profile"
    assert browser.cookies["pacs-session"] != half
    assert browser.get("/profile").status_code == 200
    assert archive.people.sessions.find(half, "browser") is None
    assert len(codes) == 10


def test_codes_cannot_be_tried_out(archive: Archive, browser: httpx.Client) -> None:
    make(archive)
    secret, _ = with_factor(archive)
    enter(browser)
    wrong = [f"{number:06}" for number in range(6) if f"{number:06}" != current(secret)]
    statuses = [browser.post("/sign-in/code", data={"code": code}).status_code for code in wrong]
    assert statuses[:5] == [403] * 5
    assert "pacs-session" in browser.cookies
    # The session is gone, and the name is locked also for who knows the password and the code.
    assert browser.post("/sign-in/code", data={"code": current(secret)}).status_code == 303 if len(wrong) > 5 else True
    assert enter(browser).status_code == 403


def test_a_new_administrator_goes_all_the_way(archive: Archive, browser: httpx.Client) -> None:
    given = archive.people.accounts.create(
        OPERATOR, "chief", "Lê Văn Chính", [Membership(Role.FACILITY_ADMIN, "86001")]
    )
    enter(browser, "chief", given)
    page = browser.get("/sign-in")
    assert 'name="again"' in page.text
    differ = browser.post("/sign-in/password", data={"new": OTHER, "again": OTHER + "x"})
    assert differ.status_code == 400
    weak = browser.post("/sign-in/password", data={"new": "1234567", "again": "1234567"})
    assert weak.status_code == 400
    assert "quá ngắn" in weak.text
    browser.post("/sign-in/password", data={"new": OTHER, "again": OTHER})
    page = browser.get("/sign-in")
    assert "data:image/svg+xml" in page.text
    typed = re.search(r"<code>([A-Z2-7 ]+)</code>", page.text)
    assert typed is not None
    secret = b32decode(typed[1].replace(" ", ""))
    assert browser.post("/sign-in/factor", data={"code": "abc"}).status_code == 403
    done = browser.post("/sign-in/factor", data={"code": factor.code_at(secret, factor.step_at(time.time()))})
    assert done.status_code == 200
    assert len(re.findall(r"<li><code>", done.text)) == 10
    assert browser.get("/profile").status_code == 200
    # An administrator may see no images, and is led to what there is to do.
    assert browser.get("/").headers["location"] == "/links"


def test_own_password_and_sessions_on_the_profile_page(archive: Archive, browser: httpx.Client, url: str) -> None:
    make(archive)
    enter(browser)
    with httpx.Client(base_url=url, headers=BROWSER) as elsewhere:
        enter(elsewhere)
        assert elsewhere.get("/").status_code == 200
        assert browser.post("/profile/sessions").status_code == 303
        assert elsewhere.get("/").status_code == 303
        enter(elsewhere)
        wrong = browser.post("/profile/password", data={"current": "x", "new": OTHER, "again": OTHER})
        assert wrong.status_code == 403
        done = browser.post("/profile/password", data={"current": PASSWORD, "new": OTHER, "again": OTHER})
        assert done.status_code == 200
        assert elsewhere.get("/").status_code == 303
    assert browser.get("/").status_code == 200


def test_a_second_factor_of_ones_own_will(archive: Archive, browser: httpx.Client) -> None:
    make(archive)
    enter(browser)
    page = browser.post("/profile/factor")
    typed = re.search(r"<code>([A-Z2-7 ]+)</code>", page.text)
    assert typed is not None
    code = current(b32decode(typed[1].replace(" ", "")))
    assert browser.post("/profile/factor/prove", data={"code": "000"}).status_code == 403
    assert len(re.findall(r"<li><code>", browser.post("/profile/factor/prove", data={"code": code}).text)) == 10
    assert browser.post("/profile/recovery", data={"current": "wrong"}).status_code == 403
    assert len(re.findall(r"<li><code>", browser.post("/profile/recovery", data={"current": PASSWORD}).text)) == 10
    assert browser.post("/profile/factor/drop", data={"current": PASSWORD}).status_code == 200
    browser.post("/sign-out")
    assert enter(browser).headers["location"] == "/sign-in"


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer x",
        "Basic bGFuOng=",
        "Bearer a b",
        "Bearer " + "x" * 5000,
        "Negotiate abc",
        "Bearer \u00e9",
    ],
)
def test_what_is_no_token_is_nobody_even_beside_a_good_cookie(
    archive: Archive, browser: httpx.Client, header: str
) -> None:
    make(archive)
    enter(browser)
    raw = {"Authorization": header.encode("latin-1"), "Accept": b"*/*"}
    assert browser.get("/dicom-web/studies", headers=raw).status_code == 401  # type: ignore[arg-type]


def test_a_cookie_that_was_changed_is_worth_nothing(archive: Archive, browser: httpx.Client, url: str) -> None:
    make(archive)
    enter(browser)
    secret = browser.cookies["pacs-session"]
    for changed in (
        secret[:-1] + ("A" if secret[-1] != "A" else "B"),
        secret.lower(),
        secret[:-1],
        secret + "=",
        "' OR 1=1",
        "\u00e9",
    ):
        answer = httpx.get(f"{url}/dicom-web/studies", headers={"Cookie": f"pacs-session={changed}".encode("latin-1")})  # type: ignore[dict-item]
        assert answer.status_code == 401


def test_what_is_taken_away_is_away_in_seconds(
    archive: Archive, browser: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert finding.REMEMBERED <= 5
    monkeypatch.setattr(finding, "REMEMBERED", 0.0)
    number = make(archive)
    enter(browser)
    assert browser.get("/").status_code == 200
    archive.people.accounts.disable(OPERATOR, number)
    assert browser.get("/").status_code == 303


def test_a_page_that_asks_by_itself_does_not_keep_the_session_alive(
    archive: Archive, browser: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "REMEMBERED", 0.0)
    make(archive)
    enter(browser)
    for headers, left in (({"X-Unattended": "1"}, 303), ({}, 200)):
        enter(browser)
        back(archive, "account_session", "used_at", "now() - interval '10 minutes'")
        assert browser.get("/", headers=headers).status_code == 200
        back(archive, "account_session", "used_at", "used_at - interval '10 minutes'")
        assert browser.get("/").status_code == left


def test_health_is_told_without_asking_who(browser: httpx.Client) -> None:
    assert browser.get("/health/live", headers={"Cookie": "pacs-session=x"}).status_code == 200


def test_each_facility_sees_its_own(archive: Archive, browser: httpx.Client) -> None:
    make(archive, "an", Membership(Role.TECHNICIAN, "86001"))
    make(archive, "binh", Membership(Role.TECHNICIAN, "86002"))
    enter(browser, "an")
    browser.headers["Accept"] = "*/*"
    assert store(browser, part10(dataset())).status_code == 200
    assert len(browser.get("/dicom-web/studies", headers={"Accept": "*/*"}).json()) == 1
    enter(browser, "binh")
    answer = browser.get("/dicom-web/studies", headers={"Accept": "*/*"})
    assert answer.status_code == 204 or answer.json() == []


def test_an_address_that_tries_many_names_is_slowed_down() -> None:
    now = 0.0
    throttle = Throttle(lambda: now)
    for _ in range(TRIES):
        assert not throttle.is_shut("10.0.0.1")
        throttle.failed("10.0.0.1")
    assert throttle.is_shut("10.0.0.1")
    assert not throttle.is_shut("10.0.0.2")
    now = SECONDS
    assert not throttle.is_shut("10.0.0.1")
    throttle.failed("10.0.0.1")
    assert not throttle.is_shut("10.0.0.1")


def test_rights_of_nobody_open_nothing(archive: Archive, browser: httpx.Client) -> None:
    make(archive, "sotrung", Membership(Role.ANALYST, None))
    enter(browser, "sotrung")
    assert browser.get("/").headers["location"] == "/dashboard"
    assert browser.get("/profile").status_code == 200
    for path in ("/worklist", "/dicom-web/studies", "/metrics", "/queues"):
        assert browser.get(path).status_code == 403


# --- tokens of programs


def service(archive: Archive, *rights: Right) -> str:
    roles = [Membership(Role.SERVICE, "86001")]
    return archive.people.accounts.create(OPERATOR, "his", "HIS", roles, rights or [Right.STORE, Right.VIEW])


def test_a_program_gets_a_token_and_sends_for_its_facility(archive: Archive, url: str) -> None:
    secret = service(archive)
    given = httpx.post(f"{url}/oauth/token", data={"grant_type": "client_credentials"}, auth=("his", secret))
    assert given.status_code == 200
    assert given.headers["cache-control"] == "no-store"
    assert given.json()["token_type"] == "Bearer"
    assert given.json()["expires_in"] == 900
    bearer = {"Authorization": f"bearer {given.json()['access_token']}"}
    with httpx.Client(base_url=url, headers=bearer) as client:
        assert store(client, part10(dataset())).status_code == 200
        assert len(client.get("/dicom-web/studies").json()) == 1
        assert client.get("/metrics").status_code == 403
        assert client.get("/profile").status_code == 404
    revoked = {"token": given.json()["access_token"], "client_id": "his", "client_secret": secret}
    assert httpx.post(f"{url}/oauth/revoke", data=revoked).status_code == 200
    assert httpx.get(f"{url}/dicom-web/studies", headers=bearer).status_code == 401
    assert httpx.post(f"{url}/oauth/revoke", data=revoked | {"token": "unknown"}).status_code == 200


def test_prometheus_reads_the_metrics_with_a_token(archive: Archive, url: str) -> None:
    roles = [Membership(Role.SERVICE, None)]
    secret = archive.people.accounts.create(OPERATOR, "prometheus", "Prometheus", roles, [Right.OPERATE])
    form = {"grant_type": "client_credentials", "client_id": "prometheus", "client_secret": secret}
    token = httpx.post(f"{url}/oauth/token", data=form).json()["access_token"]
    answer = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    assert httpx.get(f"{url}/metrics").status_code == 401


@pytest.mark.parametrize(
    ("form", "basic", "status", "error"),
    [
        ({}, ("his", "wrong"), 400, "invalid_request"),
        ({"grant_type": "password"}, ("his", "wrong"), 400, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, ("his", "wrong"), 401, "invalid_client"),
        ({"grant_type": "client_credentials"}, ("nobody", "wrong"), 401, "invalid_client"),
        ({"grant_type": "client_credentials"}, None, 400, "invalid_request"),
        (
            {"grant_type": "client_credentials", "client_id": "his", "client_secret": "x"},
            ("his", "x"),
            400,
            "invalid_request",
        ),
    ],
)
def test_requests_for_tokens_that_are_refused(
    url: str, form: dict[str, str], basic: tuple[str, str] | None, status: int, error: str
) -> None:
    answer = httpx.post(f"{url}/oauth/token", data={**form, "x": "y"}, auth=basic)
    assert (answer.status_code, answer.json()) == (status, {"error": error})


@pytest.mark.parametrize("header", ["Basic !!!", "Basic w6k", "Basic aGlz", "Bearer abc", "Basic"])
def test_credentials_that_cannot_be_read(url: str, header: str) -> None:
    form = {"grant_type": "client_credentials"}
    answer = httpx.post(f"{url}/oauth/token", data=form, headers={"Authorization": header})
    assert answer.status_code in (400, 401)
    assert answer.json()["error"] in ("invalid_request", "invalid_client")


def test_a_token_does_not_sign_a_browser_in(archive: Archive, url: str) -> None:
    secret = service(archive)
    token, _ = archive.people.programs.token(archive.people.programs.by_secret("his", secret, ""), "")
    assert httpx.get(f"{url}/dicom-web/studies", headers={"Cookie": f"pacs-session={token}"}).status_code == 401
    make(archive)
    session = archive.people.signing_in.by_password("lan", PASSWORD, "").secret
    bearer = {"Authorization": f"Bearer {session}"}
    assert httpx.get(f"{url}/dicom-web/studies", headers=bearer).status_code == 401


def test_a_page_that_needs_nothing_else_can_say_that_somebody_works(archive: Archive, browser: httpx.Client) -> None:
    make(archive)
    enter(browser)
    back(archive, "account_session", "used_at", "clock_timestamp() - interval '10 minutes'")
    assert browser.get("/profile/alive").status_code == 204
    back(archive, "account_session", "used_at", "used_at - interval '10 minutes'")
    finding_again = {"Accept": "*/*", "Sec-Fetch-Mode": "cors"}
    assert browser.get("/profile/alive", headers=finding_again).status_code == 204
    cookie = f"pacs-session={browser.cookies['pacs-session']}"
    browser.post("/sign-out")
    assert (
        httpx.get(f"{browser.base_url}/profile/alive", headers={**finding_again, "Cookie": cookie}).status_code == 401
    )
