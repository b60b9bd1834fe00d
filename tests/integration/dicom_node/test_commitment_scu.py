"""Storage commitment as SCU: what other archives are asked, and what they answer (PS3.4 J.3)."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydantic import SecretStr
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from archive.cli import _parser
from archive.commitment.records import Outcome, Reference
from archive.core import Archive
from config.peers import Peer
from config.settings import Settings
from dicom_node.commit import _print as show
from dicom_node.commit import ask as commit_command
from dicom_node.commitment import asking as asking_module
from dicom_node.commitment.desk import Desk
from tests.conformance.test_ps3_4_j_storage_commitment import MR, states, stored
from tests.conftest import fresh_database
from tests.factories import ct_image, store
from tests.integration.dicom_node.committing import (
    VERIFICATION,
    Reports,
    about,
    ask,
    asking,
    committing,
    with_commitment,
)
from tests.integration.dicom_node.keeper import Keeper, all_kept, keeping, kept_but
from tests.integration.dicom_node.process import ROOT, archive_command, environment
from tests.integration.dicom_node.running import Node, running, wait_until, with_node


def with_keeper(settings: Settings, port: int, **changes: object) -> Settings:
    keeper = Peer(ae_title="KEEPER", facility="86001", host="127.0.0.1", port=port)
    stranger = Peer(ae_title="OTHER", facility="86001")
    peers = (*settings.peers, keeper, stranger)
    return with_commitment(settings.model_copy(update={"peers": peers}), **changes)


@contextmanager
def met(settings: Settings, keeper: Keeper, **changes: object) -> Iterator[Node]:
    with keeping(keeper) as port, committing(with_keeper(settings, port, **changes)) as node:
        yield node


def placed(node: Node, images: list[Dataset]) -> int:
    references = [Reference(image.SOPClassUID, image.SOPInstanceUID) for image in images]
    (number,) = node.archive.commitments.orders.place("KEEPER", references)
    return number


def outcome(node: Node, number: int) -> Outcome:
    (found,) = node.archive.commitments.orders.outcomes([number])
    return found


def wait_for(node: Node, number: int, state: str) -> Outcome:
    wait_until(lambda: outcome(node, number).state == state, f"the order is {state}")
    return outcome(node, number)


def due_now(node: Node) -> None:
    node.sql("UPDATE commitment_order SET due_at = now() WHERE leased_until IS NULL")


def test_the_answer_on_the_same_association(settings: Settings) -> None:
    keeper = Keeper()
    with met(settings, keeper) as node:
        images = stored(node.archive, 3)
        found = wait_for(node, placed(node, images), "answered")
        wait_until(lambda: keeper.responses == [0], "the report is confirmed")
    assert found.all_committed
    assert found.results == {image.SOPInstanceUID: 0 for image in images}
    assert [item.ReferencedSOPInstanceUID for item in keeper.asked[0].ReferencedSOPSequence] == sorted(found.results)


@pytest.mark.parametrize("role", [True, False], ids=["SCP role", "both roles"])
def test_the_answer_on_an_association_of_the_other_archive(
    settings: Settings, role: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking_module, "STAY", 0.1)
    keeper = Keeper(here=False)
    with met(settings, keeper) as node:
        images = stored(node.archive, 2)
        keeper.answer = kept_but(images[1].SOPInstanceUID, reason=0x0110)
        number = placed(node, images)
        assert wait_for(node, number, "asked").results == dict.fromkeys((i.SOPInstanceUID for i in images), None)
        assert keeper.report_to(node.port, role=role) == 0
        found = outcome(node, number)
        assert found.state == "answered"
        assert found.results == {images[0].SOPInstanceUID: 0, images[1].SOPInstanceUID: 0x0110}
        assert not found.all_committed
        # Its response was lost: it reports again, and something else would change nothing.
        keeper.answer = all_kept
        assert keeper.report_to(node.port, role=role) == 0
        assert outcome(node, number) == found


def test_only_who_was_asked_can_answer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking_module, "STAY", 0.1)
    keeper = Keeper(here=False)
    with met(settings, keeper) as node:
        number = placed(node, stored(node.archive, 1))
        wait_for(node, number, "asked")
        assert keeper.report_to(node.port, calling="OTHER") == 0x0115
        assert outcome(node, number).state == "asked"


def test_reports_that_cannot_be_taken_are_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """PS3.7 10.1.1.1.8."""
    monkeypatch.setattr(asking_module, "STAY", 0.1)
    keeper = Keeper(here=False)
    with met(settings, keeper) as node:
        number = placed(node, stored(node.archive, 1))
        wait_for(node, number, "asked")
        asked = keeper.asked[0]

        def refused(status: int, kind: int = 1, instance: str = keeper.instance, **changes: object) -> None:
            def answer(_: Dataset) -> tuple[int, Dataset]:
                _, result = all_kept(asked)
                for keyword, value in changes.items():
                    setattr(result, keyword, value)
                return kind, result

            keeper.answer, keeper.instance = answer, instance
            assert keeper.report_to(node.port) == status

        refused(0x0113, kind=3)
        refused(0x0112, instance="1.2.3")
        refused(0x0115, TransactionUID=generate_uid())
        refused(0x0115, TransactionUID="")
        refused(0x0115, ReferencedSOPSequence=[Dataset()])
        assert outcome(node, number).state == "asked"


def test_what_an_answer_does_not_mention_is_not_committed(settings: Settings) -> None:
    """A report of success without the instances, with another class, or that contradicts itself, is none."""
    keeper = Keeper()
    with met(settings, keeper) as node:
        images = stored(node.archive, 4)
        forgotten, other_class, both, without_reason = (image.SOPInstanceUID for image in images)

        def answer(asked: Dataset) -> tuple[int, Dataset]:
            kind, result = kept_but(without_reason, reason=None)(asked)
            items = {item.ReferencedSOPInstanceUID: item for item in result.ReferencedSOPSequence}
            items[other_class].ReferencedSOPClassUID = MR
            failed = Dataset()
            failed.update(items[both])
            failed.FailureReason = 0x0213
            result.FailedSOPSequence.append(failed)
            result.ReferencedSOPSequence = [items[other_class], items[both]]
            return kind, result

        keeper.answer = answer
        found = wait_for(node, placed(node, images), "answered")
    assert found.results == {forgotten: 0x0110, other_class: 0x0110, both: 0x0213, without_reason: 0x0110}


def test_a_request_that_is_refused_is_made_again_under_another_transaction_uid(settings: Settings) -> None:
    keeper = Keeper(statuses=[0x0213, 0x0110])
    with met(settings, keeper) as node:
        number = placed(node, stored(node.archive, 1))
        for problem in ("answered with status 0213", "answered with status 0110"):
            wait_until(lambda problem=problem: outcome(node, number).problem == problem, problem)  # type: ignore[misc]
            assert outcome(node, number).state == "waiting"
            due_now(node)
        assert wait_for(node, number, "answered").all_committed
    assert len({asked.TransactionUID for asked in keeper.asked}) == 3


def test_an_archive_that_does_not_answer_is_asked_again_and_may_answer_the_first_time_late(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking_module, "STAY", 0.05)
    keeper = Keeper(here=False)
    with met(settings, keeper, answer_timeout=0.05) as node:
        number = placed(node, stored(node.archive, 1))
        wait_until(lambda: len(keeper.asked) >= 3, "it was asked three times")
        assert len({asked.TransactionUID for asked in keeper.asked[:3]}) == 3
        assert keeper.report_to(node.port, keeper.asked[0]) == 0
        assert outcome(node, number).all_committed
        assert keeper.report_to(node.port, keeper.asked[1]) == 0


def test_an_archive_that_cannot_be_reached_or_does_not_know_the_service(settings: Settings) -> None:
    keeper = Keeper()
    with keeping(keeper, contexts=[VERIFICATION]) as port, committing(with_keeper(settings, port)) as node:
        number = placed(node, stored(node.archive, 1))
        wait_until(lambda: "presentation context" in outcome(node, number).problem, "it is refused")
    with committing(with_keeper(settings, 1)) as node:
        due_now(node)
        wait_until(lambda: "cannot connect" in outcome(node, number).problem, "nobody listens")
    with committing(settings) as node:
        due_now(node)
        wait_until(lambda: "not listed" in outcome(node, number).problem, "it is not listed any more")


def test_what_is_not_answered_in_days_is_given_up_with_a_warning(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with Archive.open(settings) as archive:
        (number,) = archive.commitments.orders.place("KEEPER", [Reference(MR, "1.2.3")])
    with committing(settings) as node:
        node.sql("UPDATE commitment_order SET created_at = now() - interval '8 days'")
    with caplog.at_level(logging.WARNING), committing(settings) as node:
        wait_for(node, number, "failed")
        node.sql("UPDATE commitment_order SET closed_at = now() - interval '31 days'")
    assert [record.pacs_fields["peer"] for record in caplog.records if "was not answered" in record.message] == [
        "KEEPER"
    ]  # type: ignore[attr-defined]
    with committing(settings) as node:
        wait_until(lambda: not node.archive.commitments.orders.outcomes([number]), "it is deleted")
        assert node.sql("SELECT count(*) FROM commitment_order_item") == [(0,)]


def test_many_instances_are_asked_about_in_parts(settings: Settings) -> None:
    with Archive.open(settings) as archive:
        orders = archive.commitments.orders
        references = [Reference(MR, f"1.2.{n}") for n in range(25_000)]
        numbers = orders.place("KEEPER", [*references, *references[:10]])
        assert [len(each.results) for each in orders.outcomes(numbers)] == [10_000, 10_000, 5_000]
        assert orders.place("KEEPER", []) == []


# -- two archives of ours


@pytest.fixture
def second(settings: Settings, postgres: str) -> Iterator[Settings]:
    """Settings of another archive, which knows the first as FIRST."""
    with fresh_database(postgres) as url:
        database = settings.database.model_copy(update={"url": SecretStr(url)})
        asker = Peer(ae_title="FIRST", facility="86001", sees="province")
        changes = {"database": database, "data_dir": settings.data_dir / "second", "peers": (asker,)}
        yield with_node(settings.model_copy(update=changes), ae_title="KEEPER")


def test_one_archive_asks_another(settings: Settings, second: Settings) -> None:
    """A province with a second copy."""
    with Archive.open(second) as copy, running(second, copy, committing=True) as other:
        first = with_node(with_keeper(settings, other.port), ae_title="FIRST")
        with Archive.open(first) as archive, Desk(archive, poll=0.05):
            node = Node(archive, other.server, first)
            kept, lost = stored(archive, 2)
            store(copy, kept)
            found = wait_for(node, placed(node, [kept, lost]), "answered")
            assert found.results == {kept.SOPInstanceUID: 0, lost.SOPInstanceUID: 0x0112}
            store(copy, lost)
            assert wait_for(node, placed(node, [kept, lost]), "answered").all_committed


# -- commands


def commit(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dicom_node.commit", *arguments],
        cwd=ROOT,
        env=environment(settings, settings.data_dir) | {"PACS_LOG__LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_command_asks_and_prints_the_answer(settings: Settings) -> None:
    keeper = Keeper()
    with keeping(keeper) as port, Archive.open(settings) as archive:
        asked = with_keeper(settings, port)
        images = stored(archive, 2)
        study = images[0].StudyInstanceUID
        done = commit(asked, "--to", "KEEPER", study)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "committed: 2; failed: 0; no answer yet: 0\n"
        keeper.answer = kept_but(images[0].SOPInstanceUID)
        done = commit(asked, "--to", "KEEPER", study)
        assert done.returncode == 1
        assert f"{images[0].SOPInstanceUID}  no such object instance (0112)\n" in done.stdout
        done = commit(asked, "--to", "NOBODY", study)
        assert (done.returncode, "NOBODY is not listed" in done.stderr) == (2, True)


def test_what_the_command_says_of_a_request_that_is_refused(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    keeper = Keeper(statuses=[0x0124])
    with keeping(keeper) as port, Archive.open(with_keeper(settings, port)) as archive:
        images = stored(archive, 2)
        references = [Reference(image.SOPClassUID, image.SOPInstanceUID) for image in images]
        assert show(commit_command(archive, "KEEPER", references, 0.1)) == 1
    said = capsys.readouterr().out
    assert "answered with status 0124" in said
    assert "committed: 0; failed: 0; no answer yet: 2" in said


def test_the_command_waits_for_an_answer_that_comes_to_the_running_node(settings: Settings) -> None:
    keeper = Keeper(here=False)
    with met(settings, keeper) as node:
        images = stored(node.archive, 1)
        command = [sys.executable, "-m", "dicom_node.commit", "--to", "KEEPER", images[0].StudyInstanceUID]
        with subprocess.Popen(
            command, cwd=ROOT, env=environment(node.settings, settings.data_dir), stdout=subprocess.PIPE, text=True
        ) as process:
            assert keeper.came.acquire(timeout=120)
            assert keeper.report_to(node.port) == 0
            said, _ = process.communicate(timeout=60)
    assert said == "committed: 1; failed: 0; no answer yet: 0\n"
    assert process.returncode == 0


def operator(settings: Settings, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """``python -m archive commitments`` in this process: exit code and output."""
    given = _parser().parse_args(["commitments", *arguments])
    capsys.readouterr()
    code: int = given.run(settings, given)
    return code, capsys.readouterr().out


def test_the_operators_list(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    keeper = Keeper(statuses=[0x0110])
    with met(settings, keeper) as node:
        number = placed(node, stored(node.archive, 1))
        wait_until(lambda: bool(outcome(node, number).problem), "it is refused")
    code, said = operator(settings, capsys)
    assert code == 0
    assert "out waiting          1\n" in said
    assert f"out/{number}" in said
    assert "answered with status 0110" in said
    for options, shown in (
        (["--state", "waiting"], True),
        (["--state", "answered"], False),
        (["--peer", "KEEPER"], True),
        (["--peer", "CT1"], False),
        (["--direction", "in"], False),
    ):
        assert (f"out/{number}" in operator(settings, capsys, *options)[1]) is shown
    code, said = operator(settings, capsys, f"out/{number}")
    assert (code, "no answer yet" in said) == (1, True)
    assert operator(settings, capsys, f"out/{number}", "--retry") == (0, f"out/{number} is due now\n")
    with met(settings, Keeper()) as node:
        wait_for(node, number, "answered")
    over = "no such request, or all of its instances are committed\n"
    assert operator(settings, capsys, f"out/{number}") == (0, over)
    assert operator(settings, capsys, "out/4711", "--retry")[0] == 1
    assert operator(settings, capsys, "--retry")[0] == 2
    for arguments in (["7"], ["in/x"], ["--state", "odd"]):
        with pytest.raises(SystemExit):
            operator(settings, capsys, *arguments)


def test_an_operator_has_a_request_of_a_peer_looked_at_again(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """The object was not there; it was sent; the peer is told of it under the same Transaction UID."""
    reports = Reports()
    image = ct_image()
    with committing(settings) as node, asking(node, reports) as association:
        asked = about([image])
        assert ask(association, asked) == 0
        reports.wait()
        wait_until(lambda: states(node) == ["delivered"], "delivered")
        code, said = operator(settings, capsys, "in/1")
        assert (code, said) == (1, f"{image.SOPInstanceUID}  no such object instance (0112)\n")
        store(node.archive, image)
        assert operator(settings, capsys, "in/1", "--retry") == (0, "in/1 is due now\n")
        _, report = reports.wait(2)
        wait_until(lambda: states(node) == ["delivered"], "delivered again")
    assert (report.kind, report.committed, report.transaction) == (1, [image.SOPInstanceUID], asked.TransactionUID)


def test_the_command_line_as_a_program(settings: Settings) -> None:
    run = archive_command(settings, settings.data_dir, "commitments")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
