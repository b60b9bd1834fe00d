"""Text in pictures: with Vietnamese letters, from a font that travels with the archive (Noto Sans, OFL 1.1)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Final, Literal

from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset

Annotation = Literal["patient", "technique"]
ANNOTATIONS: Final[tuple[Annotation, ...]] = ("patient", "technique")
_FONT: Final = files("fontpkg_noto_sans") / "files" / "NotoSans[wdth,wght].ttf"
_SMALLEST, _LARGEST = 7, 96
_LONGEST: Final = 64

_TECHNIQUE: Final = (
    ("", ("InstitutionName",)),
    ("", ("StudyDate", "StudyTime")),
    ("", ("Modality", "SeriesDescription")),
    ("Se ", ("SeriesNumber",)),
    ("Im ", ("InstanceNumber",)),
    ("kV ", ("KVP",)),
    ("mA ", ("XRayTubeCurrent",)),
    ("TR ", ("RepetitionTime",)),
    ("TE ", ("EchoTime",)),
    ("SL ", ("SliceThickness",)),
    ("LOC ", ("SliceLocation",)),
)


@lru_cache(maxsize=64)
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font in a size of pixels."""
    return ImageFont.truetype(str(_FONT), size)


def annotate(image: Image.Image, ds: Dataset, wanted: Iterable[Annotation]) -> Image.Image:
    """Burn in who the patient is (top left) and how the image was made (top right) (PS3.18 8.3.5.1.1)."""
    wanted = set(wanted)
    left = _patient(ds) if "patient" in wanted else []
    right = _technique(ds) if "technique" in wanted else []
    if not left and not right:
        return image
    shown = image.copy()
    room = shown.width * (0.46 if left and right else 0.94)
    margin = max(1, shown.width // 64)
    _write(shown, left, room, margin, "la")
    _write(shown, right, room, shown.width - margin, "ra")
    return shown


def printable(value: object) -> str:
    """One line of a value: composed letters, no control characters, not endless."""
    text = unicodedata.normalize("NFC", str(value if value is not None else ""))
    return "".join(each if each.isprintable() else " " for each in text).strip()[:_LONGEST]


def _write(image: Image.Image, lines: Sequence[str], room: float, x: int, anchor: Literal["la", "ra"]) -> None:
    if not lines:
        return
    size = max(_SMALLEST, min(_LARGEST, min(image.size) // 28))
    widest = max(font(size).getlength(line) for line in lines)
    size = max(_SMALLEST, min(size, int(size * room / max(widest, 1)), image.height // (2 * len(lines))))
    draw, white, black = ImageDraw.Draw(image), "white", "black"
    for index, line in enumerate(lines):
        y = max(1, size // 4) + index * size * 5 // 4
        draw.text((x, y), line, fill=white, font=font(size), anchor=anchor, stroke_width=1, stroke_fill=black)


def _patient(ds: Dataset) -> list[str]:
    name = printable(str(ds.get("PatientName", "")).split("=")[0].replace("^", " "))
    born = _date(printable(ds.get("PatientBirthDate", "")))
    lines = [
        " ".join(name.split()),
        printable(ds.get("PatientID", "")),
        f"{born} {printable(ds.get('PatientSex', ''))}",
    ]
    return [line.strip() for line in lines if line.strip()]


def _technique(ds: Dataset) -> list[str]:
    lines = []
    for label, keywords in _TECHNIQUE:
        values = (_date(printable(ds.get(keyword, ""))) for keyword in keywords)
        text = " ".join(value for value in values if value)
        lines += [label + text] if text else []
    return lines


def _date(text: str) -> str:
    """A date or a time as people write it; other text as it is."""
    whole = text.split(".")[0]
    if whole.isdecimal() and len(whole) == 8:
        return f"{whole[6:]}/{whole[4:6]}/{whole[:4]}"
    return text
