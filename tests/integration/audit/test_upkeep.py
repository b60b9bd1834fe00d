"""The thread that seals the trail, and the commands."""

from __future__ import annotations

import pytest

from archive.audit.events import Action, AuditEvent
from archive.audit.upkeep import AuditUpkeep
from archive.audit.verify import verify
from archive.cli import main
from archive.core import Archive
from archive.people.caller import SYSTEM
from config.audit import AuditSettings
from tests.integration.archive.support import sql, url_of
from tests.integration.audit.records import records

KEY = "a key of many characters"


def test_what_was_recorded_is_sealed_while_serving_and_at_the_end(archive: Archive) -> None:
    changed = archive.settings.model_copy(update={"audit": AuditSettings.model_validate({"key": KEY})})
    archive.settings = changed
    archive.audit.record(AuditEvent(Action.VIEW, SYSTEM, studies=("1.2.3",)))
    with AuditUpkeep(archive, "pacs test"):
        while sql(archive, "SELECT count(*) FROM audit_anchor WHERE copied") == [0]:
            pass
        archive.audit.record(AuditEvent(Action.VIEW, SYSTEM, studies=("1.2.4",)))
    done = verify(archive.settings.database, archive.store, changed.audit.keys)
    assert (done.records, done.unanchored, done.findings) == (5, 0, [])
    what = [each.detail.get("what") for each in records(archive, "operate", "setting")]
    assert what == ["started", "settings", "stopped"]


def test_settings_are_on_record_when_they_changed_and_their_secrets_never(archive: Archive) -> None:
    with AuditUpkeep(archive, "pacs test"):
        pass
    with AuditUpkeep(archive, "pacs other"):
        pass
    peers = tuple(peer.model_copy(update={"description": "CT mới"}) for peer in archive.settings.peers[:1])
    archive.settings = archive.settings.model_copy(update={"peers": (*peers, *archive.settings.peers[1:])})
    with AuditUpkeep(archive, "pacs test"):
        pass
    first, second = records(archive, "setting")
    assert "peer CT1" in first.detail["changed"]
    assert "audit" in first.detail["changed"]
    assert second.detail["changed"] == ["peer CT1"]


def test_the_commands_anchor_and_verify_and_are_on_record(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PACS_DATABASE__URL", url_of(archive))
    monkeypatch.setenv("PACS_DATA_DIR", str(archive.settings.data_dir))
    monkeypatch.setenv("PACS_STORAGE__MINIMUM_FREE_BYTES", "0")
    monkeypatch.setenv("PACS_AUDIT__KEY", KEY)
    archive.audit.record(AuditEvent(Action.VIEW, SYSTEM, studies=("1.2.3",)))
    archive.audit.close()
    assert main(["audit", "anchor"]) == 0
    assert "anchor 1: " in capsys.readouterr().out
    assert main(["audit", "verify"]) == 0
    assert "the audit trail is intact" in capsys.readouterr().out
    (name,) = sql(archive, "SELECT name FROM audit_record WHERE action = 'audit'")
    assert name.endswith("(command line)")
    sql(archive, "ALTER TABLE audit_record DISABLE TRIGGER ALL")
    sql(archive, "UPDATE audit_record SET patient_id = 'X' WHERE action = 'view'")
    assert main(["audit", "verify"]) == 1
    said = capsys.readouterr()
    assert "record 1-1: was changed" in said.err
    assert "THE AUDIT TRAIL IS NOT INTACT" in said.out
