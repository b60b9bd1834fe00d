"""``python -m archive messages``: what an operator does by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from archive.audit.operation import operator
from archive.cli import main
from archive.core import Archive
from archive.hl7.listener import Listener
from tests.hl7 import SENDER, log, order, send
from tests.integration.archive.support import sql


@pytest.fixture
def configured(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """The archive, and its settings where the command looks for them."""
    listed = "\n".join(f"{name} = {value!r}" for name, value in SENDER.items() if not isinstance(value, dict))
    path = tmp_path / "pacs.toml"
    path.write_text(
        f'[hl7]\nenabled = true\n[[facilities]]\ncode = "86001"\nname = "A"\n[[hl7.senders]]\n{listed}\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("PACS_CONFIG", str(path))
    monkeypatch.setenv("PACS_DATABASE__URL", archive.settings.database.url.get_secret_value())
    monkeypatch.setenv("PACS_DATA_DIR", str(archive.settings.data_dir))
    return archive


def test_the_log_by_hand(configured: Archive, listener: Listener, capsys: pytest.CaptureFixture[str]) -> None:
    send(listener.port, order("M1"), order("M2", what="CA", accession="NONE"))
    assert main(["messages"]) == 1, "one was refused"
    text = capsys.readouterr().out
    assert "M1" in text
    assert "OBR-18.1: there is no such order" in text
    assert "BN0001" not in text
    assert main(["messages", "--state", "done"]) == 0
    number = str(log(configured)[0].id)
    assert main(["messages", "show", number]) == 0
    assert "PID|1||BN0001" in capsys.readouterr().out
    assert main(["messages", "replay", number]) == 0
    assert main(["messages", "replay", "--peer", "HIS1", "--state", "refused"]) == 1
    assert "done again: 1; refused: 1" in capsys.readouterr().out
    assert main(["messages", "pause", "HIS1"]) == 0
    assert main(["messages", "peers"]) == 0
    assert "paused" in capsys.readouterr().out
    assert main(["messages", "resume", "HIS1"]) == 0
    assert main(["messages", "pause", "nobody"]) == 1
    assert main(["messages", "replay"]) == 1
    assert main(["messages", "show", "99999"]) == 1


def test_who_did_what_to_which_message_is_on_record(configured: Archive, listener: Listener) -> None:
    send(listener.port, order("M1"))
    number = str(log(configured)[0].id)
    for words in (["show", number], ["replay", number], ["pause", "HIS1"], ["resume", "HIS1"], ["retry", "HIS1"]):
        assert main(["messages", *words]) == 0
    recorded = sql(
        configured,
        "SELECT action, name, detail FROM audit_record WHERE detail ->> 'what' LIKE 'HL7%%' AND name <> 'HL7 HIS1' ORDER BY segment_id, sequence",
    )
    assert {name for _, name, _ in recorded} == {operator().name}, "whoever runs the command, not the archive"
    said = {(action, detail["what"], str(detail.get("message", detail.get("peer")))) for action, _, detail in recorded}
    assert said == {
        ("view", "HL7 message", number),
        ("operate", "HL7 message done again", number),
        ("operate", "HL7 paused", "HIS1"),
        ("operate", "HL7 resumed", "HIS1"),
        ("operate", "HL7 receiver tried again", "HIS1"),
    }
