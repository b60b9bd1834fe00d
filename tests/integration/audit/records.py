"""What is on record, in a form that tests can compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from archive.core import Archive
from tests.integration.archive.support import sql


@dataclass(frozen=True)
class Record:
    action: str
    outcome: str
    kind: str
    name: str
    address: str
    home: list[str]
    studies: list[str]
    owners: list[str]
    patient_id: str
    detail: dict[str, Any]

    @property
    def short(self) -> tuple[str, str, list[str]]:
        return self.action, self.outcome, self.studies


def records(archive: Archive, *actions: str) -> list[Record]:
    """All of them, or those of some actions, in their order."""
    rows = sql(
        archive,
        "SELECT action, outcome, kind, name, address, home, studies, owners, patient_id, detail FROM audit_record "
        "ORDER BY recorded_at, segment_id, sequence",
    )
    found = [Record(*row) for row in rows]
    return [record for record in found if not actions or record.action in actions]
