"""PS3.18 11: Worklist Service (UPS-RS), with the rules of PS3.4 Annex CC."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from pydicom.uid import generate_uid
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from archive.core import Archive
from tests.web_server import serving, shared_web, web  # noqa: F401
from viewer_api.app import create_app

ITEMS = "/dicom-web/workitems"
JSON = {"Content-Type": "application/dicom+json"}
GLOBAL, FILTERED = "1.2.840.10008.5.1.4.34.5", "1.2.840.10008.5.1.4.34.5.1"
STATE, READINESS, LABEL, PRIORITY, START = "00741000", "00404041", "00741204", "00741200", "00404005"
TRANSACTION, PROGRESS, PERFORMED, EVENT_TYPE = "00081195", "00741002", "00741216", "00001002"


def text(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def code(value: str, meaning: str) -> dict[str, Any]:
    return {"00080100": text("SH", value), "00080102": text("SH", "99HOSP"), "00080104": text("LO", meaning)}


def workitem(**changes: Any) -> dict[str, Any]:
    """A workitem as an AI server or a 3D lab gets it; a change with None takes the attribute away."""
    made = {
        PRIORITY: text("CS", "MEDIUM"),
        LABEL: text("LO", "Đo thể tích phổi"),
        START: text("DT", "20261122083000+0700"),
        READINESS: text("CS", "READY"),
        STATE: text("CS", "SCHEDULED"),
        "00404018": text("SQ", code("LUNG3D", "Lung volumetry")),
        "00100010": text("PN", {"Alphabetic": "NGUYỄN^VĂN AN"}),
        "00100020": text("LO", "BN0001"),
        "0020000D": text("UI", "1.2.3.4"),
    } | {key.removeprefix("t"): value for key, value in changes.items()}
    return {key: value for key, value in made.items() if value is not None}


def send(client: httpx.Client, method: str, path: str, dataset: Any, **headers: str) -> httpx.Response:
    return client.request(method, path, content=json.dumps(dataset), headers={**JSON, **headers})


def create(client: httpx.Client, **changes: Any) -> str:
    uid = generate_uid()
    response = send(client, "POST", f"{ITEMS}?{uid}", workitem(**changes))
    assert response.status_code == 201, response.text
    return str(uid)


def change_state(client: httpx.Client, uid: str, state: str, transaction: str | None) -> httpx.Response:
    given = {STATE: text("CS", state)} | ({TRANSACTION: text("UI", transaction)} if transaction else {})
    return send(client, "PUT", f"{ITEMS}/{uid}/state", given)


def claim(client: httpx.Client, uid: str) -> str:
    transaction = str(generate_uid())
    assert change_state(client, uid, "IN PROGRESS", transaction).status_code == 200
    return transaction


def performed() -> dict[str, Any]:
    return {
        PERFORMED: text(
            "SQ",
            {
                "00404028": text("SQ", code("AI1", "AI server")),
                "00404050": text("DT", "20261122083100"),
                "00404019": text("SQ", code("LUNG3D", "Lung volumetry")),
                "00404051": text("DT", "20261122083200"),
                "00404033": text("SQ"),
            },
        )
    }


def state_of(client: httpx.Client, uid: str) -> str:
    found: str = client.get(f"{ITEMS}/{uid}").json()[STATE]["Value"][0]
    return found


@pytest.fixture
def w(shared_web: httpx.Client) -> httpx.Client:  # noqa: F811
    return shared_web


# -- 11.4 Create ------------------------------------------------------------------------------------------------------


def test_11_4_creates_a_workitem_under_the_uid_of_the_query(w: httpx.Client) -> None:
    for form in ("?{}", "?workitem={}", "?AffectedSOPInstanceUID={}"):
        uid = generate_uid()
        response = send(w, "POST", ITEMS + form.format(uid), workitem())
        assert (response.status_code, response.content) == (201, b"")
        assert response.headers["location"].endswith(f"{ITEMS}/{uid}")
        found = w.get(response.headers["location"]).json()
        assert found["00080018"]["Value"] == [uid]
        assert found["00080016"]["Value"] == ["1.2.840.10008.5.1.4.34.6.1"]
        assert found["00404010"]["Value"][0].startswith("20")  # Modification DateTime is ours to set
        assert found["00741202"]["Value"] == ["DEFAULT"]
        assert found[PERFORMED] == {"vr": "SQ"}
        assert found["00100010"]["Value"] == [{"Alphabetic": "NGUYỄN^VĂN AN"}]


def test_11_4_gives_a_uid_where_none_is_given_and_says_what_it_added(w: httpx.Client) -> None:
    response = send(w, "POST", ITEMS, [workitem()])
    assert response.status_code == 201
    assert response.headers["warning"].startswith("299 ")
    assert "created with modifications" in response.headers["warning"]
    assert w.get(response.headers["location"]).json()["00080018"]["Value"][0].startswith("2.25.")


def test_11_4_3_a_uid_that_is_taken_is_409(w: httpx.Client) -> None:
    uid = create(w)
    assert send(w, "POST", f"{ITEMS}?{uid}", workitem()).status_code == 409


@pytest.mark.parametrize("key", [PRIORITY, LABEL, START, READINESS, STATE])
@pytest.mark.parametrize("value", [None, {"vr": ""}])
def test_cc_2_5_type_1_attributes_must_have_a_value(w: httpx.Client, key: str, value: Any) -> None:
    made = workitem()
    vr = made.pop(key)["vr"]
    if value is not None:
        made[key] = {"vr": vr}
    response = send(w, "POST", ITEMS, made)
    assert response.status_code == 400
    assert "is missing" in response.json()["detail"]
    assert response.json()["errors"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({f"t{STATE}": text("CS", "IN PROGRESS")}, "ProcedureStepState"),
        ({f"t{PRIORITY}": text("CS", "URGENT")}, "ScheduledProcedureStepPriority"),
        ({f"t{READINESS}": text("CS", "MAYBE")}, "InputReadinessState"),
        ({f"t{START}": text("DT", "tomorrow")}, "ScheduledProcedureStepStartDateTime"),
        ({f"t{START}": text("DT", "20261322")}, "ScheduledProcedureStepStartDateTime"),
        ({f"t{TRANSACTION}": text("UI", "1.2.3")}, "TransactionUID"),
        ({f"t{PERFORMED}": performed()[PERFORMED]}, "UnifiedProcedureStepPerformedProcedureSequence"),
        ({"t0020000D": text("UI", "1.2.x")}, "StudyInstanceUID"),
        ({"t00080016": text("UI", "1.2.3")}, "SOPClassUID"),
        ({"t00100020": text("PN", {"Alphabetic": "A"})}, "PatientID"),
        ({"t00100010": text("PN", "A^B")}, "PatientName"),
        ({"t00404018": text("SQ", "x")}, "ScheduledWorkitemCodeSequence"),
        ({"t00404018": text("SQ", {"00080100": text("SH", 5)})}, "ScheduledWorkitemCodeSequence"),
        ({"t00100020": {"vr": "LO", "Value": "x"}}, "PatientID"),
        ({"t00100020": {"Value": ["x"]}}, "PatientID"),
        ({"t00420011": {"vr": "OB", "BulkDataURI": "http://x"}}, "EncapsulatedDocument"),
        ({"t00100020": text("LO", "a\0b")}, "NUL"),
        ({"t00200013": text("IS", 1e308)}, "InstanceNumber"),
        ({"t00720074": text("FD", 1e308)}, "SelectorFDValue"),
        ({"tPatientID": text("LO", "a")}, "PatientID"),
    ],
)
def test_11_4_3_what_is_wrong_is_400_and_names_the_attribute(
    w: httpx.Client, changes: dict[str, Any], named: str
) -> None:
    response = send(w, "POST", ITEMS, workitem(**changes))
    assert response.status_code == 400, response.text
    assert named in response.json()["detail"]


def test_11_4_malformed_bodies_are_refused(w: httpx.Client) -> None:
    deep: Any = text("LO", "x")
    for _ in range(200):
        deep = text("SQ", {"00404018": deep})
    for body, status in (
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"[{},{}]", 400),
        (b"7", 400),
        (b'"x"', 400),
        (b"\xff\xfe", 400),
        (json.dumps(workitem(t00404018=deep)).encode(), 400),
        (b" " * ((4 << 20) + 1), 413),
    ):
        assert w.post(ITEMS, content=body, headers=JSON).status_code == status, body[:40]
    assert w.post(ITEMS, content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
    assert send(w, "POST", f"{ITEMS}?nonsense=1", workitem()).status_code == 400
    assert send(w, "POST", f"{ITEMS}?workitem=x", workitem()).status_code == 400


# -- 11.5 Retrieve ----------------------------------------------------------------------------------------------------


def test_11_5_the_transaction_uid_is_never_told(w: httpx.Client) -> None:
    uid = create(w)
    transaction = claim(w, uid)
    response = w.get(f"{ITEMS}/{uid}")
    assert response.headers["content-type"] == "application/dicom+json"
    assert response.headers["cache-control"] == "no-cache"
    assert transaction not in response.text
    assert transaction not in w.get(ITEMS, params={"SOPInstanceUID": uid, "includefield": "all"}).text


def test_11_5_xml_is_given_and_what_is_not_there_is_404(w: httpx.Client) -> None:
    uid = create(w)
    response = w.get(f"{ITEMS}/{uid}", headers={"Accept": "application/dicom+xml"})
    assert response.headers["content-type"] == "application/dicom+xml"
    assert b"NativeDicomModel" in response.content and uid in response.text
    assert w.get(f"{ITEMS}/1.2.3.4.5").status_code == 404
    assert w.get(f"{ITEMS}/x").status_code == 400
    assert w.get(f"{ITEMS}/{uid}", headers={"Accept": "image/png"}).status_code == 406


# -- 11.6 Update ------------------------------------------------------------------------------------------------------


def test_11_6_attributes_are_replaced_and_the_rest_is_kept(w: httpx.Client) -> None:
    uid = create(w)
    before = w.get(f"{ITEMS}/{uid}").json()
    response = send(w, "POST", f"{ITEMS}/{uid}", {LABEL: text("LO", "Khác"), "00400400": text("LT", "Gấp")})
    assert response.status_code == 200
    after = w.get(f"{ITEMS}/{uid}").json()
    assert (after[LABEL]["Value"], after["00400400"]["Value"]) == (["Khác"], ["Gấp"])
    changed = {key for key in after if after[key] != before.get(key)}
    assert changed == {LABEL, "00400400", "00404010"}


def test_11_6_one_in_progress_needs_its_transaction_uid(w: httpx.Client) -> None:
    uid = create(w)
    transaction = claim(w, uid)
    change = {LABEL: text("LO", "x")}
    missing = send(w, "POST", f"{ITEMS}/{uid}", change)
    wrong = send(w, "POST", f"{ITEMS}/{uid}?1.2.3", change)
    assert (missing.status_code, wrong.status_code) == (400, 400)
    assert "The Transaction UID is missing." in missing.headers["warning"]
    assert "The Transaction UID is incorrect." in wrong.headers["warning"]
    for form in (f"?{transaction}", f"?transaction-uid={transaction}"):
        assert send(w, "POST", f"{ITEMS}/{uid}{form}", change).status_code == 200


def test_11_6_one_that_has_ended_is_no_longer_updated(w: httpx.Client) -> None:
    uid = create(w)
    assert send(w, "POST", f"{ITEMS}/{uid}/cancelrequest", {}).status_code == 202
    response = send(w, "POST", f"{ITEMS}/{uid}", {LABEL: text("LO", "x")})
    assert response.status_code == 400
    assert "inconsistent with the current state" in response.headers["warning"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"00100020": text("LO", "BN9")}, "PatientID"),
        ({STATE: text("CS", "COMPLETED")}, "ProcedureStepState"),
        ({"00080018": text("UI", "1.2.3")}, "SOPInstanceUID"),
        ({"0020000D": text("UI", "1.2.9")}, "StudyInstanceUID"),
        ({LABEL: text("LO")}, "ProcedureStepLabel"),
        ({PRIORITY: text("CS", "NOW")}, "ScheduledProcedureStepPriority"),
    ],
)
def test_cc_2_6_what_may_not_be_set_is_refused(w: httpx.Client, change: dict[str, Any], named: str) -> None:
    uid = create(w)
    response = send(w, "POST", f"{ITEMS}/{uid}", {**change, "00400400": text("LT", "no")})
    assert response.status_code == 400
    assert named in response.json()["detail"]
    assert "Value" not in w.get(f"{ITEMS}/{uid}").json()["00400400"]


def test_11_6_a_workitem_sent_back_whole_is_taken(w: httpx.Client) -> None:
    uid = create(w)
    whole = w.get(f"{ITEMS}/{uid}").json()
    assert send(w, "POST", f"{ITEMS}/{uid}", {**whole, LABEL: text("LO", "new")}).status_code == 200


def test_if_match_lets_no_other_change_be_overwritten(w: httpx.Client) -> None:
    uid = create(w)
    etag = w.get(f"{ITEMS}/{uid}").headers["etag"]
    change = {LABEL: text("LO", "x")}
    assert send(w, "POST", f"{ITEMS}/{uid}", change, **{"If-Match": etag}).status_code == 200
    assert send(w, "POST", f"{ITEMS}/{uid}", change, **{"If-Match": etag}).status_code == 412


# -- 11.7 Change State ------------------------------------------------------------------------------------------------


def test_11_7_from_scheduled_to_completed(w: httpx.Client) -> None:
    uid = create(w)
    transaction = claim(w, uid)
    early = change_state(w, uid, "COMPLETED", transaction)
    assert early.status_code == 409
    assert "UnifiedProcedureStepPerformedProcedureSequence" in early.json()["detail"]
    assert send(w, "POST", f"{ITEMS}/{uid}?{transaction}", performed()).status_code == 200
    assert change_state(w, uid, "COMPLETED", transaction).status_code == 200
    assert state_of(w, uid) == "COMPLETED"
    again = change_state(w, uid, "COMPLETED", transaction)
    assert again.status_code == 200
    assert "already in the requested state of COMPLETED" in again.headers["warning"]
    assert change_state(w, uid, "CANCELED", transaction).status_code == 409
    assert change_state(w, uid, "IN PROGRESS", transaction).status_code == 409


@pytest.mark.parametrize("lost", ["00404028", "00404050", "00404019", "00404051", "00404033"])
def test_cc_2_5_3_final_state_requirements(w: httpx.Client, lost: str) -> None:
    uid = create(w)
    transaction = claim(w, uid)
    given = performed()
    del given[PERFORMED]["Value"][0][lost]
    assert send(w, "POST", f"{ITEMS}/{uid}?{transaction}", given).status_code == 200
    assert change_state(w, uid, "COMPLETED", transaction).status_code == 409
    assert state_of(w, uid) == "IN PROGRESS"


def test_11_7_the_performer_may_cancel(w: httpx.Client) -> None:
    uid = create(w)
    transaction = claim(w, uid)
    assert change_state(w, uid, "CANCELED", transaction).status_code == 200
    item = w.get(f"{ITEMS}/{uid}").json()[PROGRESS]["Value"][0]
    assert item["00404052"]["Value"] and item["0074100E"]["Value"][0]["00080100"]["Value"] == ["110513"]
    assert "already" in change_state(w, uid, "CANCELED", transaction).headers["warning"]


@pytest.mark.parametrize(
    ("state", "transaction", "status"),
    [
        ("IN PROGRESS", None, 400),
        ("SCHEDULED", "1.2.3", 400),
        ("DONE", "1.2.3", 400),
        ("COMPLETED", "1.2.3", 409),
        ("CANCELED", "1.2.3", 409),
    ],
)
def test_cc_1_1_2_what_a_scheduled_workitem_does_not_become(
    w: httpx.Client, state: str, transaction: str | None, status: int
) -> None:
    uid = create(w)
    assert change_state(w, uid, state, transaction).status_code == status
    assert state_of(w, uid) == "SCHEDULED"


def test_cc_1_1_2_one_in_progress_belongs_to_its_performer(w: httpx.Client) -> None:
    uid = create(w)
    claim(w, uid)
    for state, transaction, status in (
        ("IN PROGRESS", "1.2.3", 409),
        ("CANCELED", "1.2.3", 400),
        ("COMPLETED", None, 400),
    ):
        assert change_state(w, uid, state, transaction).status_code == status
    assert change_state(w, "1.2.3.4.5", "IN PROGRESS", "1.2.3").status_code == 404


def test_of_many_workers_exactly_one_gets_the_workitem(w: httpx.Client) -> None:
    uid = create(w)
    workers = [str(generate_uid()) for _ in range(8)]
    barrier = threading.Barrier(len(workers))

    def race(transaction: str) -> int:
        with httpx.Client(base_url=w.base_url, timeout=60) as client:
            barrier.wait(60)
            return change_state(client, uid, "IN PROGRESS", transaction).status_code

    with ThreadPoolExecutor(len(workers)) as pool:
        statuses = list(pool.map(race, workers))
    assert sorted(statuses) == [200] + [409] * 7
    winner = workers[statuses.index(200)]
    assert send(w, "POST", f"{ITEMS}/{uid}?{winner}", performed()).status_code == 200


# -- 11.8 Request Cancellation ----------------------------------------------------------------------------------------


def test_11_8_a_scheduled_workitem_is_canceled_with_the_reason_given(w: httpx.Client) -> None:
    uid = create(w)
    reason = {"00741238": text("LT", "Bệnh nhân chuyển viện"), "0074100C": text("LO", "BS Lan")}
    assert send(w, "POST", f"{ITEMS}/{uid}/cancelrequest", reason).status_code == 202
    assert state_of(w, uid) == "CANCELED"
    item = w.get(f"{ITEMS}/{uid}").json()[PROGRESS]["Value"][0]
    assert item["00741238"]["Value"] == ["Bệnh nhân chuyển viện"]
    again = w.post(f"{ITEMS}/{uid}/cancelrequest")
    assert again.status_code == 202
    assert "already in the requested state of CANCELED" in again.headers["warning"]


def test_11_8_3_conflicts(w: httpx.Client) -> None:
    uid = create(w)
    transaction = claim(w, uid)
    unheard = w.post(f"{ITEMS}/{uid}/cancelrequest")
    assert unheard.status_code == 409  # nobody is subscribed, so nobody could learn of it
    send(w, "POST", f"{ITEMS}/{uid}?{transaction}", performed())
    assert change_state(w, uid, "COMPLETED", transaction).status_code == 200
    assert w.post(f"{ITEMS}/{uid}/cancelrequest").status_code == 409
    assert w.post(f"{ITEMS}/1.2.3.4/cancelrequest").status_code == 404


# -- 11.9 Search ------------------------------------------------------------------------------------------------------


def found(client: httpx.Client, **params: Any) -> list[str]:
    response = client.get(ITEMS, params={k.replace("__", "."): v for k, v in params.items()})
    assert response.status_code == 200, response.text
    return [each["00080018"]["Value"][0] for each in response.json()]


def test_11_9_search(web: httpx.Client) -> None:  # noqa: F811
    first = create(web)
    second = create(
        web,
        t00100020=text("LO", "BN0002"),
        t00100010=text("PN", {"Alphabetic": "TRẦN^THỊ BÌNH"}),
        t00404005=text("DT", "20261123"),
        t00404018=text("SQ", code("CAD", "CAD")),
        t00741200=text("CS", "HIGH"),
        t0020000D=None,
    )
    claim(web, second)
    everything = [first, second]
    for params, wanted in (
        ({}, everything),
        ({"ProcedureStepState": "SCHEDULED"}, [first]),
        ({"ProcedureStepState": "IN PROGRESS,SCHEDULED"}, everything),
        ({"00741000": "COMPLETED"}, []),
        ({"PatientID": "BN0002"}, [second]),
        ({"PatientID": "BN*"}, everything),
        ({"PatientName": "tran*"}, [second]),
        ({"PatientName": "bình", "fuzzymatching": "true"}, [second]),
        ({"StudyInstanceUID": "1.2.3.4"}, [first]),
        ({"SOPInstanceUID": f"{first},{second}"}, everything),
        ({"ScheduledProcedureStepPriority": "HIGH"}, [second]),
        ({"ProcedureStepLabel": "Đo*"}, everything),
        ({"ScheduledWorkitemCodeSequence__CodeValue": "CAD"}, [second]),
        ({"ScheduledWorkitemCodeSequence__CodeValue": "LUNG*"}, [first]),
        ({"ScheduledProcedureStepStartDateTime": "20261122"}, [first]),
        ({"ScheduledProcedureStepStartDateTime": "20261123-"}, [second]),
        ({"ScheduledProcedureStepStartDateTime": "-20261122083000+0700"}, [first]),
        ({"ScheduledProcedureStepStartDateTime": "20261122013000+0000-20261122013000+0000"}, [first]),
        ({"ScheduledProcedureStepStartDateTime": "-20261122003000-0500"}, [first]),
        ({"limit": 1}, [first]),
        ({"limit": 1, "offset": 1}, [second]),
    ):
        assert found(web, **params) == wanted, params
    match = web.get(ITEMS, params={"PatientID": "BN0002", "includefield": "ExpectedCompletionDateTime"}).json()[0]
    assert match["00404011"] == {"vr": "DT"}
    assert {STATE, READINESS, LABEL, PRIORITY, START, "00100020"} <= match.keys()
    assert PERFORMED not in match
    assert PERFORMED in web.get(ITEMS, params={"PatientID": "BN0002", "includefield": "all"}).json()[0]
    page = web.get(ITEMS, params={"limit": 1})
    assert page.headers["x-total-count"] == "2"
    xml = web.get(ITEMS, headers={"Accept": 'multipart/related; type="application/dicom+xml"'})
    assert xml.text.count("<NativeDicomModel") == 2
    for bad in ("PatientBirth=1", "limit=x", "PatientID.x=1", "ScheduledProcedureStepStartDateTime=today",
                "PatientName.PatientID=1", "ScheduledProcedureStepExpirationDateTime=2026"):  # fmt: skip
        assert web.get(f"{ITEMS}?{bad}").status_code == 400, bad


# -- 11.10 to 11.13 Subscriptions and events --------------------------------------------------------------------------


@pytest.fixture
def channel(web: httpx.Client) -> Iterator[ClientConnection]:  # noqa: F811
    with open_channel(web, "WATCH") as opened:
        yield opened


def open_channel(client: httpx.Client, aet: str, **more: Any) -> Any:
    address = str(client.base_url).replace("http", "ws").rstrip("/")
    return connect(f"{address}/dicom-web/subscribers/{aet}", **more)


def subscribe(client: httpx.Client, uid: str, aet: str = "WATCH", query: str = "") -> httpx.Response:
    return client.post(f"{ITEMS}/{uid}/subscribers/{aet}{query}")


def event(channel: ClientConnection) -> tuple[str, int, dict[str, Any]]:
    dataset = json.loads(channel.recv(timeout=60))
    assert dataset["00000002"]["Value"] == ["1.2.840.10008.5.1.4.34.6.4"]
    assert 1 <= dataset["00000110"]["Value"][0] <= 0xFFFF
    return dataset["00001000"]["Value"][0], dataset[EVENT_TYPE]["Value"][0], dataset


def states(channel: ClientConnection, count: int) -> list[tuple[str, int, str]]:
    got = [event(channel) for _ in range(count)]
    return [(uid, kind, dataset.get(STATE, {}).get("Value", [""])[0]) for uid, kind, dataset in got]


def test_11_13_a_life_is_told_in_order(web: httpx.Client, channel: ClientConnection) -> None:  # noqa: F811
    uid = create(web)
    response = subscribe(web, uid)
    assert response.status_code == 201
    assert response.headers["content-location"].startswith("ws://")
    assert response.headers["content-location"].endswith("/dicom-web/subscribers/WATCH")
    transaction = claim(web, uid)
    progress = {PROGRESS: text("SQ", {"00741004": text("DS", 50), "00741006": text("ST", "half")})}
    assert send(web, "POST", f"{ITEMS}/{uid}?{transaction}", progress).status_code == 200
    station = {"00404025": text("SQ", code("AI2", "another"))}
    assert send(web, "POST", f"{ITEMS}/{uid}?{transaction}", station).status_code == 200
    assert send(web, "POST", f"{ITEMS}/{uid}/cancelrequest", {"00741238": text("LT", "why")}).status_code == 202
    send(web, "POST", f"{ITEMS}/{uid}?{transaction}", performed())
    assert change_state(web, uid, "COMPLETED", transaction).status_code == 200
    got = [event(channel) for _ in range(6)]
    assert {each[0] for each in got} == {uid}
    assert [each[1] for each in got] == [1, 1, 3, 5, 2, 1]
    assert got[0][2][STATE]["Value"] == ["SCHEDULED"] and got[0][2][READINESS]["Value"] == ["READY"]
    assert got[2][2][PROGRESS]["Value"][0]["00741004"]["Value"] == [50.0]
    assert got[3][2]["00404025"]["Value"][0]["00080100"]["Value"] == ["AI2"]
    assert got[4][2]["00741238"]["Value"] == ["why"]
    assert got[5][2][STATE]["Value"] == ["COMPLETED"]


def test_11_10_global_filtered_suspended_and_ended(web: httpx.Client, channel: ClientConnection) -> None:  # noqa: F811
    old = create(web)
    assert subscribe(web, GLOBAL).status_code == 201
    new = create(web)
    assert states(channel, 2) == [(old, 1, "SCHEDULED"), (new, 1, "SCHEDULED")]
    assert web.post(f"{ITEMS}/{GLOBAL}/subscribers/WATCH/suspend").status_code == 200
    unseen = create(web)
    claim(web, new)
    assert states(channel, 1) == [(new, 1, "IN PROGRESS")]
    assert web.delete(f"{ITEMS}/{GLOBAL}/subscribers/WATCH").status_code == 200
    claim(web, unseen)
    claim(web, old)
    assert (
        subscribe(web, FILTERED, query="?filter=ScheduledProcedureStepPriority=HIGH&PatientID=BN7").status_code == 201
    )
    create(web, t00100020=text("LO", "BN7"))
    wanted = create(web, t00100020=text("LO", "BN7"), t00741200=text("CS", "HIGH"))
    assert states(channel, 1) == [(wanted, 1, "SCHEDULED")]


def test_11_10_3_what_cannot_be_subscribed_to(w: httpx.Client) -> None:
    uid = create(w)
    for path, status in (
        (f"{ITEMS}/1.2.3.4/subscribers/X", 404),
        (f"{ITEMS}/{uid}/subscribers/AN-AE-TITLE-TOO-LONG", 400),
        (f"{ITEMS}/{uid}/subscribers/X?deletionlock=maybe", 400),
        (f"{ITEMS}/{uid}/subscribers/X?PatientID=1", 400),
        (f"{ITEMS}/{FILTERED}/subscribers/X", 400),
        (f"{ITEMS}/{FILTERED}/subscribers/X?filter=Nonsense=1", 400),
        (f"{ITEMS}/{GLOBAL}/subscribers/X?PatientID=1", 400),
        (f"{ITEMS}/{uid}/subscribers/X/suspend", 400),
        (f"{ITEMS}/{GLOBAL}/subscribers/NOBODY/suspend", 404),
    ):
        assert w.post(path).status_code == status, path
    assert w.post(f"{ITEMS}/{FILTERED}/subscribers/NUL?PatientID=%00").status_code == 201
    assert w.delete(f"{ITEMS}/{FILTERED}/subscribers/NUL").status_code == 200
    assert w.delete(f"{ITEMS}/{uid}/subscribers/NOBODY").status_code == 404
    assert w.delete(f"{ITEMS}/{GLOBAL}/subscribers/NOBODY").status_code == 404
    assert w.delete(f"{ITEMS}/1.2.3.4/subscribers/X").status_code == 404


def test_cc_2_3_a_deletion_lock_keeps_what_has_ended(archive: Archive) -> None:
    with serving(create_app(archive)) as url, httpx.Client(base_url=url) as client:
        locked, free, alive = create(client), create(client), create(client)
        assert subscribe(client, locked, query="?deletionlock=true").status_code == 201
        assert subscribe(client, free).status_code == 201
        for uid in (locked, free):
            assert client.post(f"{ITEMS}/{uid}/cancelrequest").status_code == 202
        assert archive.ups.workitems.delete_old(1) == 0
        assert archive.ups.workitems.delete_old(1e-9) == 1
        assert [client.get(f"{ITEMS}/{uid}").status_code for uid in (locked, free, alive)] == [200, 404, 200]
        assert client.delete(f"{ITEMS}/{locked}/subscribers/WATCH").status_code == 200
        assert archive.ups.workitems.delete_old(1e-9) == 1


def test_11_13_events_wait_until_the_channel_opens_and_a_second_one_replaces_the_first(
    web: httpx.Client,  # noqa: F811
) -> None:
    uid = create(web)
    subscribe(web, uid)
    claim(web, uid)
    with open_channel(web, "WATCH") as first:
        assert states(first, 2) == [(uid, 1, "SCHEDULED"), (uid, 1, "IN PROGRESS")]
        with open_channel(web, "WATCH") as second:
            with pytest.raises(ConnectionClosed):
                first.recv(timeout=60)
            assert first.protocol.close_code == 4000
            create(web)
            subscribe(web, uid)
            assert states(second, 1) == [(uid, 1, "IN PROGRESS")]


def test_two_processes_share_the_events(archive: Archive) -> None:
    """What one web service changes, a subscriber of another learns."""
    with (
        serving(create_app(archive)) as one,
        serving(create_app(archive)) as two,
        httpx.Client(base_url=one) as writer,
        httpx.Client(base_url=two) as watcher,
        open_channel(watcher, "WATCH") as channel,
    ):
        subscribe(writer, GLOBAL)
        uid = create(writer)
        assert states(channel, 1) == [(uid, 1, "SCHEDULED")]


def test_pages_of_other_sites_get_no_channel_and_change_nothing(w: httpx.Client) -> None:
    uid = create(w)
    foreign = {"Origin": "https://evil.example"}
    with pytest.raises(InvalidStatus) as refused, open_channel(w, "WATCH", additional_headers=foreign):
        pass
    assert refused.value.response.status_code == 403
    assert w.post(f"{ITEMS}/{uid}/subscribers/X", headers=foreign).status_code == 403
    assert w.post(f"{ITEMS}/{uid}/cancelrequest", headers=foreign).status_code == 403
    assert send(w, "POST", ITEMS, workitem(), **foreign).status_code == 403
    own = {"Origin": str(w.base_url).rstrip("/")}
    with open_channel(w, "WATCH", additional_headers=own):
        pass
    with pytest.raises(InvalidStatus) as refused, open_channel(w, "AN-AE-TITLE-TOO-LONG"):
        pass
    assert refused.value.response.status_code == 400


def test_of_too_many_waiting_events_the_newest_are_kept(archive: Archive) -> None:
    from archive.ups.channels import drop_excess

    with serving(create_app(archive)) as url, httpx.Client(base_url=url) as client:
        subscribe(client, GLOBAL)
        uids = [create(client) for _ in range(5)]
        assert drop_excess(archive._engine, 3) == 2
        assert drop_excess(archive._engine, 3) == 0
        with open_channel(client, "WATCH") as channel:
            assert [uid for uid, _, _ in states(channel, 3)] == uids[2:]


def test_the_transactions_are_described(w: httpx.Client) -> None:
    paths = w.get("/openapi.json").json()["paths"]
    assert set(paths[ITEMS]) == {"get", "post"}
    assert set(paths[f"{ITEMS}/{{workitem}}"]) == {"get", "post"}
    assert set(paths[f"{ITEMS}/{{workitem}}/subscribers/{{aet}}"]) == {"post", "delete"}
    assert "application/dicom+json" in paths[f"{ITEMS}/{{workitem}}/state"]["put"]["requestBody"]["content"]
