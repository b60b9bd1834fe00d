"""WADO-RS: studies, series, instances, their metadata and frames (PS3.18 10.4).

Without a transfer syntax asked for, everything comes in Explicit VR Little Endian (PS3.18 8.7.3.5.2);
``transfer-syntax=*`` gives what is stored, without a decoder being touched.

Whole objects are copies: they need that right, and a grant that allows it, but for documents, which no viewer can show
otherwise (`archive.standard.uids.is_read_whole`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Final, NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import Response

from archive.core import Archive
from archive.correction.outgoing import given_object
from archive.errors import NotAcceptable
from archive.imaging.decode import EXPLICIT_VR_LITTLE_ENDIAN
from archive.imaging.transcode import can_transcode, transcode
from archive.people.roles import Right
from archive.records import StoredInstance
from archive.retrieve import read_object, read_stored
from viewer_api import multipart, zipped
from viewer_api.addresses import DICOMWEB
from viewer_api.deps import ArchiveDep
from viewer_api.gate import needs
from viewer_api.kept import keeping, name_of
from viewer_api.media_types import DICOM, ZIP, MediaRange, Offer, allowed_by, choose
from viewer_api.ranges import Content, entity_tag, ranged
from viewer_api.routes import frames, metadata
from viewer_api.routes.resources import INSTANCE, SERIES, STUDY, accepts, located_to_copy
from viewer_api.streaming import stream

router = APIRouter(prefix=DICOMWEB, tags=["WADO-RS"])
router.include_router(frames.router)
router.include_router(metadata.router)
_READERS: Final = [needs(Right.VIEW, Right.COPY)]

# To be counted up when an object would be transcoded otherwise.
_OBJECT: Final = "object-1"
_PARTS: Final = Offer(DICOM, True)
_SINGLE: Final = Offer(DICOM, False)
_ARCHIVE: Final = Offer(ZIP, False)


class _Given(NamedTuple):
    """An instance, and the transfer syntax to give it in; None for as it is stored."""

    instance: StoredInstance
    target: str | None

    @property
    def transfer_syntax(self) -> str:
        return self.target or self.instance.object.transfer_syntax_uid


@router.get(STUDY, name="retrieve_study", response_class=Response, dependencies=_READERS)
def retrieve_study(request: Request, archive: ArchiveDep, study: str) -> Response:
    """All instances of a study (PS3.18 10.4.1.1.1)."""
    return _instances(request, archive, located_to_copy(request, archive, study), (_PARTS, _ARCHIVE))


@router.get(SERIES, name="retrieve_series", response_class=Response, dependencies=_READERS)
def retrieve_series(request: Request, archive: ArchiveDep, study: str, series: str) -> Response:
    """All instances of a series (PS3.18 10.4.1.1.1)."""
    return _instances(request, archive, located_to_copy(request, archive, study, series), (_PARTS, _ARCHIVE))


@router.get(INSTANCE, name="retrieve_instance", response_class=Response, dependencies=_READERS)
def retrieve_instance(request: Request, archive: ArchiveDep, study: str, series: str, instance: str) -> Response:
    """One instance (PS3.18 10.4.1.1.1)."""
    found = located_to_copy(request, archive, study, series, instance)
    return _instances(request, archive, found, (_PARTS, _SINGLE, _ARCHIVE))


def _instances(
    request: Request, archive: Archive, found: Sequence[StoredInstance], offers: Sequence[Offer]
) -> Response:
    ranges = accepts(request)
    offer, _ = choose(ranges, offers)
    wanted = allowed_by(ranges, offer)
    given = [_given(archive, inst, wanted) for inst in found]
    whole = [item for item in given if item is not None]
    if not whole:
        names = ", ".join(sorted({inst.object.transfer_syntax_uid for inst in found}))
        raise NotAcceptable(f"the transfer syntax asked for cannot be given; the instances are stored in {names}")
    # PS3.18 10.4.3: instances that cannot be given in an acceptable form are left out, and the status says so.
    status = 200 if len(whole) == len(given) else 206
    if offer == _ARCHIVE:
        return _zip(archive, whole, status)
    if offer == _SINGLE:
        return _alone(request, archive, whole[0])
    boundary = multipart.new_boundary()
    syntaxes = {item.transfer_syntax for item in whole}
    media_type = multipart.content_type(boundary, DICOM, syntaxes.pop() if len(syntaxes) == 1 else None)
    # What is to be changed is read first to know its length: not of a whole study before the first byte is sent.
    if len(whole) == 1 or all(item.target is None and item.instance.corrections is None for item in whole):
        parts = [_part(archive, item) for item in whole]
        length = multipart.length(parts, boundary)
        return stream(multipart.write(parts, boundary), media_type, length=length, status=status)
    return stream(multipart.write((_part(archive, item) for item in whole), boundary), media_type, status=status)


def single_instance(request: Request, archive: Archive, inst: StoredInstance, wanted: Sequence[MediaRange]) -> Response:
    """One instance that is the whole body. Raises `NotAcceptable` if it cannot be given in any syntax wanted."""
    given = _given(archive, inst, wanted)
    if given is None:
        stored = inst.object.transfer_syntax_uid
        raise NotAcceptable(f"the transfer syntax asked for cannot be given; the instance is stored in {stored}")
    return _alone(request, archive, given)


def _alone(request: Request, archive: Archive, given: _Given) -> Response:
    if given.target is None and given.instance.corrections is None:
        return ranged(request, _stored(archive, given.instance), _content_type(given))
    part = _part(archive, given)
    return stream(_generator(part), part.content_type, length=part.length)


def _stored(archive: Archive, inst: StoredInstance) -> Content:
    """The file as it is stored, of which any part can be read: a download that broke off goes on where it was."""
    size = inst.object.size

    def read(offset: int, length: int) -> Generator[bytes, None, None]:
        # The store may prove what it gives of a whole object.
        whole = length == size
        return read_object(archive.store, inst) if whole else read_stored(archive.store, inst, offset, length)

    return Content(size, read, entity_tag(inst.object.digest.hex(), inst.object.key, size))


def _given(archive: Archive, inst: StoredInstance, wanted: Sequence[MediaRange]) -> _Given | None:
    """Choose the transfer syntax by what the client wants most and the archive can give (PS3.18 8.7.3.5, 8.7.8)."""
    stored = inst.object.transfer_syntax_uid
    for media_range in wanted:
        asked = media_range.transfer_syntax
        if asked in ("*", stored):
            return _Given(inst, None)
        target = asked or EXPLICIT_VR_LITTLE_ENDIAN
        if target == stored:
            return _Given(inst, None)
        if can_transcode(archive.store, inst, target):
            return _Given(inst, target)
        if asked is None:
            # A video, or a codec from the future: better as it is stored, and labelled so, than not at all.
            return _Given(inst, None)
    return None


def _part(archive: Archive, given: _Given) -> multipart.Part:
    inst, content_type = given.instance, _content_type(given)
    if given.target is None:
        size, chunks = given_object(archive.store, inst)
        return multipart.Part(content_type, chunks, size)
    name = name_of(_OBJECT, inst, given.target)
    kept = archive.frames.get(name)
    if kept is not None:
        return multipart.Part(content_type, (kept,), len(kept))
    made = transcode(archive.store, inst, given.target, archive.settings.web.maximum_decoded_bytes)
    return multipart.Part(content_type, keeping(archive.frames, name, made.chunks, made.size), made.size)


def _content_type(given: _Given) -> str:
    return f"{DICOM}; transfer-syntax={given.transfer_syntax}"


def _generator(part: multipart.Part) -> Generator[bytes, None, None]:
    yield from part.chunks


def _zip(archive: Archive, whole: Sequence[_Given], status: int) -> Response:
    def members() -> Iterator[zipped.Member]:
        for item in whole:
            # Folders by series; UIDs are the only names that cannot tell of the patient.
            name = f"{item.instance.series_instance_uid}/{item.instance.sop_instance_uid}.dcm"
            yield zipped.Member(name, _part(archive, item).chunks, item.instance.received_at)

    name = f"{whole[0].instance.study_instance_uid}.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return stream(zipped.write(members()), ZIP, status=status, headers=headers)
