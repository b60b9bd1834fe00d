"""What is recorded of each act: who, what, of whom, why, from where, and whether it was allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from archive.people.caller import Caller

Detail = str | int | list[str]


class Action(StrEnum):
    """What was done or tried."""

    SIGN_IN = "sign_in"
    SIGN_OUT = "sign_out"
    SEARCH = "search"
    VIEW = "view"
    COPY = "copy"
    STORE = "store"
    ORDER = "order"
    """The worklist was changed."""
    REPORT = "report"
    """A report was written, given out or signed."""
    REJECT = "reject"
    """Something was hidden or shown again."""
    SHARE = "share"
    WITHDRAW = "withdraw"
    BREAK_GLASS = "break_glass"
    CONSULT = "consult"
    DELIVER = "deliver"
    """Images were handed to the patient: link opened, disc made."""
    EXPORT = "export"
    IDENTITY = "identity"
    """It was decided, or taken back, which patients are one person."""
    ACCOUNT = "account"
    """An account, its roles or its secrets were changed."""
    SETTING = "setting"
    OPERATE = "operate"
    AUDIT = "audit"
    """The audit trail itself was read or checked."""


SECURITY: Final = frozenset(
    (Action.SIGN_IN, Action.SIGN_OUT, Action.ACCOUNT, Action.SETTING, Action.OPERATE, Action.AUDIT)
)
"""Acts that concern no patient, unless they name one."""


class Outcome(StrEnum):
    SUCCESS = "success"
    DENIED = "denied"
    FAILED = "failed"
    INTENDED = "intended"
    """It is about to be done; another record with the same number in ``act`` tells how it ended. Where there is none,
    the process died in between, and it may have been done or not."""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One act. `detail` holds what else matters, never an image and never a secret."""

    action: Action
    caller: Caller
    outcome: Outcome = Outcome.SUCCESS
    studies: tuple[str, ...] = ()
    """Study Instance UIDs."""
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    purpose: str = ""
    """Why; what the caller has said of its session if empty."""
    detail: Mapping[str, Detail] = field(default_factory=dict)
