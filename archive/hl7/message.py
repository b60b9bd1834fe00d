"""A message of HL7 version 2 in its encoding with delimiters (HL7 v2.5.1 2.5 to 2.7), read as it is found.

Hospitals send messages that keep to no version of the standard, so structure is not checked here: what a field means
is asked by place, and a place that does not exist is empty. Bytes are split before they are decoded. All character
sets that are read contain ASCII, so delimiters are what they always are, and bytes that make no sense are told with
their field.

This is our own and no library's because each fault must be told by segment and field, each value be decoded by itself
(what a TCVN3 font shows as capitals is told from the value), and nothing that comes may raise anything but `Refused`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from archive.hl7 import charset
from archive.hl7.faults import DATA_TYPE, REQUIRED_FIELD_MISSING, SEGMENT_SEQUENCE, Fault, Location, Refused, refuse
from config.character_sets import UTF_8

NULL: Final = '""'
"""What deletes a value (HL7 v2.5.1 2.5.3)."""
_LINES: Final = re.compile("\r\n|\r|\n")
_MOST_SEGMENTS: Final = 20_000
_PLACE: Final = re.compile(r"([A-Z][A-Z0-9]{2})(?:-([0-9]+))?(?:\.([0-9]+))?(?:\.([0-9]+))?")


@dataclass(frozen=True, slots=True)
class Delimiters:
    """Those of MSH-1 and MSH-2."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"


@dataclass(frozen=True, slots=True)
class Place:
    """Segment, field, component and subcomponent; 0 for the whole."""

    segment: str
    field: int
    component: int = 0
    subcomponent: int = 0

    @classmethod
    def read(cls, text: str) -> Place:
        """From text such as ``OBR-4.2``."""
        found = _PLACE.fullmatch(text)
        assert found is not None, text
        return cls(found[1], *(int(part or 0) for part in found.groups()[1:]))


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment. `fields` are its parts as received, a character for each byte; the first is its name."""

    name: str
    fields: Sequence[str]
    delimiters: Delimiters
    charset: str
    sequence: int = 1
    """Which one of this name in the message, from 1."""

    def raw(self, number: int) -> str:
        """A field as received; empty if it is not there."""
        return self.fields[number] if 0 < number < len(self.fields) else ""

    def repetitions(self, number: int) -> list[str]:
        """The repetitions of a field that have something in them, as received."""
        return [each for each in self.raw(number).split(self.delimiters.repetition) if each]

    def where(self, number: int = 0, component: int = 0) -> Location:
        return Location(self.name, self.sequence, number, component)

    def get(self, number: int, component: int = 1, subcomponent: int = 1, *, of: str | None = None) -> str:
        """A value as text, of the first repetition or of the one that is given; empty if there is none.

        A ``component`` of 0 is the whole field with its components as words. Raises `Refused` for bytes that make no
        sense in the character set of the message.
        """
        given = of if of is not None else next(iter(self.repetitions(number)), "")
        if component == 0:
            parts = re.split(f"[{re.escape(self.delimiters.component + self.delimiters.subcomponent)}]", given)
            words = [self._text(part, number, 0) for part in parts]
            return " ".join(word for word in words if word and word != NULL)
        parts = given.split(self.delimiters.component)
        part = parts[component - 1] if component <= len(parts) else ""
        if subcomponent:
            subs = part.split(self.delimiters.subcomponent)
            part = subs[subcomponent - 1] if subcomponent <= len(subs) else ""
        return self._text(part, number, component)

    def value(self, number: int, component: int = 1, subcomponent: int = 1) -> str:
        """The same, and empty for a value that is to be deleted."""
        found = self.get(number, component, subcomponent)
        return "" if found == NULL else found

    def _text(self, part: str, number: int, component: int) -> str:
        if not part:
            return ""
        found = charset.decode(unescape(part, self.delimiters).encode("latin-1"), self.charset)
        if found is None:
            shown = {"ISO_IR 192": "UTF-8", "ISO_IR 6": "ASCII"}.get(self.charset, self.charset)
            text = f"has bytes that are not {shown}: see MSH-18 and the settings of this sender"
            raise refuse(DATA_TYPE, text, self.where(number, component))
        return found.strip()


@dataclass(frozen=True, slots=True)
class Message:
    """A message as received."""

    segments: Sequence[Segment]
    delimiters: Delimiters = field(default_factory=Delimiters)

    @property
    def header(self) -> Segment:
        return self.segments[0]

    @property
    def control_id(self) -> str:
        """MSH-10 as received."""
        return self.header.raw(10).strip()

    @property
    def kind(self) -> tuple[str, str]:
        """Message type and event, such as ``("ORM", "O01")``; the event may stand in EVN-1 (before version 2.4)."""
        event = _plain(self.header, 9, 2) or _plain(self.first("EVN"), 1, 1)
        return _plain(self.header, 9, 1), event

    def all(self, name: str) -> Iterator[Segment]:
        return (segment for segment in self.segments if segment.name == name)

    def first(self, name: str) -> Segment | None:
        return next(self.all(name), None)

    def need(self, name: str) -> Segment:
        """The first segment of this name. Raises `Refused`."""
        found = self.first(name)
        if found is None:
            raise refuse(SEGMENT_SEQUENCE, "is missing", Location(name))
        return found


def _plain(segment: Segment | None, number: int, component: int) -> str:
    """A code: ASCII, whatever the character set."""
    if segment is None:
        return ""
    parts = segment.raw(number).split(segment.delimiters.component)
    found = parts[component - 1].strip().upper() if component <= len(parts) else ""
    return found if found.isascii() else ""


def parse(data: bytes, *, default: str = UTF_8, actual: str | None = None) -> Message:
    """Read a message. `default` is the character set of one without MSH-18, `actual` overrides it.

    Raises `Refused` for what is no message at all.
    """
    text = data.removeprefix(b"\xef\xbb\xbf").decode("latin-1").strip("\r\n\0 ")
    if not text.startswith("MSH"):
        raise refuse(SEGMENT_SEQUENCE, "the message does not begin with it", Location("MSH"))
    delimiters = _delimiters(text)
    lines = _segments(text, delimiters)
    header = Segment("MSH", ["MSH", delimiters.field, *lines[0].split(delimiters.field)[1:]], delimiters, default)
    name = actual or _named(header) or default
    counts: dict[str, int] = {}
    segments = []
    for line in lines:
        code = line[:3]
        counts[code] = counts.get(code, 0) + 1
        parts = line.split(delimiters.field)
        if code == "MSH":
            parts.insert(1, delimiters.field)
        segments.append(Segment(code, parts, delimiters, name, counts[code]))
    if counts["MSH"] > 1:
        raise refuse(SEGMENT_SEQUENCE, "a message has one, batches are not taken", Location("MSH", 2))
    if not header.raw(9).strip(delimiters.component + " "):
        raise refuse(REQUIRED_FIELD_MISSING, "is missing: the message type", Location("MSH", 1, 9))
    return Message(segments, delimiters)


def _delimiters(text: str) -> Delimiters:
    """Those that the header gives, the usual ones where it gives none."""
    mark = text[3:4]
    if not mark or mark.isalnum() or mark.isspace() or ord(mark) < 0x20 or ord(mark) > 0x7E:
        raise refuse(DATA_TYPE, "is no field separator", Location("MSH", 1, 1))
    given = re.split(f"[{re.escape(mark)}\r\n]", text[4:16], maxsplit=1)[0]
    usual = "^~\\&"
    marks = [given[i] if i < len(given) else usual[i] for i in range(4)]
    if len({mark, *marks}) < 5 or any(each.isalnum() or not 0x20 < ord(each) < 0x7F for each in marks):
        raise refuse(DATA_TYPE, "are no four different characters", Location("MSH", 1, 2))
    return Delimiters(mark, *marks)


def _segments(text: str, delimiters: Delimiters) -> list[str]:
    """The lines that are segments. Others go on with the field before: somebody's line break in a text."""
    begins = re.compile(rf"[A-Z][A-Z0-9]{{2}}(?:{re.escape(delimiters.field)}|$)")
    found: list[str] = []
    for line in _LINES.split(text):
        stripped = line.strip(" \0\t")
        if begins.match(stripped):
            found.append(stripped)
        elif stripped and found:
            found[-1] += "\n" + line
    if len(found) > _MOST_SEGMENTS:
        raise refuse(SEGMENT_SEQUENCE, f"the message has more than {_MOST_SEGMENTS} segments")
    return found


