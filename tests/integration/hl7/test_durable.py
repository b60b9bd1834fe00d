"""What is acknowledged is kept, is done once and in order, and can be done again (HL7 v2.5.1 2.9)."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from archive.core import Archive
from archive.errors import IndexUnavailable, NotFound
from archive.hl7.listener import Listener
from config.settings import Settings
from tests.hl7 import PID, adt, client, field_of, items, listening, log, order, said, send, with_hl7


def test_a_message_that_comes_again_is_answered_as_before_and_not_done_again(
    archive: Archive, listener: Listener
) -> None:
    with client(listener.port) as peer:
        first = peer.send_message(order("1").encode())
        cancelled = peer.send_message(order("2", what="CA").encode())
        assert peer.send_message(order("1").encode()) == first
        assert peer.send_message(order("2", what="CA").encode()) == cancelled
    assert items(archive)[0].status == "CANCELLED"
    assert len(log(archive)) == 2


def test_a_control_id_that_was_used_for_another_message_is_refused(archive: Archive, listener: Listener) -> None:
    send(listener.port, order("1"))
    with client(listener.port) as peer:
        answer = peer.send_message(order("1", accession="A2").encode()).decode()
        again = peer.send_message(order("1", accession="A2").encode()).decode()
        assert field_of(peer.send_message(order("1").encode()).decode(), "MSA")[1] == "AA"
    for each in (answer, again):
        assert field_of(each, "MSA")[1:3] == ["AR", "1"]
        assert field_of(each, "ERR")[2:4] == ["MSH^1^10", "205^Duplicate key identifier^HL70357"]
    assert len(items(archive)) == 1
    assert [line.state for line in log(archive)] == ["done", "refused"]


def test_a_sender_that_counts_anew_may_be_let_do_so(settings: Settings) -> None:
    with Archive.open(with_hl7(settings, {"reused_control_ids": "take"})) as archive, listening(archive) as listener:
        assert [answer[1] for answer in send(listener.port, order("1"), order("1", accession="A2"))] == ["AA", "AA"]
        assert len(items(archive)) == 2


def test_enhanced_mode_answers_when_it_is_kept_and_when_it_is_done(archive: Archive, listener: Listener) -> None:
    with client(listener.port) as peer:
        peer.socket.sendall(b"\x0b" + order("1", f15="AL", f16="AL").encode() + b"\x1c\r")
        data = b""
        while data.count(b"\x1c\r") < 2:
            data += peer.socket.recv(4096)
        accept, application = (part.decode() for part in data.split(b"\x1c\r")[:2])
        assert field_of(accept, "MSA")[1:3] == ["CA", "1"]
        assert field_of(application, "MSA")[1:3] == ["AA", "1"]
        # Only errors, and only the accept acknowledgement.
        only = peer.send_message(order("2", f15="AL", f16="NE").encode()).decode()
        assert field_of(only, "MSA")[1:3] == ["CA", "2"]
        wrong = order("3", what="CA", accession="X", f15="NE", f16="ER")
        assert field_of(peer.send_message(wrong.encode()).decode(), "MSA")[1:3] == ["AE", "3"]
        unknown = order("4", f9="ZZZ^Z01", f15="AL", f16="AL")
        assert field_of(peer.send_message(unknown.encode()).decode(), "MSA")[1:3] == ["CR", "4"]
        # The same kept message again is accepted as before.
        assert field_of(peer.send_message(order("2", f15="AL", f16="NE").encode()).decode(), "MSA")[1] == "CA"


def test_what_was_refused_is_done_when_the_settings_are_mended(settings: Settings) -> None:
    message = order("1").replace("|CT|", "|ZZ9|").replace("|CT\r", "|ZZ9\r").replace("CT01", "Q1")
    with Archive.open(with_hl7(settings)) as archive, listening(archive) as listener:
        assert send(listener.port, message)[0][1] == "AE"
        [line] = log(archive)
        assert archive.messages.replay(line.id).state == "refused"
    mended = with_hl7(settings, {"modalities": {"ZZ9": "MR"}})
    with Archive.open(mended) as archive:
        assert archive.messages.replay(line.id).state == "done"
        assert said(archive)["Modality"] == "MR"
        assert log(archive)[0].replays == 2
        with listening(archive) as listener:
            assert send(listener.port, message)[0][1] == "AA", "what the sender is told follows"


def test_doing_a_message_again_does_not_undo_what_came_later(archive: Archive, listener: Listener) -> None:
    send(
        listener.port,
        order("1"),
        order("2", what="XO", service="CT02^CLVT ngực^BYT"),
        adt("A08", "3", PID.replace("VĂN", "VIỆT")),
        adt("A08", "4", PID.replace("VĂN", "VŨ")),
        order("5", accession="A2"),
    )
    for line in log(archive):
        if line.control_id in ("1", "3"):
            done = archive.messages.replay(line.id)
            assert done.state == "done"
            assert "a later message" in done.note
    found = {item.order()["AccessionNumber"]: item.order() for item in items(archive)}
    assert found["A100"]["RequestedProcedureDescription"] == "CLVT ngực"
    assert found["A100"]["PatientName"] == "NGUYỄN^ĐỨC^VŨ"
    assert len(found) == 2


def test_a_range_is_done_again_in_its_order(archive: Archive, listener: Listener) -> None:
    from archive.hl7.messages import Wanted

    send(listener.port, *(order(str(n), accession=f"A{n}") for n in range(5)))
    numbers = archive.messages.find(Wanted(peer="HIS1"))
    assert list(numbers) == sorted(numbers)
    versions = [item.version for item in items(archive)]
    for number in numbers:
        assert archive.messages.replay(number).state == "done"
    assert [item.version for item in items(archive)] == versions, "nothing has changed"
    with pytest.raises(NotFound):
        archive.messages.replay(10_000)


def test_a_message_that_was_kept_and_not_done_is_done_before_the_next(
    archive: Archive, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = archive.messages.inbox._applier.apply
    away = True

    def failing(*arguments: Any) -> Any:
        if away:
            raise IndexUnavailable("the index cannot serve now")
        return apply(*arguments)

    monkeypatch.setattr(archive.messages.inbox._applier, "apply", failing)
    [answer] = send(listener.port, order("1"))
    assert answer[1] == "AR", "kept, but its sender is to ask again"
    assert [line.state for line in log(archive)] == ["received"]
    away = False
    assert send(listener.port, order("2", what="CA"))[0][1] == "AA"
    assert items(archive)[0].status == "CANCELLED"
    assert [line.state for line in log(archive)] == ["done", "done"]
    assert send(listener.port, order("1"))[0][1] == "AA"
    assert items(archive)[0].status == "CANCELLED"


def test_a_fault_of_ours_is_answered_and_can_be_done_again(
    archive: Archive, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def broken(*_: Any) -> Any:
            raise RuntimeError("a fault")

        patch.setattr(archive.messages.inbox._applier, "apply", broken)
        assert send(listener.port, order("1"))[0][1] == "AE"
    assert items(archive) == []
    assert archive.messages.replay(log(archive)[0].id).state == "done"
    assert len(items(archive)) == 1


def test_a_paused_sender_is_told_to_come_again(archive: Archive, listener: Listener) -> None:
    archive.messages.pause("in", "HIS1", paused=True)
    assert send(listener.port, order("1"))[0][1] == "AR"
    assert items(archive) == []
    archive.messages.pause("in", "HIS1", paused=False)
    assert archive.messages.inbox.waiting() == ["HIS1"]
    assert send(listener.port, order("1"))[0][1] == "AA"
    assert len(items(archive)) == 1
    with pytest.raises(NotFound):
        archive.messages.pause("in", "nobody", paused=True)


def test_the_order_of_a_sender_is_kept_over_many_connections(archive: Archive, listener: Listener) -> None:
    """Several connections at once: what is in the log last is what counts."""
    failed: list[BaseException] = []

    def talk(number: int) -> None:
        try:
            for turn in range(5):
                wanted = f"CT{number}{turn}^Lần {number}.{turn}^BYT"
                assert send(listener.port, order(f"{number}.{turn}", what="XO", service=wanted))[0][1] == "AA"
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    lines = log(archive)
    assert [line.state for line in lines] == ["done"] * 20
    assert said(archive)["RequestedProcedureDescription"] == f"Lần {lines[-1].control_id}"


def test_merges_and_links_are_told_to_who_knows_who_is_who(archive: Archive, listener: Listener) -> None:
    from archive.identity.records import Number

    temporary = PID.replace("BN0001", "TAM77").replace("~079062000001^^^BCA^NI", "")
    answers = send(
        listener.port, adt("A04", "1", PID), adt("A04", "2", temporary), adt("A40", "3", PID, "MRG|TAM77^^^BVDK^MR")
    )
    assert [answer[1] for answer in answers] == ["AA"] * 3
    mine, other = (archive.identities.person_of_number(Number("86001", each)) for each in ("BN0001", "TAM77"))
    assert mine is not None
    assert mine == other
    # Done again it is the same; then they are told apart.
    assert archive.messages.replay(log(archive)[2].id).state == "done"
    assert send(listener.port, adt("A37", "4", PID, temporary))[0][1] == "AA"
    mine, other = (archive.identities.person_of_number(Number("86001", each)) for each in ("BN0001", "TAM77"))
    assert mine != other


def test_old_messages_are_deleted(settings: Settings) -> None:
    with Archive.open(with_hl7(settings, keep_days=1e-7)) as archive, listening(archive) as listener:
        send(listener.port, order("1"))
        archive.messages.pause("in", "HIS1", paused=True)
        send(listener.port, order("2"))
        assert archive.messages.delete_old() == 1
        assert [line.control_id for line in log(archive)] == ["2"], "what waits stays"
