"""A study as it is burnt on a disc or put on a stick: IHE Portable Data for Imaging (RAD TF-1 15, TF-2 4.47).

DICOM files with their DICOMDIR, in Explicit VR Little Endian as the General Purpose CD profile wants it (PS3.11 D), and
beside them a page with the reports and all images as JPEG, which any computer shows without a program being installed.
Written as it is read: the memory needed does not grow with the pixels.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from archive.core import Archive
from archive.correction.outgoing import given_object
from archive.delivery.results import StudyResults
from archive.errors import NotAcceptable
from archive.imaging.decode import EXPLICIT_VR_LITTLE_ENDIAN
from archive.imaging.render import Rendering, Viewport
from archive.imaging.transcode import can_transcode, transcode
from archive.records import StoredInstance
from archive.retrieve import read_header
from archive.standard.media_directory import MediaDirectory
from viewer_api import zipped
from viewer_api.pictures import pictures_of

PAGE: Final = "INDEX.HTM"
_WEB: Final = "IHE_PDI"
_LARGEST: Final = 1024
"""Pixels of a picture to either side; larger ones are made smaller."""
MOST_FRAMES: Final = 300
"""Pictures of one object: of a longer film every so many frames are shown on the page. The DICOM file has them all."""
_QUALITY: Final = 85


@dataclass(slots=True)
class Stack:
    """The pictures of a series, by their paths from the page."""

    title: str
    pictures: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Written:
    """What came onto the disc, for its page."""

    stacks: dict[str, Stack] = field(default_factory=dict)
    documents: dict[str, str] = field(default_factory=dict)
    """Paths of PDF reports by SOP Instance UID."""
    as_stored: int = 0
    """Files that could not be decoded, and are in the transfer syntax that they are stored in."""


def members(
    archive: Archive, found: Sequence[StoredInstance], written: Written, now: datetime
) -> Generator[zipped.Member, None, None]:
    """The files of a disc but for its page. `written` is filled on the way."""
    directory = MediaDirectory()
    series: dict[str, int] = {}
    for number, inst in enumerate(found, 1):
        folder = f"S{series.setdefault(inst.series_instance_uid, len(series) + 1):07}"
        file = f"I{number:07}"
        yield _dicom(archive, inst, directory, (folder, file), written)
        yield from _pictures(archive, inst, (folder, file), written)
    yield zipped.Member("DICOMDIR", [directory.content()], now)


def _dicom(
    archive: Archive, inst: StoredInstance, directory: MediaDirectory, place: tuple[str, str], written: Written
) -> zipped.Member:
    stored = inst.object.transfer_syntax_uid
    syntax = stored
    if stored != EXPLICIT_VR_LITTLE_ENDIAN and can_transcode(archive.store, inst, EXPLICIT_VR_LITTLE_ENDIAN):
        syntax = EXPLICIT_VR_LITTLE_ENDIAN
        chunks = transcode(archive.store, inst, syntax, archive.settings.web.maximum_decoded_bytes).chunks
    else:
        chunks = given_object(archive.store, inst).chunks
        written.as_stored += stored != EXPLICIT_VR_LITTLE_ENDIAN
    header = read_header(archive.store, inst)
    if inst.series_instance_uid not in written.stacks:
        title = str(header.get("SeriesDescription") or "").strip()
        written.stacks[inst.series_instance_uid] = Stack(f"{inst.modality} {title}".strip())
    directory.add(header, ("DICOM", *place), inst.sop_class_uid, inst.sop_instance_uid, syntax)
    return zipped.Member("/".join(("DICOM", *place)), chunks, inst.received_at)


def _pictures(
    archive: Archive, inst: StoredInstance, place: tuple[str, str], written: Written
) -> Iterator[zipped.Member]:
    if inst.object.frame_table is None or not inst.rows:
        return
    step = -(-inst.number_of_frames // MOST_FRAMES)
    numbers = range(1, inst.number_of_frames + 1, max(1, step))
    large = max(inst.rows or 0, inst.columns or 0) > _LARGEST
    how = Rendering(viewport=Viewport(_LARGEST, _LARGEST) if large else None, quality=_QUALITY)
    try:
        for number, picture in zip(numbers, pictures_of(archive, inst, numbers, how), strict=True):
            # Names of ISO 9660: eight characters and three.
            folder = "/".join((_WEB, *place)) if len(numbers) > 1 else "/".join((_WEB, place[0]))
            path = f"{folder}/F{number:07}.JPG" if len(numbers) > 1 else f"{folder}/{place[1]}.JPG"
            yield zipped.Member(path, [picture], inst.received_at)
            written.stacks[inst.series_instance_uid].pictures.append(path)
    except NotAcceptable:
        # No decoder for it: the DICOM file is on the disc all the same.
        return


def documents(archive: Archive, results: StudyResults, written: Written) -> Iterator[zipped.Member]:
    """Reports that are PDF files."""
    of_pdf = [report for report in results.reports if report.lines is None]
    for number, report in enumerate(of_pdf, 1):
        path = f"{_WEB}/R{number:07}.PDF"
        written.documents[report.instance.sop_instance_uid] = path
        yield zipped.Member(path, [archive.results.document(report)], report.instance.received_at)
