"""What a client accepts, and what of it the archive can give (PS3.18 8.3.3.1, 8.4.1, 8.7; RFC 9110 12.5.1).

The ``accept`` query parameter stands in for the header where a client cannot set one (a link, an ``<img>``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

from archive.errors import InvalidQuery, NotAcceptable

MULTIPART: Final = "multipart/related"
DICOM: Final = "application/dicom"
DICOM_JSON: Final = "application/dicom+json"
DICOM_XML: Final = "application/dicom+xml"
JSON: Final = "application/json"
OCTET_STREAM: Final = "application/octet-stream"
ZIP: Final = "application/zip"
JPEG: Final = "image/jpeg"
PNG: Final = "image/png"
GIF: Final = "image/gif"
WEBP: Final = "image/webp"
MP4: Final = "video/mp4"

_LONGEST: Final = 8192
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# A quoted string as a whole, or anything that is neither a quote nor the separator.
_BY_COMMA = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^",])+')
_BY_SEMICOLON = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^";])+')

_JPEG_FAMILY: Final = "1.2.840.10008.1.2.4."
# PS3.18 Table 8.7.3-5: media types of single and multi-frame bulk data and their transfer syntaxes, the default first.
SYNTAXES_OF: Final[dict[str, tuple[str, ...]]] = {
    "image/jpeg": tuple(f"{_JPEG_FAMILY}{n}" for n in (70, 50, 51, 57)),
    "image/jls": tuple(f"{_JPEG_FAMILY}{n}" for n in (80, 81)),
    "image/jp2": tuple(f"{_JPEG_FAMILY}{n}" for n in (90, 91)),
    "image/jpx": tuple(f"{_JPEG_FAMILY}{n}" for n in (92, 93)),
    "image/jphc": tuple(f"{_JPEG_FAMILY}{n}" for n in (201, 202, 203)),
    "image/jxl": tuple(f"{_JPEG_FAMILY}{n}" for n in (110, 111, 112)),
    "image/dicom-rle": ("1.2.840.10008.1.2.5",),
    "video/mpeg2": tuple(f"{_JPEG_FAMILY}{n}" for n in (100, 101, "100.1", "101.1")),
    "video/mp4": tuple(f"{_JPEG_FAMILY}{n}{kind}" for kind in ("", ".1") for n in (102, 103, 104, 105, 106)),
    "video/H265": tuple(f"{_JPEG_FAMILY}{n}" for n in (107, 108)),
}
# Names that clients use for the above: registered before the standard's own, or meant by an earlier edition.
_ALIASES: Final = {
    "image/x-jls": "image/jls",
    "image/dicom+jls": "image/jls",
    "image/x-dicom-rle": "image/dicom-rle",
    "image/dicom+rle": "image/dicom-rle",
    "image/dicom+jpeg": "image/jpeg",
    "image/dicom+jp2": "image/jp2",
    "image/dicom+jpx": "image/jpx",
    "image/jpg": "image/jpeg",
    "video/mpeg": "video/mpeg2",
    "video/h265": "video/H265",
}
_MEDIA_TYPE_OF: Final = {syntax: name for name, syntaxes in SYNTAXES_OF.items() for syntax in syntaxes}


def media_type_of_syntax(transfer_syntax_uid: str) -> str:
    """The media type of frames in a transfer syntax (PS3.18 Table 8.7.3-5); octet-stream where there is none."""
    return _MEDIA_TYPE_OF.get(transfer_syntax_uid, OCTET_STREAM)


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One of the things a client accepts: ``multipart/related; type="image/jpeg"; q=0.8``."""

    media_type: str
    """Of the parts if `multipart`; may be ``*/*`` or ``image/*``."""
    multipart: bool | None
    """In parts, not in parts, or (None) as the archive likes."""
    transfer_syntax: str | None = None
    """A UID, ``*`` for any, or None when the client names none."""
    quality: float = 1.0
    parameters: dict[str, str] = field(default_factory=dict, compare=False)

    def matches(self, media_type: str) -> bool:
        """Whether the media type is within the range."""
        if self.media_type == "*/*":
            return True
        kind, _, sub = self.media_type.partition("/")
        return media_type.startswith(f"{kind}/") if sub == "*" else media_type == self.media_type

    @property
    def specificity(self) -> int:
        """RFC 9110 12.5.1: the more specific of two ranges of equal quality goes first."""
        return (self.media_type != "*/*") + (not self.media_type.endswith("/*")) + (self.multipart is not None)


