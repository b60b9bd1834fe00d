"""Patients' links: given by staff, opened with a second factor, and by nobody else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from archive.core import Archive
from archive.delivery.link_records import LinkLocked, NewLink, WrongAnswer
from archive.delivery.second_factor import read_birth_date
from archive.errors import InvalidQuery, NotFound, NotPermitted
from archive.people.caller import NOBODY, Caller, Kind
from archive.people.roles import Right
from archive.records import Source
from config.links import MessageGateway
from tests.factories import store as store_object
from tests.integration.archive.support import sql
from tests.integration.viewer_api.test_webhooks import SECRET, Receiver, receiver  # noqa: F401
from tests.web_server import dataset, part10, serving, store
from viewer_api.app import create_app
from viewer_api.links import COOKIE
from viewer_api.webhooks import signature

DOCTOR = Caller(
    Kind.ACCOUNT,
    "bs.an",
    {right: frozenset({"UNKNOWN"}) for right in (Right.VIEW, Right.DELIVER)},
)
BORN = "03/02/1980"


@pytest.fixture
def client(archive: Archive) -> Iterator[httpx.Client]:
    with serving(create_app(archive)) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def put(client: httpx.Client, **attributes: object) -> Dataset:
    made = dataset(**attributes)
    assert store(client, part10(made)).status_code == 200
    return made


def token_of(client: httpx.Client, study: str, **more: object) -> tuple[str, str | None]:
    answer = client.post("/delivery/links", json={"studies": [study], **more})
    assert answer.status_code == 201, answer.text
    url = answer.json()["url"]
    assert url.startswith(str(client.base_url).rstrip("/") + "/s/")
    return url.rsplit("/", 1)[1], answer.json()["code"]


@contextmanager
def opened(client: httpx.Client, token: str, answer: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=client.base_url, timeout=60) as visitor:
        response = visitor.post(f"/s/{token}", data={"answer": answer})
        assert response.status_code == 303, response.text
        assert response.headers["location"] == "/s"
        yield visitor


def test_a_patient_sees_the_study_of_the_link_and_nothing_else(client: httpx.Client) -> None:
    mine, other = put(client), put(client, PatientName="TRẦN^B", PatientID="BN2")
    token, code = token_of(client, mine.StudyInstanceUID)
    assert code is None
    question = httpx.get(f"{client.base_url}/s/{token}")
    assert question.status_code == 200
    assert "NGUYỄN" not in question.text
    with opened(client, token, BORN) as visitor:
        page = visitor.get("/s")
        assert "NGUYỄN VĂN AN" in page.text
        assert page.headers["cache-control"] == "no-store"
        assert [each["0020000D"]["Value"][0] for each in visitor.get("/s/dicom-web/studies").json()] == [
            mine.StudyInstanceUID
        ]
        metadata = visitor.get(f"/s/dicom-web/studies/{mine.StudyInstanceUID}/metadata")
        assert metadata.status_code == 200
        assert visitor.get(f"/s/dicom-web/studies/{other.StudyInstanceUID}/metadata").status_code == 404
        # It may be looked at, not taken away; and nothing may be changed.
        assert visitor.get(f"/s/dicom-web/studies/{mine.StudyInstanceUID}").status_code == 403
        assert store(visitor, part10(dataset()), path="/s/dicom-web/studies").status_code == 403
        for path in ("/s/worklist", "/s/queues", "/s/links", "/s/metrics"):
            assert visitor.get(path).status_code in (403, 404)


def test_addresses_in_metadata_stay_below_the_link(client: httpx.Client) -> None:
    mine = put(client, EncapsulatedDocument=b"x" * 4096)
    token, _ = token_of(client, mine.StudyInstanceUID)
    with opened(client, token, BORN) as visitor:
        found = visitor.get(f"/s/dicom-web/studies/{mine.StudyInstanceUID}/metadata").json()
        uri = found[0]["00420011"]["BulkDataURI"]
        assert uri.startswith(f"{client.base_url}/s/dicom-web/")
        assert visitor.get(uri).content == b"x" * 4096
        assert (
            client.get(f"/dicom-web/studies/{mine.StudyInstanceUID}/metadata")
            .json()[0]["00420011"]["BulkDataURI"]
            .startswith(f"{client.base_url}/dicom-web/")
        )


def test_the_cookie_counts_below_the_link_only(archive: Archive) -> None:
    app = create_app(archive)
    with serving(app) as url, httpx.Client(base_url=url) as client:
        mine = put(client)
        token, _ = token_of(client, mine.StudyInstanceUID)
        with opened(client, token, BORN) as visitor:
            app.state.sign_in = _Nobody()
            secret = visitor.cookies[COOKIE]
            assert visitor.get("/dicom-web/studies").status_code == 401
            sent = {"Cookie": f"{COOKIE}={secret}"}
            assert httpx.get(f"{url}/dicom-web/studies", headers=sent).status_code == 401
            assert visitor.get("/s/dicom-web/studies").status_code == 200


class _Nobody:
    async def caller(self, connection: object) -> Caller:
        del connection
        return NOBODY


@pytest.mark.parametrize("path", ["/s", "/s/dicom-web/studies", "/s/viewer", "/s/report/1.2/1.3"])
def test_without_the_factor_nothing_is_shown(client: httpx.Client, path: str) -> None:
    # Sign-in is off here: even so, below the prefix only links count.
    assert client.get(path).status_code == 401
    assert client.get(path, headers={"Cookie": f"{COOKIE}=guessed"}).status_code == 401


def test_a_copy_only_where_the_link_allows_it(client: httpx.Client) -> None:
    mine = put(client)
    token, _ = token_of(client, mine.StudyInstanceUID, may_copy=True)
    with opened(client, token, BORN) as visitor:
        path = f"/s/disc/{mine.StudyInstanceUID}"
        assert path in visitor.get("/s").text
        assert visitor.get(path).content[:2] == b"PK"
    token, _ = token_of(client, mine.StudyInstanceUID)
    with opened(client, token, BORN) as visitor:
        assert path not in visitor.get("/s").text
        assert visitor.get(path).status_code == 403


def test_wrong_answers_lock_the_link(client: httpx.Client) -> None:
    mine = put(client)
    token, _ = token_of(client, mine.StudyInstanceUID)
    lefts = []
    for _ in range(5):
        wrong = client.post(f"/s/{token}", data={"answer": "01/01/1999"})
        assert wrong.status_code == 403
        lefts += re.findall(r"Còn (\d) lần", wrong.text)
    assert lefts == ["4", "3", "2", "1"]
    assert client.post(f"/s/{token}", data={"answer": BORN}).status_code == 403
    assert "bị khóa" in client.get(f"/s/{token}").text
    assert client.get("/delivery/links").json()["links"][0]["state"] == "locked"


def test_many_guesses_at_once_are_no_more_than_the_tries(archive: Archive, client: httpx.Client) -> None:
    mine = put(client)
    made = archive.links.create(DOCTOR, NewLink((mine.StudyInstanceUID,), "code"))
    guesses = [f"{number:06}" for number in range(40) if f"{number:06}" != made.code]

    def guess(code: str) -> type[Exception]:
        with pytest.raises((WrongAnswer, LinkLocked)) as raised:
            archive.links.open(made.token, code, "127.0.0.1")
        return raised.type

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(guess, guesses))
    assert answers.count(WrongAnswer) == archive.settings.links.tries
    with pytest.raises(LinkLocked):
        archive.links.open(made.token, made.code, "127.0.0.1")


def test_right_answers_open_again_and_again(archive: Archive, client: httpx.Client) -> None:
    mine = put(client)
    made = archive.links.create(DOCTOR, NewLink((mine.StudyInstanceUID,), "code"))
    for _ in range(archive.settings.links.tries + 1):
        with pytest.raises(WrongAnswer):
            archive.links.open(made.token, "wrong", "127.0.0.1")
        archive.links.open(made.token, f"{made.code[:3]} {made.code[3:]}", "127.0.0.1")
    entry = archive.links.listed(DOCTOR)[0]
    assert entry.times_opened == archive.settings.links.tries + 1
    assert entry.first_opened_at is not None


def test_a_withdrawn_link_closes_where_it_is_open(archive: Archive, client: httpx.Client) -> None:
    mine = put(client)
    token, _ = token_of(client, mine.StudyInstanceUID)
    with opened(client, token, BORN) as visitor:
        secret = visitor.cookies[COOKIE]
        assert archive.links.caller(secret, "").kind is Kind.LINK
        link = client.get("/delivery/links").json()["links"][0]["id"]
        ended = client.post(f"/delivery/links/{link}/withdraw", json={"why": "người bệnh yêu cầu"})
        assert ended.json()["state"] == "withdrawn"
        assert archive.links.caller(secret, "") is NOBODY
        assert client.get(f"/s/{token}").status_code == 404
        assert client.post(f"/s/{token}", data={"answer": BORN}).status_code == 404


def test_a_link_ends_by_itself(archive: Archive, client: httpx.Client) -> None:
    mine = put(client)
    made = archive.links.create(DOCTOR, NewLink((mine.StudyInstanceUID,), days=1))
    session = archive.links.open(made.token, BORN, "127.0.0.1")
    assert session.expires_at <= made.expires_at
    assert made.expires_at - datetime.now(UTC) < timedelta(days=1, minutes=1)
    with psycopg.connect(archive.settings.database.url.get_secret_value()) as connection:
        connection.execute("UPDATE share_link SET expires_at = now()")
    assert archive.links.caller(session.secret, "") is NOBODY
    with pytest.raises(NotFound):
        archive.links.question(made.token)


def test_nobody_can_read_a_secret_from_the_database(archive: Archive, client: httpx.Client) -> None:
    mine = put(client)
    made = archive.links.create(DOCTOR, NewLink((mine.StudyInstanceUID,), "code"))
    session = archive.links.open(made.token, made.code, "127.0.0.1")
    with psycopg.connect(archive.settings.database.url.get_secret_value()) as connection:
        rows = [
            str(row)
            for table in ("share_link", "link_session", "access_grant", "audit_record", "delivery")
            for row in connection.execute(f"SELECT {table}::text FROM {table}")  # type: ignore[arg-type]
        ]
    assert len(rows) >= 5
    for secret in (made.token, made.code, session.secret):
        assert not any(secret in row for row in rows)


def test_closing_forgets_the_browser(client: httpx.Client) -> None:
    mine = put(client)
    token, _ = token_of(client, mine.StudyInstanceUID)
    with opened(client, token, BORN) as visitor:
        secret = visitor.cookies[COOKIE]
        assert visitor.post("/s/close").status_code == 303
        assert client.get("/s", headers={"Cookie": f"{COOKIE}={secret}"}).status_code == 401


def test_a_page_of_another_site_cannot_answer(client: httpx.Client) -> None:
    mine = put(client)
    token, _ = token_of(client, mine.StudyInstanceUID)
    sent = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    assert client.post(f"/s/{token}", data={"answer": BORN}, headers=sent).status_code == 403
    assert client.post(f"/s/{token}", data={"answer": BORN}).status_code == 303


# -- who may give one ------------------------------------------------------------------------------------------------


def test_only_the_facility_that_made_the_study_gives_it(archive: Archive) -> None:
    source = Source("86001", "86001", "import")
    made = dataset()
    store_object(archive, made, source)
    with pytest.raises(NotFound):
        archive.links.create(DOCTOR, NewLink((made.StudyInstanceUID,)))
    seeing = Caller(Kind.ACCOUNT, "a", {Right.VIEW: None, Right.DELIVER: frozenset({"UNKNOWN"})})
    with pytest.raises(NotPermitted):
        archive.links.create(seeing, NewLink((made.StudyInstanceUID,)))
    own = Caller(Kind.ACCOUNT, "b", {right: frozenset({"86001"}) for right in (Right.VIEW, Right.DELIVER)})
    link = archive.links.create(own, NewLink((made.StudyInstanceUID,)))
    assert [each.id for each in archive.links.listed(own)] == [link.id]
    assert archive.links.listed(DOCTOR) == []
    with pytest.raises(NotFound):
        archive.links.withdraw(DOCTOR, link.id)


def test_one_link_is_for_one_patient(archive: Archive, client: httpx.Client) -> None:
    first, second = put(client), put(client, PatientID="BN2")
    with pytest.raises(InvalidQuery, match="one patient"):
        archive.links.create(DOCTOR, NewLink((first.StudyInstanceUID, second.StudyInstanceUID)))


def test_without_a_birth_date_a_code_is_asked_for(archive: Archive, client: httpx.Client) -> None:
    mine = put(client, PatientBirthDate="")
    with pytest.raises(InvalidQuery, match="birth date"):
        archive.links.create(DOCTOR, NewLink((mine.StudyInstanceUID,)))
    made = archive.links.create(DOCTOR, NewLink((mine.StudyInstanceUID,), "code"))
    assert re.fullmatch(r"\d{6}", made.code)


@pytest.mark.parametrize("days", [0, 366])
def test_links_do_not_last_for_ever(archive: Archive, client: httpx.Client, days: int) -> None:
    mine = put(client)
    with pytest.raises(InvalidQuery, match="365 days"):
        archive.links.create(DOCTOR, NewLink((mine.StudyInstanceUID,), days=days))


def test_every_step_is_on_record(archive: Archive, client: httpx.Client) -> None:
    mine = put(client)
    made = archive.links.create(DOCTOR, NewLink((mine.StudyInstanceUID,)))
    with pytest.raises(WrongAnswer):
        archive.links.open(made.token, "1/1/2000", "10.1.2.3")
    archive.links.open(made.token, BORN, "10.1.2.3")
    archive.links.withdraw(DOCTOR, made.id, "hết cần")
    with psycopg.connect(archive.settings.database.url.get_secret_value()) as connection:
        told = connection.execute(
            "SELECT action, outcome, name, address FROM audit_record"
            " WHERE action IN ('share', 'deliver', 'withdraw') ORDER BY recorded_at"
        ).fetchall()
    link = f"link {made.id}"
    assert told == [
        ("share", "success", "bs.an", ""),
        ("deliver", "denied", link, "10.1.2.3"),
        ("deliver", "success", link, "10.1.2.3"),
        ("withdraw", "success", "bs.an", ""),
    ]


# -- what it shows ---------------------------------------------------------------------------------------------------


def _text(name: str, value: str) -> Dataset:
    concept, item = Dataset(), Dataset()
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = "1", "99TEST", name
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", value
    item.ConceptNameCodeSequence = Sequence([concept])
    return item


def test_a_report_is_read_at_once(client: httpx.Client) -> None:
    mine = put(client)
    title = Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = "18748-4", "LN", "Kết quả chụp CT"
    put(
        client,
        StudyInstanceUID=mine.StudyInstanceUID,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11",
        Modality="SR",
        ValueType="CONTAINER",
        ConceptNameCodeSequence=Sequence([title]),
        ContentSequence=Sequence([_text("Kết luận", "Không thấy bất thường <phổi>")]),
        ContentDate="20250302",
    )
    pdf = put(
        client,
        StudyInstanceUID=mine.StudyInstanceUID,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1",
        Modality="DOC",
        DocumentTitle="Phiếu kết quả",
        MIMETypeOfEncapsulatedDocument="application/pdf",
        EncapsulatedDocument=b"%PDF-1.4 x",
    )
    token, _ = token_of(client, mine.StudyInstanceUID)
    with opened(client, token, BORN) as visitor:
        page = visitor.get("/s").text
        assert "Kết quả chụp CT" in page
        assert "Không thấy bất thường &lt;phổi&gt;" in page
        address = f"/s/report/{mine.StudyInstanceUID}/{pdf.SOPInstanceUID}"
        assert address in page
        given = visitor.get(address)
        assert (given.headers["content-type"], given.content) == ("application/pdf", b"%PDF-1.4 x")
        assert visitor.get(f"/s/report/{mine.StudyInstanceUID}/{mine.SOPInstanceUID}").status_code == 404


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3/2/1980", "1980-02-03"),
        ("03-02-1980", "1980-02-03"),
        (" 03.02.1980 ", "1980-02-03"),
        ("03021980", "1980-02-03"),
        ("1980-02-03", "1980-02-03"),
        ("31/02/1980", None),
        ("1980", None),
        ("", None),
        ("٣/٢/١٩٨٠", None),
        ("0/0/0", None),
        ("1/2/3/4", None),
    ],
)
def test_birth_dates_are_read_as_people_write_them(text: str, found: str | None) -> None:
    assert (read_birth_date(text).__str__() if found else read_birth_date(text)) == found


# -- pages of staff --------------------------------------------------------------------------------------------------


def test_staff_print_a_slip_and_end_the_link(client: httpx.Client) -> None:
    mine = put(client)
    assert "Trả kết quả cho NGUYỄN VĂN AN" in client.get("/").text
    form = client.post("/links/new", data={"study": mine.StudyInstanceUID})
    assert "NGUYỄN VĂN AN" in form.text
    slip = client.post("/links/made", data={"study": mine.StudyInstanceUID, "factor": "code", "days": "7"})
    assert slip.status_code == 200, slip.text
    assert "<svg" in slip.text
    token = re.search(r"/s/([\w-]{22})<", slip.text)
    code = re.search(r"<b>(\d{3}) (\d{3})</b>", slip.text)
    assert token
    assert code
    with opened(client, token[1], code[1] + code[2]) as visitor:
        assert "NGUYỄN VĂN AN" in visitor.get("/s").text
    listed = client.get("/links").text
    assert "1 lần" in listed
    link = re.search(r'name="link" value="(\d+)"', listed)
    assert link
    assert client.post("/links/withdraw", data={"link": link[1]}).headers["location"] == "/links"
    assert "Đã thu hồi" in client.get("/links").text


def test_the_form_says_what_is_wrong(client: httpx.Client) -> None:
    mine = put(client, PatientBirthDate="")
    refused = client.post("/links/made", data={"study": mine.StudyInstanceUID, "days": "30"})
    assert refused.status_code == 400
    assert "hãy dùng mã 6 chữ số" in refused.text
    assert client.post("/links/new", data={"study": "1.2.3"}).status_code == 404
    assert client.post("/links/withdraw", data={"link": "x"}).status_code == 404


@pytest.fixture
def gateway(receiver: Receiver, archive: Archive) -> Receiver:  # noqa: F811
    """A real gateway of short messages, which the archive is to use."""
    send_by(archive, receiver.url)
    return receiver


def send_by(archive: Archive, url: str) -> None:
    messages = MessageGateway(url=url, secret=SECRET)  # type: ignore[arg-type]
    links = archive.settings.links.model_copy(update={"messages": messages, "code_wait": 0})
    archive.settings = archive.settings.model_copy(update={"links": links})
    archive.links._settings = links


def code_in(gateway: Receiver) -> str:
    (code,) = re.findall(r"\d{6}", gateway.taken[-1]["text"])
    return str(code)


def test_a_code_by_phone_opens_once(client: httpx.Client, gateway: Receiver) -> None:
    mine = put(client)
    token, code = token_of(client, mine.StudyInstanceUID, factor="phone", phone="0912 345.678")
    assert code is None
    question = client.get(f"/s/{token}")
    assert "678" in question.text
    assert "345" not in question.text
    assert gateway.taken == []
    asked = client.post(f"/s/{token}/code")
    assert (asked.status_code, asked.text.count('name="answer"')) == (200, 1)
    assert gateway.taken[0]["to"] == "+84912345678"
    assert "NGUYỄN" not in gateway.taken[0]["text"]
    headers, body = gateway.requests[0]
    assert headers["webhook-signature"] == signature(
        SECRET, headers["webhook-id"], int(headers["webhook-timestamp"]), body
    )
    first = code_in(gateway)
    with opened(client, token, first) as visitor:
        assert "NGUYỄN VĂN AN" in visitor.get("/s").text
    assert client.post(f"/s/{token}", data={"answer": first}).status_code == 403


def test_only_the_last_code_counts_and_not_for_long(client: httpx.Client, archive: Archive, gateway: Receiver) -> None:
    mine = put(client)
    token, _ = token_of(client, mine.StudyInstanceUID, factor="phone", phone="+84 912345678")
    codes = []
    while len(set(codes)) < 2:
        assert client.post(f"/s/{token}/code").status_code == 200
        codes.append(code_in(gateway))
    assert client.post(f"/s/{token}", data={"answer": codes[0]}).status_code == 403
    sql(archive, "UPDATE share_link SET sent_at = sent_at - interval '6 minutes'")
    assert client.post(f"/s/{token}", data={"answer": codes[-1]}).status_code == 403
    sql(archive, "UPDATE share_link SET sent_at = now()")
    assert client.post(f"/s/{token}", data={"answer": codes[-1]}).status_code == 303


def test_nobody_can_have_a_phone_rung_all_day(client: httpx.Client, archive: Archive, gateway: Receiver) -> None:
    mine = put(client)
    token, _ = token_of(client, mine.StudyInstanceUID, factor="phone", phone="0912345678")
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: client.post(f"/s/{token}/code").status_code, range(12)))
    assert sorted(codes) == [200] * 5 + [429] * 7
    assert len(gateway.taken) == 5
    sql(archive, "UPDATE share_link SET sent_at = sent_at - interval '25 hours'")
    assert client.post(f"/s/{token}/code").status_code == 200
    archive.links._settings = archive.links._settings.model_copy(update={"code_wait": 60})
    assert client.post(f"/s/{token}/code").status_code == 429


def test_of_two_browsers_with_the_code_one_opens(client: httpx.Client, gateway: Receiver) -> None:
    mine = put(client)
    token, _ = token_of(client, mine.StudyInstanceUID, factor="phone", phone="0912345678")
    client.post(f"/s/{token}/code")
    code = code_in(gateway)
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda _: client.post(f"/s/{token}", data={"answer": code}).status_code, range(4))
    assert sorted(answers) == [303, 403, 403, 403]


def test_wrong_codes_lock_the_link_whatever_is_sent_meanwhile(client: httpx.Client, gateway: Receiver) -> None:
    mine = put(client)
    token, _ = token_of(client, mine.StudyInstanceUID, factor="phone", phone="0912345678")
    # Without a code that was sent, nothing is right.
    for answer in ("", "000000", "111111", "222222", "333333"):
        assert client.post(f"/s/{token}", data={"answer": answer}).status_code == 403
    assert client.post(f"/s/{token}/code").status_code == 403
    assert gateway.taken == []


def test_a_gateway_that_fails_is_told_of(client: httpx.Client, gateway: Receiver) -> None:
    mine = put(client)
    token, _ = token_of(client, mine.StudyInstanceUID, factor="phone", phone="0912345678")
    gateway.answers = [500, 0]
    for _ in range(2):
        failed = client.post(f"/s/{token}/code")
        assert (failed.status_code, 'name="answer"' in failed.text) == (503, False)
    assert client.post(f"/s/{token}/code").status_code == 200


def test_codes_go_to_phones_only_and_only_where_they_can_be_sent(client: httpx.Client, archive: Archive) -> None:
    mine = put(client)
    wanted = {"studies": [mine.StudyInstanceUID], "factor": "phone", "phone": "0912345678"}
    refused = client.post("/delivery/links", json=wanted)
    assert (refused.status_code, "links.messages" in refused.text) == (400, True)
    send_by(archive, "http://127.0.0.1:9/")
    for phone in ("", "1234", "0123456789", "090012345x"):
        assert client.post("/delivery/links", json={**wanted, "phone": phone}).status_code == 400
    assert client.post("/delivery/links", json={**wanted, "factor": "code"}).status_code == 400
    token, _ = token_of(client, mine.StudyInstanceUID, factor="phone", phone="0912345678")
    assert client.post(f"/s/{token}/code").status_code == 503
    plain, _ = token_of(client, mine.StudyInstanceUID)
    assert client.post(f"/s/{plain}/code").status_code == 404
    (kept,) = sql(archive, "SELECT phone FROM share_link WHERE phone IS NOT NULL")
    assert b"912345678" not in kept