def _named(header: Segment) -> str | None:
    """The character set of MSH-18. Raises `Refused` for a name that is not known."""
    given = [each for each in header.raw(18).split(header.delimiters.repetition) if each.strip()]
    if not given or given[0] == NULL:
        return None
    found = charset.of_header(given[0].split(header.delimiters.component)[0])
    if found is None:
        text = "names a character set that is not read: see the settings of this sender"
        raise Refused(Fault(DATA_TYPE, text, Location("MSH", 1, 18)))
    return found


def unescape(text: str, delimiters: Delimiters) -> str:
    """Escape sequences as what they stand for (HL7 v2.5.1 2.7). What is no sequence stays."""
    mark = delimiters.escape
    if mark not in text:
        return text
    names = {
        "F": delimiters.field,
        "S": delimiters.component,
        "R": delimiters.repetition,
        "E": mark,
        "T": delimiters.subcomponent,
        "H": "",
        "N": "",
    }

    def meant(found: re.Match[str]) -> str:
        word = found[1]
        if word in names:
            return names[word]
        if word[:1] == "X" and len(word) % 2 and re.fullmatch(r"[0-9A-Fa-f]+", word[1:]):
            return bytes.fromhex(word[1:]).decode("latin-1")
        if re.fullmatch(r"\.(br|ce|sp[+]?[0-9]{0,2})", word):
            return "\n"
        if re.fullmatch(
            r"\.(fi|nf|in[+-]?[0-9]{1,3}|ti[+-]?[0-9]{1,3}|sk[+]?[0-9]{1,3})|[CM][0-9A-Fa-f]{4,6}|Z.*", word
        ):
            return ""
        return found[0]

    escaped = re.escape(mark)
    return re.sub(f"{escaped}([^{escaped}]{{1,256}}){escaped}", meant, text)


def escape(text: str, delimiters: Delimiters = Delimiters()) -> str:
    """Text as the value of a field."""
    mark = delimiters.escape
    text = text.replace(mark, f"{mark}E{mark}")
    for char, name in (
        (delimiters.field, "F"),
        (delimiters.component, "S"),
        (delimiters.repetition, "R"),
        (delimiters.subcomponent, "T"),
    ):
        text = text.replace(char, f"{mark}{name}{mark}")
    text = _LINES.sub(lambda _: f"{mark}.br{mark}", text)
    return "".join(char for char in text if unicodedata.category(char) not in ("Cc", "Cs"))


def readable(data: bytes, usual: str | None = None) -> str:
    """A message as text for a person to look at, whatever it is; `usual` is the character set of its sender."""
    name = usual
    with suppress(Refused):
        name = _named(parse(data, actual="ISO_IR 100").header) or usual
    for each in (UTF_8, name):
        if each is not None and (text := charset.decode(data, each)) is not None:
            return text
    return data.decode("latin-1")
