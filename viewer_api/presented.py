"""Images that presentation states are about (PS3.18 8.3.5.1, 10.4.1.1.3; 9.1.2.2.8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fastapi import Request

from archive.core import Archive
from archive.errors import InvalidQuery, NotAcceptable, NotFound
from archive.imaging.presentation import GRAYSCALE_SOFTCOPY, references
from archive.records import StoredInstance
from archive.retrieve import read_header
from viewer_api.pictures import State
from viewer_api.routes.resources import located_instance


class Presented(NamedTuple):
    """An image, one of its frames, and the presentation state for it."""

    image: StoredInstance
    frame: int
    state: State


def presented_images(request: Request, archive: Archive, inst: StoredInstance) -> Iterator[Presented]:
    """What a stored presentation state shows of its study, as far as it is stored and may be seen: a frame of each.

    Raises NotAcceptable if there is nothing.
    """
    state = _state(archive, inst)
    found = False
    for series, uid, frames in references(state.dataset):
        try:
            image = located_instance(request, archive, inst.study_instance_uid, series, uid)
        except NotFound:
            continue
        number = frames[0] if frames else 1
        if image.object.frame_table is not None and 1 <= number <= image.number_of_frames:
            found = True
            yield Presented(image, number, state)
    if not found:
        raise NotAcceptable("none of the images of the presentation state is stored")


def state_for(archive: Archive, inst: StoredInstance, image: StoredInstance) -> State:
    """The presentation state. Raises InvalidQuery if it is not about the image."""
    state = _state(archive, inst)
    if not any(each.sop_instance_uid == image.sop_instance_uid for each in references(state.dataset)):
        raise InvalidQuery("presentationUID: the presentation state is not about this image")
    return state


def _state(archive: Archive, inst: StoredInstance) -> State:
    if inst.sop_class_uid != GRAYSCALE_SOFTCOPY:
        raise NotAcceptable("only a Grayscale Softcopy Presentation State can be applied")
    return State(read_header(archive.store, inst), inst)
