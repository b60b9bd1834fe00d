"""A picture in place of objects that have none: reports, plans, waveforms."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from archive.imaging.render import ImageFormat, encode

SIZE: Final = 256
_LONGEST: Final = 16


@lru_cache(maxsize=64)
def placeholder(modality: str, to: ImageFormat = "PNG", width: int = SIZE, height: int = SIZE) -> bytes:
    """A neutral picture that shows the modality, such as ``SR``. It carries nothing of the object but that."""
    text = "".join(c for c in modality if c.isalnum())[:_LONGEST] or "?"
    image = Image.new("L", (width, height), 38)
    draw = ImageDraw.Draw(image)
    edge = max(1, min(width, height) // 64)
    draw.rectangle((edge, edge, width - 1 - edge, height - 1 - edge), outline=90, width=edge)
    size = max(8, min(height // 3, int(1.4 * width / (len(text) + 1))))
    draw.text((width / 2, height / 2), text, fill=190, font=ImageFont.load_default(size), anchor="mm")
    return encode(image, to)
