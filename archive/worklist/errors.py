"""What can go wrong with a performed procedure step (PS3.4 F.7.2, PS3.7 10.1).

InvalidItem
├── MissingAttribute          a required attribute is not there
├── MissingValue              a required attribute has no value
└── InvalidValue              a value is not allowed
Conflict
├── DuplicateStep             the SOP Instance UID is taken by another step
└── StepIsFinal               the step was completed or discontinued and may no longer be updated
NotFound
└── NoSuchStep                no step (that the caller may see) has this SOP Instance UID
"""

from __future__ import annotations

from archive.errors import Conflict, InvalidItem, NotFound


class MissingAttribute(InvalidItem):
    """A required attribute is not there."""


class MissingValue(InvalidItem):
    """A required attribute has no value."""


class InvalidValue(InvalidItem):
    """A value is not allowed."""


class DuplicateStep(Conflict):
    """The SOP Instance UID is taken by another step."""


class StepIsFinal(Conflict):
    """The step was completed or discontinued and may no longer be updated (PS3.4 F.7.2.2.2)."""


class NoSuchStep(NotFound):
    """No step that the caller may see has this SOP Instance UID."""
