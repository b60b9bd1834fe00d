"""What can go wrong with a workitem (PS3.4 Tables CC.2.1-2, CC.2.2-2, CC.2.5-2, CC.2.6-2).

InvalidItem
└── BadWorkitem               an attribute is missing or wrong, or may not be set
    ├── MissingTransactionUID     the performer did not say the secret of the workitem (C301)
    ├── WrongTransactionUID       what was said is another (C301)
    └── NoLongerUpdated           a COMPLETED or CANCELED workitem may no longer be updated (C300)
Conflict
├── DuplicateWorkitem         the SOP Instance UID is taken (0111)
└── StateConflict             not possible in the state that the workitem has (C300, C302, C304, C310)
    └── NobodyToTell              a request to cancel reaches nobody (C312)
NotFound
├── NoSuchWorkitem            no workitem has this SOP Instance UID (C307)
└── NoSuchSubscription        the AE is not subscribed
"""

from __future__ import annotations

from typing import ClassVar

from archive.errors import Conflict, InvalidItem, NotFound


class BadWorkitem(InvalidItem):
    """An attribute is missing or wrong, or may not be set. The message names it."""

    warning: ClassVar[str] = ""
    """The sentence of PS3.18 for a Warning header."""


class MissingTransactionUID(BadWorkitem):
    """The workitem is in progress, and its Transaction UID was not said."""

    warning = "The Transaction UID is missing."


class WrongTransactionUID(BadWorkitem):
    """The workitem is in progress, and another Transaction UID was said."""

    warning = "The Transaction UID is incorrect."


class NoLongerUpdated(BadWorkitem):
    """The workitem is COMPLETED or CANCELED."""

    warning = "The submitted request is inconsistent with the current state of the UPS Instance."


class DuplicateWorkitem(Conflict):
    """The SOP Instance UID is taken."""


class StateConflict(Conflict):
    """Not possible in the state that the workitem has."""

    warning: ClassVar[str] = "The submitted request is inconsistent with the current state of the UPS Instance."


class NobodyToTell(StateConflict):
    """Whoever performs the workitem cannot learn of the request to cancel it."""

    warning = "The performer of the UPS cannot be contacted."


class NoSuchWorkitem(NotFound):
    """No workitem has this SOP Instance UID."""


class NoSuchSubscription(NotFound):
    """The AE is not subscribed."""
