"""What the retrieve transactions share: resources named by paths, accepted media types (PS3.18 8.2, 10.4.1)."""

from __future__ import annotations

import re
from typing import Final

from fastapi import Request

from archive.audit.events import Action
from archive.core import Archive
from archive.errors import InvalidQuery, NotFound, NotPermitted
from archive.people.roles import Right
from archive.records import StoredInstance
from archive.standard.uids import check_uid, is_read_whole
from viewer_api.audited import looked
from viewer_api.gate import known_caller
from viewer_api.media_types import MediaRange, accepted
from viewer_api.views import copying_scope_of, scope_of

STUDY: Final = "/studies/{study}"
SERIES: Final = STUDY + "/series/{series}"
INSTANCE: Final = SERIES + "/instances/{instance}"

_FRAMES = re.compile(r"[0-9]{1,10}(?:-[0-9]{1,10})?(?:,[0-9]{1,10}(?:-[0-9]{1,10})?)*")
# More in one request is a mistake or an attack: an object has at most 2^31-1 frames, and a list is written by hand.
MOST_FRAMES: Final = 100_000


def located(
    request: Request, archive: Archive, study: str, series: str | None = None, instance: str | None = None
) -> list[StoredInstance]:
    """The stored instances of a resource. Raises InvalidUID (400) for what is no UID, NotFound (404)."""
    _check(study, series, instance)
    found = archive.locate(study, series, instance, scope_of(request))
    looked(request, archive, found, Action.VIEW)
    return found


async def located_without_waiting(
    request: Request, archive: Archive, study: str, series: str, instance: str
) -> StoredInstance | None:
    """The one stored instance of this name, found without a thread; None if `located_instance` is to be asked.

    The look is not on record then (`archive.audit.looks.Looks.count`). Raises `InvalidUID` (400).
    """
    _check(study, series, instance)
    return await archive.locate_one(study, series, instance, scope_of(request))


def located_to_copy(
    request: Request, archive: Archive, study: str, series: str | None = None, instance: str | None = None
) -> list[StoredInstance]:
    """The same for whoever wants whole objects: they may be copied, or are such as a viewer must read whole.

    Raises `NotPermitted` (403) for what the caller may look at and no more; what they may not even look at is NotFound.
    """
    _check(study, series, instance)
    caller = known_caller(request)
    request.state.right = Right.COPY
    if caller.may(Right.COPY):
        try:
            found = archive.locate(study, series, instance, copying_scope_of(request))
        except NotFound:
            if not caller.may(Right.VIEW):
                raise
        else:
            looked(request, archive, found, Action.COPY)
            return found
    found = archive.locate(study, series, instance, scope_of(request))
    if not all(is_read_whole(each.sop_class_uid) for each in found):
        raise NotPermitted("these objects may be looked at; the right to copy them is missing")
    looked(request, archive, found, Action.VIEW)
    return found


def require_copy(request: Request, archive: Archive, inst: StoredInstance) -> None:
    """Raise `NotPermitted` unless this instance, which the caller may look at, may also be had whole."""
    uids = inst.study_instance_uid, inst.series_instance_uid, inst.sop_instance_uid
    located_to_copy(request, archive, *uids)


def _check(study: str, series: str | None, instance: str | None) -> None:
    check_uid(study, "StudyInstanceUID")
    if series is not None:
        check_uid(series, "SeriesInstanceUID")
    if instance is not None:
        check_uid(instance, "SOPInstanceUID")


def located_instance(request: Request, archive: Archive, study: str, series: str, instance: str) -> StoredInstance:
    """The one stored instance of this name."""
    return located(request, archive, study, series, instance)[0]


def accepts(request: Request) -> list[MediaRange]:
    """What the client accepts, the most wanted first (PS3.18 8.3.3.1, 8.4.1)."""
    return accepted(request.headers.get("accept"), request.query_params.getlist("accept"))


def frame_numbers(text: str, inst: StoredInstance) -> list[int]:
    """Parse a frame list (PS3.18 10.4.1.1.2): comma-separated numbers from 1; ranges ``2-5`` are taken, too.

    Raises
    ------
    InvalidQuery
        Not a list of frame numbers (400).
    NotFound
        The instance has no such frame (404).
    """
    if not _FRAMES.fullmatch(text):
        raise InvalidQuery("frames: a comma-separated list of frame numbers is expected")
    numbers: list[int] = []
    for item in text.split(","):
        first, _, last = item.partition("-")
        low, high = int(first), int(last or first)
        if low < 1 or high < low:
            raise InvalidQuery("frames: numbers start at 1 and ranges go upwards")
        if inst.object.frame_table is None:
            raise NotFound("the instance has no frames")
        if high > inst.number_of_frames:
            raise NotFound(f"the instance has {inst.number_of_frames} frames; there is no frame {high}")
        if len(numbers) + high - low >= MOST_FRAMES:
            raise InvalidQuery(f"frames: more than {MOST_FRAMES} in one request")
        numbers.extend(range(low, high + 1))
    return numbers