class Offer(NamedTuple):
    """A form in which a resource can be given."""

    media_type: str
    multipart: bool


ANYTHING: Final = MediaRange("*/*", None)


def accepted(header: str | None, query: Sequence[str] = ()) -> list[MediaRange]:
    """Parse what the client accepts, the most wanted first.

    Parameters
    ----------
    header : str | None
        The value of the Accept header.
    query : Sequence[str]
        Values of the ``accept`` query parameter; they go before the header (PS3.18 8.3.3.1).

    Raises
    ------
    InvalidQuery
        The value cannot be understood at all.
    """
    return list(_accepted(header, tuple(query)))


@lru_cache(maxsize=256)
def _accepted(header: str | None, query: tuple[str, ...]) -> tuple[MediaRange, ...]:
    """Kept, for a client asks for all its frames in the same words."""
    # A "+" that was not percent-encoded reaches us as a space: "application/dicom json".
    text = ",".join(re.sub(r"(?<=\w) (?=\w)", "+", value) for value in query if value.strip())
    text = text or (header or "")
    if len(text) > _LONGEST:
        raise InvalidQuery(f"what is accepted is longer than {_LONGEST} characters")
    if not text.strip():
        return (ANYTHING,)
    ranges = [_media_range(item.strip()) for item in _BY_COMMA.findall(text) if item.strip()]
    wanted = [item for item in ranges if item is not None and item.quality > 0]
    return tuple(sorted(wanted, key=lambda item: (-item.quality, -item.specificity)))


def _media_range(text: str) -> MediaRange | None:
    """Parse one media range; None for what is no media range, which is then simply not accepted."""
    head, *rest = (piece.strip() for piece in _BY_SEMICOLON.findall(text))
    name = canonical(head)
    if name is None:
        return None
    parameters = dict(filter(None, map(_parameter, rest)))
    syntax = parameters.get("transfer-syntax") or None
    quality = _quality(parameters.get("q", "1"))
    if name in (MULTIPART, "multipart/*", "multipart/mixed"):
        inner = canonical(parameters.get("type", "*/*"))
        return None if inner is None else MediaRange(inner, True, syntax, quality, parameters)
    return MediaRange(name, None if name == "*/*" else False, syntax, quality, parameters)


def canonical(name: str) -> str | None:
    """The media type by the name that we know it by; None for what is none."""
    name = name.strip().lower()
    if name == "*":
        return "*/*"  # sent by java.net.URLConnection and kept alive since
    kind, slash, sub = name.partition("/")
    if not (slash and _TOKEN.fullmatch(kind) and _TOKEN.fullmatch(sub)):
        return None
    return _ALIASES.get(name, name)


def _parameter(text: str) -> tuple[str, str] | None:
    name, equals, value = text.partition("=")
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    return (name.strip().lower(), value.strip()) if equals else None


def _quality(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 1.0


def choose(ranges: Iterable[MediaRange], offers: Sequence[Offer]) -> tuple[Offer, MediaRange]:
    """The first offer that the most wanted range allows, and that range.

    Raises
    ------
    NotAcceptable
        The client accepts none of the offers (406, PS3.18 8.7.1).
    """
    for wanted in ranges:
        for offer in offers:
            if wanted.multipart in (None, offer.multipart) and wanted.matches(offer.media_type):
                return offer, wanted
    raise NotAcceptable("none of the accepted media types can be given; there are: " + ", ".join(map(_shown, offers)))


def allowed_by(ranges: Iterable[MediaRange], offer: Offer) -> list[MediaRange]:
    """All ranges that allow the offer, the most wanted first: they may name different transfer syntaxes."""
    return [r for r in ranges if r.multipart in (None, offer.multipart) and r.matches(offer.media_type)]


def takes_gzip(header: str | None) -> bool:
    """Whether the value of an Accept-Encoding header allows gzip (RFC 9110 12.5.3); without one we do not compress."""
    qualities: dict[str, float] = {}
    for item in (header or "").lower().split(","):
        name, *rest = (piece.strip() for piece in item.split(";"))
        qualities[name] = _quality(dict(filter(None, map(_parameter, rest))).get("q", "1"))
    found = next((qualities[name] for name in ("gzip", "x-gzip", "*") if name in qualities), 0.0)
    return found > 0


def _shown(offer: Offer) -> str:
    return f'{MULTIPART}; type="{offer.media_type}"' if offer.multipart else offer.media_type
