"""DICOM audit messages (PS3.15 A.5) and their transport by syslog (A.6, A.7; RFC 5424, 5425, 5426)."""

from __future__ import annotations

import socket
import ssl
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from archive.audit.events import Action, AuditEvent, Outcome
from archive.audit.message import SHAPES, audit_message
from archive.audit.search import AuditSearch
from archive.audit.sending import Sender, send_some
from archive.audit.syslog import Collector, CollectorAway
from archive.core import Archive
from archive.index_session import IndexSession
from archive.people.caller import Caller, Kind
from config.audit import SyslogSettings
from tests.certificates import Authority
from tests.integration.archive.conftest import shared
from tests.integration.archive.support import sql
from tests.integration.audit.repository import Repository, checked, parsed
from tests.integration.dicom_node.running import wait_until

__all__ = ["shared"]
DOCTOR = Caller(Kind.ACCOUNT, "bs.lan <&>", account=7, address="10.1.2.3", home=frozenset({"86001"}))


def entries(archive: Archive) -> Iterator[bytes]:
    for entry in archive.trail.all(AuditSearch()):
        yield audit_message(entry, "PACS", "Sở Y tế")


INDICATORS = {"success": "0", "failed": "4", "denied": "8", "intended": "0"}


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_record_is_a_message_that_the_schema_takes(shared: Archive, action: Action, outcome: Outcome) -> None:
    archive = shared
    odd = "Nguyễn <b>&\"' \x01\x1f \ufffe"
    archive.audit.record_all(
        [
            AuditEvent(action, DOCTOR, outcome, studies=("1.2.3", "1.2.4"), patient_id=odd, purpose=odd),
            AuditEvent(
                action, Caller(Kind.NOBODY), outcome, detail={"what": odd, "keys": [odd], "instances": 3, "why": odd}
            ),
            AuditEvent(action, DOCTOR, outcome, studies=("1.2.3",), detail={"instances": 3, "destination": "VIEWER"}),
        ]
    )
    found = [entry for entry in archive.trail.all(AuditSearch()) if entry.action == action and entry.outcome == outcome]
    assert len(found) == 3
    for entry in found:
        root = checked(audit_message(entry, "PACS", "Sở Y tế"))
        assert root[0][0].attrib["csd-code"] == SHAPES[action].event.value
        assert root[0].attrib["EventOutcomeIndicator"] == INDICATORS[outcome]


def test_what_a_message_says(archive: Archive) -> None:
    detail: dict[str, str | int | list[str]] = {"what": "C-MOVE", "instances": 312, "destination": "VIEWER"}
    archive.audit.record(
        AuditEvent(Action.COPY, DOCTOR, studies=("1.2.3",), patient_id="BN1", purpose="hội chẩn", detail=detail)
    )
    (message,) = entries(archive)
    root = checked(message)
    participants = [each.attrib["UserID"] for each in root.iter("ActiveParticipant")]
    assert participants == ["bs.lan <&>", "PACS", "VIEWER"]
    assert root.find("ActiveParticipant").attrib["NetworkAccessPointID"] == "10.1.2.3"  # type: ignore[union-attr]
    objects = {each.attrib["ParticipantObjectID"]: each for each in root.iter("ParticipantObjectIdentification")}
    assert set(objects) == {"1.2.3", "BN1"}
    assert next(objects["1.2.3"].iter("SOPClass")).attrib["NumberOfInstances"] == "312"
    told = {
        each.attrib["type"]: b64decode(each.attrib["value"]).decode() for each in root.iter("ParticipantObjectDetail")
    }
    assert (told["record"], told["purpose"], told["destination"]) == ("1-1", "hội chẩn", "VIEWER")


def test_peers_that_are_not_let_in_and_imports_have_messages_of_their_own(archive: Archive) -> None:
    stranger = Caller(Kind.PEER, "STRANGER", address="10.9.9.9")
    archive.audit.record(AuditEvent(Action.SIGN_IN, stranger, Outcome.DENIED, detail={"why": "CALLING_AE_TITLE"}))
    archive.audit.record(AuditEvent(Action.STORE, stranger, studies=("1.2",), detail={"transport": "import"}))
    imported, alert = (checked(message) for message in entries(archive))
    codes = [[each.attrib["csd-code"] for each in list(root[0])[:2]] for root in (alert, imported)]
    assert codes == [["110113", "110126"], ["110107", "store"]]


@contextmanager
def sending(archive: Archive, settings: SyslogSettings) -> Iterator[None]:
    with Sender(archive.settings.database, settings, "PACS", interval=0.05):
        yield


def uids(repository: Repository) -> list[str]:
    found = [checked(message).find("ParticipantObjectIdentification") for message in list(repository.messages)]
    return [each.attrib["ParticipantObjectID"] for each in found if each is not None]


def views(archive: Archive, *numbers: int) -> None:
    archive.audit.record_all([AuditEvent(Action.VIEW, DOCTOR, studies=(f"1.{number}",)) for number in numbers])


