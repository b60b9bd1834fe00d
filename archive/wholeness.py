"""Whether a stored object is in the store as the index says, and the note of it in the index when it is not."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from config.logs import fields
from storage.base import CHUNK_SIZE, ObjectStore
from storage.errors import IntegrityError, ObjectNotFound, StorageError

log = logging.getLogger(__name__)

State = Literal["available", "missing", "corrupt"]

SET_STATE = "UPDATE stored_object SET state = %(state)s WHERE id = %(id)s AND key = %(key)s"
"""Only if the row still points to the object that was looked at: a re-send may have repaired it meanwhile."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the index says of a stored object."""

    id: int
    key: str
    size: int
    digest: bytes
    """SHA-256 of the dataset."""
    dataset_offset: int
    state: str


def state_in_store(
    store: ObjectStore, kept: Kept, *, content: bool, pace: Callable[[int], None] = lambda _: None
) -> State | None:
    """The state of the object as the store shows it; None when the store cannot tell now.

    With `content` the dataset is read and its SHA-256 compared; `pace` is told of each piece that was read, in bytes.
    """
    try:
        if store.stat(kept.key).size != kept.size:
            return "corrupt"
        if content and _digest(store, kept, pace) != kept.digest:
            return "corrupt"
    except ObjectNotFound:
        return "missing"
    except IntegrityError:
        return "corrupt"
    except StorageError as error:
        log.warning("an object could not be checked", extra=fields(key=kept.key, error=str(error)))
        return None
    return "available"


def log_change(kept: Kept, state: State) -> None:
    """Tell of a state that is not the one that the index had."""
    log.log(
        logging.INFO if state == "available" else logging.ERROR,
        "an object changed its state",
        extra=fields(key=kept.key, was=kept.state, state=state),
    )


def _digest(store: ObjectStore, kept: Kept, pace: Callable[[int], None]) -> bytes:
    digest = hashlib.sha256()
    with store.open_range(kept.key, kept.dataset_offset, kept.size - kept.dataset_offset) as reader:
        while chunk := reader.read(CHUNK_SIZE):
            digest.update(chunk)
            pace(len(chunk))
    return digest.digest()
