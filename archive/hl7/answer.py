"""Acknowledgements in original and enhanced mode (HL7 v2.5.1 2.9)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from archive.hl7.faults import MEANING, Fault
from archive.hl7.message import Delimiters, Message, escape
from config import clock
from config.hl7 import HL7Settings

Level = Literal["application", "accept"]
_CODES: Final = {
    "application": {"accept": "AA", "error": "AE", "reject": "AR"},
    "accept": {"accept": "CA", "error": "CE", "reject": "CR"},
}
Outcome = Literal["accept", "error", "reject"]
_USUAL: Final = Delimiters()


@dataclass(frozen=True, slots=True)
class Wishes:
    """Which answers a sender wants (MSH-15 and MSH-16, HL7 table 0155). Original mode: neither is valued."""

    accept: str = ""
    application: str = ""

    @classmethod
    def of(cls, message: Message) -> Wishes:
        accept, application = (message.header.raw(number).strip().upper() for number in (15, 16))
        return cls(accept, application)

    @property
    def enhanced(self) -> bool:
        return bool(self.accept or self.application)

    def wants(self, level: Level, outcome: Outcome) -> bool:
        """Whether an answer of this level about this outcome is to be sent."""
        if not self.enhanced:
            return level == "application"
        wish = self.accept if level == "accept" else self.application
        # Of a wish that is none, the sender rather gets an answer too many.
        return {"": False, "NE": False, "ER": outcome != "accept", "SU": outcome == "accept"}.get(wish, True)

    @property
    def first(self) -> Level:
        """The level at which a message is refused before it is done."""
        return "accept" if self.accept not in ("", "NE") else "application"


def acknowledge(
    settings: HL7Settings,
    message: Message | None,
    outcome: Outcome,
    level: Level,
    faults: Sequence[Fault] = (),
    notes: Sequence[Fault] = (),
) -> bytes:
    """The acknowledgement of a message. `faults` are errors, `notes` are warnings about what was left out.

    It is ASCII, and has nothing of the message but its control ID and who sent it.
    """
    code = _CODES[level][outcome]
    version = _ascii(message.header.raw(12).split(message.delimiters.component)[0]) if message is not None else ""
    version = version if version.startswith("2.") else "2.5.1"
    old = version < "2.5"
    told = message.header if message is not None else None
    # What we repeat is written as the sender has written it; its delimiters may be others than ours.
    marks = message.delimiters if message is not None else _USUAL
    event = message.kind[1] if message is not None else ""
    kind = marks.component.join(part for part in ("ACK", event, "" if old or not event else "ACK") if part)
    field = marks.field
    header = [
        "MSH",
        marks.component + marks.repetition + marks.escape + marks.subcomponent,
        escape(settings.application, marks),
        escape(settings.facility, marks),
        _ascii(told.raw(3)) if told else "",
        _ascii(told.raw(4)) if told else "",
        stamp(clock.now()),
        "",
        kind,
        uuid.uuid4().hex[:20],
        _ascii(told.raw(11)) or "P" if told else "P",
        version,
    ]
    if level == "application" and message is not None and Wishes.of(message).enhanced:
        header += ["", "", "NE", "NE"]
    lines = [field.join(header)]
    said = field.join(["MSA", code, _ascii(message.control_id) if message is not None else ""])
    if faults:
        said += field + escape(str(faults[0]), marks)[:80]
    lines.append(said)
    if old and faults:
        places = [marks.component.join(_old_place(fault, marks)) for fault in faults]
        lines.append(field.join(["ERR", marks.repetition.join(places)]))
    else:
        lines += [_err(fault, "E", marks) for fault in faults] + [_err(note, "W", marks) for note in notes]
    return "".join(f"{line}\r" for line in lines).encode("ascii", "replace")


def _err(fault: Fault, severity: str, marks: Delimiters) -> str:
    where = fault.where
    parts = [where.segment, str(where.sequence) if where.segment else ""]
    parts += [str(where.field)] if where.field else []
    parts += ["1", str(where.component)] if where.field and where.component else []
    place = marks.component.join(parts).strip(marks.component)
    code = marks.component.join((str(fault.code), MEANING[fault.code], "HL70357"))
    return marks.field.join(["ERR", "", place, code, severity, "", "", "", escape(str(fault), marks)[:250]])


def _old_place(fault: Fault, marks: Delimiters) -> list[str]:
    where = fault.where
    code = marks.subcomponent.join((str(fault.code), MEANING[fault.code], "HL70357"))
    return [where.segment, str(where.sequence), str(where.field or ""), code]


def stamp(moment: datetime) -> str:
    """A point of time as HL7 writes it, on the clock of the hospitals."""
    return f"{moment:%Y%m%d%H%M%S}+0700"


def _ascii(raw: str) -> str:
    return "".join(char if " " <= char <= "~" else "?" for char in raw)