def test_by_tls_with_certificates_of_both_sides(archive: Archive, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    server, client = authority.pair("repository", names=("127.0.0.1",)), authority.pair("pacs")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    repository = Repository(context)
    files = {"ca_file": authority.file, "certificate_file": client.certificate, "key_file": client.key}
    settings = SyslogSettings(host="127.0.0.1", port=repository.port, **files)  # type: ignore[arg-type]
    views(archive, 1)
    with sending(archive, settings):
        views(archive, *range(2, 700))
        wait_until(lambda: len(repository.messages) == 699, "all messages came")
    assert uids(repository) == [f"1.{number}" for number in range(1, 700)]
    # A repository whose certificate nobody vouches for gets nothing.
    stranger = Collector(settings.model_copy(update={"ca_file": Authority(tmp_path / "other", "other").file}))
    with pytest.raises(CollectorAway, match="CERTIFICATE_VERIFY_FAILED"):
        stranger.send([b"x"])
    repository.close()


def test_nothing_is_lost_while_the_repository_is_away(archive: Archive) -> None:
    first = Repository()
    settings = SyslogSettings(host="127.0.0.1", port=first.port, protocol="tcp", timeout=2)
    session, collector = IndexSession(archive.settings.database, "test"), Collector(settings)
    views(archive, 1, 2)
    assert send_some(session, collector, settings, "PACS") == 2
    wait_until(lambda: len(first.messages) == 2, "the first came")
    first.close()
    views(archive, 3, 4)
    # The first write after the break may still be taken by the system: it is the check behind it that counts.
    with pytest.raises(CollectorAway):
        while True:
            send_some(session, collector, settings, "PACS")
            views(archive, 5)
    second = Repository(port=settings.port)
    views(archive, 6)
    while send_some(session, collector, settings, "PACS"):
        pass
    recorded = sql(archive, "SELECT count(*) FROM audit_record")[0]
    wait_until(lambda: "1.6" in uids(second), "the rest came")
    assert {*uids(first), *uids(second)} == {f"1.{number}" for number in range(1, 7)} - (
        {"1.5"} if recorded == 5 else set()
    )
    second.close()
    collector.close()
    session.close()


def test_by_udp(archive: Archive) -> None:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.settimeout(20)
    settings = SyslogSettings(host="127.0.0.1", port=receiver.getsockname()[1], protocol="udp")
    views(archive, 1)
    with sending(archive, settings):
        message = parsed(receiver.recv(1 << 16))
    assert checked(message)[0][0].attrib["originalText"] == "DICOM Instances Accessed"
    receiver.close()


def test_queries_may_be_left_out(archive: Archive) -> None:
    repository = Repository()
    settings = SyslogSettings(host="127.0.0.1", port=repository.port, protocol="tcp", searches=False)
    archive.audit.record_all([AuditEvent(Action.SEARCH, DOCTOR, detail={"keys": ["PatientID=1"]})] * 3)
    views(archive, 1)
    with sending(archive, settings):
        wait_until(lambda: bool(repository.messages), "the look came")
        wait_until(lambda: sql(archive, "SELECT sent FROM audit_segment") == [4], "all are done with")
    assert uids(repository) == ["1.1"]
    repository.close()


def test_two_processes_send_each_segment_once_at_a_time(archive: Archive) -> None:
    repository = Repository()
    settings = SyslogSettings(host="127.0.0.1", port=repository.port, protocol="tcp")
    views(archive, *range(400))
    with sending(archive, settings), sending(archive, settings):
        wait_until(lambda: sql(archive, "SELECT sent FROM audit_segment") == [400], "all are sent")
        wait_until(lambda: len(repository.messages) == 400, "all came")
    assert sorted(uids(repository)) == sorted(f"1.{number}" for number in range(400))
    repository.close()


def test_whoever_writes_does_not_wait_for_a_repository_that_hangs(archive: Archive) -> None:
    deaf = socket.create_server(("127.0.0.1", 0), backlog=1)
    settings = SyslogSettings(host="127.0.0.1", port=deaf.getsockname()[1], protocol="tcp", timeout=300)
    blob = "x" * 2000
    archive.audit.record_all(
        [
            AuditEvent(Action.VIEW, DOCTOR, studies=("1.2",), detail={f"k{n}": blob for n in range(50)})
            for _ in range(200)
        ]
    )
    session, collector = IndexSession(archive.settings.database, "test"), Collector(settings)
    stuck = threading.Thread(target=lambda: _quietly(session, collector, settings), daemon=True)
    stuck.start()
    wait_until(
        lambda: bool(sql(archive, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 5425")), "it sends"
    )
    views(archive, 1)
    archive.audit.close()
    assert sql(archive, "SELECT records FROM audit_segment") == [201]
    assert stuck.is_alive()
    connection, _ = deaf.accept()
    connection.close()
    deaf.close()
    stuck.join()
    session.close()


def _quietly(session: IndexSession, collector: Collector, settings: SyslogSettings) -> None:
    try:
        send_some(session, collector, settings, "PACS")
    except CollectorAway:
        pass
    finally:
        collector.close()
