"""Puts the demo province into an archive, through the same door as any modality."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from archive.demo.datasets import DemoFile, count, files
from archive.demo.orders import orders
from archive.errors import NotPermitted
from archive.records import Level, Query, Source

if TYPE_CHECKING:
    from archive.core import Archive

Progress = Callable[[int, int], None]
"""Told after each object: how many are done, of how many."""


def is_empty(archive: Archive) -> bool:
    """Whether the archive has no study at all."""
    return archive.search(Query(level=Level.STUDY, limit=1)).total == 0


def load(archive: Archive, progress: Progress | None = None) -> int:
    """Store the demo province and return the number of its objects; put today's orders on the worklist.

    Doing it again changes nothing.

    Raises `NotPermitted` where the demo's hospitals are not in the settings: an archive of real patients.
    """
    total = count()
    known = archive.settings.peer_book().facilities
    for done, file in enumerate(files(), start=1):
        facility = known.get(file.study.facility)
        if facility is None:
            raise NotPermitted(
                f"facility {file.study.facility} of the demo is not in the settings: "
                "demo data is loaded only into an archive that is set up for it (archive/demo/pacs.toml)"
            )
        source = Source(
            facility=facility.code,
            issuer_of_patient_id=facility.issuer,
            transport="import",
            calling_ae_title="DEMO",
        )
        with archive.begin(
            source,
            sop_class_uid=file.sop_class_uid,
            sop_instance_uid=file.sop_instance_uid,
            transfer_syntax_uid=file.transfer_syntax_uid,
        ) as receiving:
            receiving.write(file.dataset)
            receiving.finish()
        if progress is not None:
            progress(done, total)
    for order in orders():
        archive.worklist.put(order, source="import")
    return total


def write(folder: Path, progress: Progress | None = None) -> int:
    """Write the demo province as DICOM files, a folder per study and series, and return their number."""
    total = count()
    for done, file in enumerate(files(), start=1):
        _write(folder / file.name, file)
        if progress is not None:
            progress(done, total)
    return total


def _write(path: Path, file: DemoFile) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.file_meta + file.dataset)
