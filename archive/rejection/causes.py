"""Why an instance is not shown, and which view shows it all the same.

The column ``instance.hidden`` is the sum of the causes that hold now; 0 for almost all instances. It follows from other
rows (see `archive.rejection.apply`) and is kept so that a query needs to look at nothing else.
"""

from __future__ import annotations

from enum import IntFlag, StrEnum
from typing import Final, NamedTuple


class Hidden(IntFlag):
    """Causes; an instance can have several."""

    QUALITY = 1
    SAFETY = 2
    WORKLIST = 4
    EXPIRED = 8
    QUALITY_NOTE = 16
    """It is a note that rejects for quality reasons, and holds."""
    NOTE = 32
    """It is any other rejection note."""
    QUARANTINE = 64
    """An unlisted sender sent it."""
    DISCARDED = 128
    """It was quarantined, and will not be released."""


NOT_HIDDEN: Final = Hidden(0)


class View(StrEnum):
    """What of the hidden a caller sees."""

    CLINICAL = "clinical"
    """Nothing."""
    QUALITY = "quality"
    """What was rejected for quality reasons, and for nothing else, with the notes that say so."""
    EVERYTHING = "everything"
    """All but what was discarded from quarantine."""


SHOWN: Final[dict[View, Hidden]] = {
    View.CLINICAL: NOT_HIDDEN,
    View.QUALITY: Hidden.QUALITY | Hidden.QUALITY_NOTE,
    View.EVERYTHING: ~Hidden.DISCARDED,
}
"""The causes that do not hide in a view."""


class Title(NamedTuple):
    """A document title of rejection notes (PS3.16 CID 7010)."""

    code: str
    meaning: str
    cause: Hidden


TITLES: Final = (
    Title("113001", "Rejected for Quality Reasons", Hidden.QUALITY),
    Title("113037", "Rejected for Patient Safety Reasons", Hidden.SAFETY),
    Title("113038", "Incorrect Modality Worklist Entry", Hidden.WORKLIST),
    Title("113039", "Data Retention Policy Expired", Hidden.EXPIRED),
)
BY_CODE: Final = {title.code: title for title in TITLES}
NOTES: Final = Hidden.QUALITY_NOTE | Hidden.NOTE
KEY_OBJECT_SELECTION: Final = "1.2.840.10008.5.1.4.1.1.88.59"


def hidden_note(cause: Hidden) -> Hidden:
    """What hides a note itself: in IOCM it is for the archive, which has done what it says."""
    return Hidden.QUALITY_NOTE if cause is Hidden.QUALITY else Hidden.NOTE
