"""What is told to whoever watches over the province: raised by how things are, cleared when they are mended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from archive.core import Archive
from archive.figures.alerts import Alert
from archive.index_session import IndexSession
from archive.routing import scan
from archive.routing.rules import rules_of
from config.hl7 import HL7Settings
from config.peers import Peer
from config.routes import Route
from config.settings import Settings
from tests.factories import ct_image, store
from tests.hl7 import items, listening, log, order, send, with_hl7
from tests.integration.archive.support import sql
from tests.integration.dicom_node.running import wait_until
from tests.integration.hl7.receiver import acknowledged, answering
from tests.kept_figures import FAR, NEAR, SOURCES, Kept
from tests.ports import free_port
from tests.web_server import serving
from viewer_api.app import create_app


def limited(settings: Settings, **limits: Any) -> Settings:
    """These settings with other limits of figures."""
    return settings.model_copy(update={"figures": settings.figures.model_copy(update=limits)})


@pytest.fixture
def kept(archive: Archive) -> Iterator[Kept]:
    found = Kept(archive)
    yield found
    found.close()


def told(archive: Archive, kind: str, facilities: frozenset[str] | None = None) -> list[Alert]:
    return [each for each in archive.figures.alerts(facilities) if each.kind == kind]


def shown(archive: Archive, address: str = "/dashboard") -> str:
    with serving(create_app(archive)) as base, httpx.Client(base_url=base, timeout=60) as client:
        response = client.get(address)
        assert response.status_code == 200, response.text
        return response.text


def ago(**span: float) -> datetime:
    return datetime.now(UTC) - timedelta(**span)


# -- who was never heard of ------------------------------------------------------------------------------------------


def test_who_was_never_heard_of_since_it_is_listed(kept: Kept) -> None:
    archive = kept.archive
    archive.figures.watch.note()
    assert not told(archive, "never_heard"), "it may need some days to be connected"
    sql(archive, "UPDATE figure_listed SET since = now() - interval '80 hours'")
    archive.figures.watch.note()
    assert [(each.subject, each.value) for each in told(archive, "never_heard")] == [(NEAR, 80.0), (FAR, 80.0)]
    assert [each.subject for each in told(archive, "never_heard", frozenset({FAR}))] == [FAR]
    assert not told(archive, "device_never_heard"), "who has sent nothing at all is told of once"
    page = shown(archive)
    assert "TTYT huyện: chưa từng gửi ảnh, đã khai báo 3,3 ngày" in page
    assert "Hẹn cơ sở kết nối máy" in page
    kept.store(FAR)
    kept.keep()
    assert [each.subject for each in told(archive, "never_heard")] == [NEAR]
    kept.store(NEAR)
    kept.keep()
    assert not told(archive, "never_heard")
    assert not archive.figures.alerts()


def test_a_device_of_a_facility_that_sends_was_never_heard_of(kept: Kept) -> None:
    archive = kept.archive
    archive.figures.watch.note()
    sql(archive, "UPDATE figure_listed SET since = now() - interval '80 hours'")
    store(archive, ct_image(), replace(SOURCES[NEAR], calling_ae_title="OTHER"))
    kept.keep()
    assert [each.subject for each in told(archive, "device_never_heard")] == ["CT1"]
    kept.store(NEAR)
    kept.keep()
    assert not told(archive, "device_never_heard")


def test_reports_that_the_archive_files_itself_are_no_sign_of_life(kept: Kept) -> None:
    image = ct_image(Modality="SR", StudyDescription="Kết quả")
    store(kept.archive, image, replace(SOURCES[NEAR], calling_ae_title="PACS", self_made=True))
    kept.keep()
    assert [each.received_at for each in kept.archive.figures.facilities()] == [None, None]


def test_who_is_taken_out_of_the_settings_is_forgotten(kept: Kept) -> None:
    archive = kept.archive
    archive.figures.watch.note(ago(days=10))
    sql(archive, "INSERT INTO figure_listed VALUES ('device', 'OLD1', %s, %s)", ago(days=30), ago(days=8))
    archive.figures.watch.note()
    listed = {name for (kind, name) in archive.figures.watch.since() if kind == "device"}
    assert listed == {"CT1", "US2"}
    assert archive.figures.watch.since()["device", "CT1"] < ago(days=9), "who stays is listed since then"


# -- what grows ------------------------------------------------------------------------------------------------------


@pytest.fixture
def routed(settings: Settings) -> Iterator[Archive]:
    """With a destination to which everything goes, and which nobody sends to."""
    peers = [*settings.peers, Peer(ae_title="VIEWER", facility="86001", host="127.0.0.1", port=1)]
    changed = {**settings.model_dump(), "peers": peers, "routes": [Route(name="all", destinations=("VIEWER",))]}
    with Archive.open(limited(Settings.model_validate(changed), queue_growth=4)) as archive:
        yield archive


def test_a_queue_that_becomes_longer_and_longer(routed: Archive) -> None:
    session = routed.routing.open_session()
    scan.begin(session)

    def come(count: int) -> None:
        for number in range(count):
            store(routed, ct_image(seed=number))
        _look(routed, session)

    try:
        come(1)
        routed.figures.watch.note(ago(hours=3.5))
        come(3)
        assert not told(routed, "growing"), "there is nothing to compare with half way"
        routed.figures.watch.note(ago(hours=2))
        assert not told(routed, "growing"), "it has not grown since"
        come(2)
        (alert,) = told(routed, "growing")
        assert (alert.subject, alert.of, alert.value, alert.before) == ("VIEWER", "forward", 6.0, 1.0)
        assert "ảnh gửi đến VIEWER đang dài ra: 6, trước đó 3,0 giờ là 1" in shown(routed)
        routed.routing.discard("VIEWER", only_failed=False)
        assert not told(routed, "growing")
    finally:
        session.close()


def test_what_came_at_once_is_not_growing(routed: Archive) -> None:
    session = routed.routing.open_session()
    scan.begin(session)
    try:
        routed.figures.watch.note(ago(hours=3.5))
        routed.figures.watch.note(ago(hours=2))
        for number in range(6):
            store(routed, ct_image(seed=number))
        _look(routed, session)
        assert not told(routed, "growing")
    finally:
        session.close()


def test_samples_of_two_processes_are_one_and_old_ones_go(routed: Archive) -> None:
    at = datetime(2026, 11, 22, 8, 1, tzinfo=UTC)
    for minutes in (0, 1, 8):
        routed.figures.watch.note(at + timedelta(minutes=minutes))
    assert sql(routed, "SELECT name, at FROM figure_sample") == [("VIEWER", at - timedelta(minutes=1))]
    routed.figures.watch.note(at + timedelta(minutes=9))
    assert sql(routed, "SELECT count(*) FROM figure_sample") == [2]
    routed.figures.watch.note(at + timedelta(hours=20))
    assert sql(routed, "SELECT count(*) FROM figure_sample") == [1]


def _look(archive: Archive, session: IndexSession) -> None:
    while scan.scan(session, rules_of(archive.settings)).behind:
        pass


def test_backlog_that_is_longer_than_a_week_ago(settings: Settings) -> None:
    with Archive.open(limited(settings, backlog_least=3)) as archive:
        kept = Kept(archive)
        old = [kept.store() for _ in range(2)]
        for study in old:
            kept.arrived(study, ago(days=9).isoformat())
        kept.store()
        kept.keep()
        assert not told(archive, "backlog"), "three are no more than half as many again as two"
        fourth = kept.store()
        kept.keep()
        (alert,) = told(archive, "backlog")
        assert (alert.subject, alert.value, alert.before) == (NEAR, 4.0, 2.0)
        assert not told(archive, "backlog", frozenset({FAR}))
        assert "Bệnh viện Đa khoa tỉnh: 4 ca chưa có kết quả, tuần trước 2" in shown(archive)
        kept.report(fourth, datetime.now(UTC).isoformat())
        kept.keep()
        assert not told(archive, "backlog")
        kept.close()


# -- what is behind --------------------------------------------------------------------------------------------------


def test_figures_that_are_behind(kept: Kept) -> None:
    archive = kept.archive
    kept.store()
    assert not told(archive, "behind"), "they may need a moment"
    sql(archive, "UPDATE stored_object SET received_at = now() - interval '2 hours'")
    (alert,) = told(archive, "behind")
    assert (alert.subject, alert.value, alert.level) == ("figures", 2.0, "critical")
    assert "Số liệu thống kê đang chậm 2,0 giờ" in shown(archive)
    assert not told(archive, "behind", frozenset({NEAR})), "that is no matter of a hospital"
    kept.keep()
    assert not told(archive, "behind")
    # The feed has it, and the figures do not; then a report that was not counted.
    sql(archive, "UPDATE change SET at = now() - interval '3 hours'")
    sql(archive, "UPDATE figure_cursor SET position = 0")
    assert [each.value for each in told(archive, "behind")] == [3.0]
    kept.keep()
    assert not told(archive, "behind")
    sql(archive, "INSERT INTO figure_dirty (what, key, due_at) VALUES ('study', 1, now() - interval '4 hours')")
    assert [each.value for each in told(archive, "behind")] == [4.0]
    kept.keep()
    assert not told(archive, "behind")


def test_forwarding_that_is_behind(routed: Archive) -> None:
    session = routed.routing.open_session()
    try:
        scan.begin(session)
        store(routed, ct_image())
        sql(routed, "UPDATE stored_object SET received_at = now() - interval '2 hours'")
        assert [each.subject for each in told(routed, "behind")] == ["routing"]
        _look(routed, session)
        assert not told(routed, "behind")
    finally:
        session.close()


# -- HL7 -------------------------------------------------------------------------------------------------------------


def telling(settings: Settings, port: int) -> Settings:
    """Settings with a sender, and a receiver at this port."""
    receiver = {"name": "HIS2", "host": "127.0.0.1", "port": port, "messages": ["orders"]}
    hl7 = with_hl7(settings).hl7.model_dump()
    hl7 |= {"receivers": [receiver], "first_wait": 0.05, "longest_wait": 0.1}
    return settings.model_copy(update={"hl7": HL7Settings.model_validate(hl7)})


def test_a_receiver_of_messages_that_is_away(settings: Settings) -> None:
    with Archive.open(telling(settings, free_port())) as archive:
        (quiet_in, quiet_out) = archive.figures.gateways().messages
        assert (quiet_in.kind, quiet_in.name, quiet_in.last_at) == ("hl7_in", "HIS1", None)
        assert (quiet_out.kind, quiet_out.name, quiet_out.waiting) == ("hl7_out", "HIS2", 0)
        with listening(archive) as listener:
            send(listener.port, order("1"))
        [item] = items(archive)
        with archive.messages.senders(0.05):
            archive.worklist.change(item.id, {"ScheduledProcedureStepStatus": "STARTED"}, partly=True)
            wait_until(lambda: bool(told(archive, "messages")), 120)
        (alert,) = told(archive, "messages")
        assert (alert.subject, alert.of, alert.level) == ("HIS2", "hl7_out", "warning")
        assert alert.text, "it says why"
        sql(archive, "UPDATE hl7_message SET received_at = now() - interval '5 hours' WHERE direction = 'out'")
        (alert,) = told(archive, "messages")
        assert (alert.level, alert.value) == ("critical", 5.0)
        page = shown(archive)
        assert "Hàng chờ bản tin HL7 gửi đến HIS2 bị tắc, lâu nhất 5,0 giờ" in page
        (came, goes) = archive.figures.gateways().messages
        assert came.last_at is not None
        assert (goes.waiting, goes.failing) == (1, True)
    with answering(acknowledged) as (port, taken), Archive.open(telling(settings, port)) as archive:
        archive.messages.retry("HIS2")
        with archive.messages.senders(0.05):
            taken.get(timeout=120)
            wait_until(lambda: not told(archive, "messages"), 120)
        assert archive.figures.gateways().messages[1].last_at is not None


def test_a_message_that_is_refused_is_told_of_until_it_is_done_again(settings: Settings) -> None:
    with Archive.open(telling(settings, 1)) as archive, listening(archive) as listener:
        send(listener.port, order("1", what="CA", accession="LATER"))
        (alert,) = told(archive, "messages_failed")
        assert (alert.subject, alert.of, alert.value) == ("HIS1", "hl7_in", 1.0)
        assert "1 bản tin HL7 từ HIS1 bị từ chối hoặc gửi không được" in shown(archive)
        send(listener.port, order("2", accession="LATER"))
        archive.messages.replay(log(archive, states=("refused",))[0].id)
        assert not told(archive, "messages_failed")
        send(listener.port, order("3", what="CA", accession="NEVER"))
        sql(archive, "UPDATE hl7_message SET done_at = now() - interval '80 hours' WHERE state = 'refused'")
        assert not told(archive, "messages_failed"), "its sender has had its time to send another"
        assert archive.figures.gateways().messages[0].failed == 1


def test_a_sender_of_messages_that_is_silent(settings: Settings) -> None:
    with Archive.open(telling(settings, 1)) as archive:
        archive.figures.watch.note()
        assert not told(archive, "sender_never_heard")
        sql(archive, "UPDATE figure_listed SET since = now() - interval '80 hours' WHERE kind = 'sender'")
        assert [each.subject for each in told(archive, "sender_never_heard")] == ["HIS1"]
        with listening(archive) as listener:
            send(listener.port, order("1"))
            assert not told(archive, "sender_never_heard")
            sql(archive, "UPDATE hl7_peer SET last_at = now() - interval '30 hours'")
            (alert,) = told(archive, "sender_silent")
            assert (alert.subject, alert.value) == ("HIS1", 30.0)
            send(listener.port, order("2", accession="A2"))
            assert not told(archive, "sender_silent")


def test_a_hospital_sees_its_own_partners_alone(settings: Settings) -> None:
    with Archive.open(telling(settings, 1)) as archive:
        figures = archive.figures
        assert [each.name for each in figures.gateways(frozenset({NEAR})).messages] == ["HIS1"]
        assert figures.gateways(frozenset({FAR})).messages == []
        body = httpx.Response(200, text=shown(archive, "/index/now")).json()
        assert [(each["kind"], each["name"]) for each in body["messages"]] == [("hl7_in", "HIS1"), ("hl7_out", "HIS2")]
        assert {"devices", "facilities", "forwarding", "alerts", "now"} <= {*body}
