"""What all PDFs of the archive share: the font, which has every letter of Vietnamese and is shipped with it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

FONT: Final = Path(str(files("fontpkg_noto_sans"))) / "files" / "NotoSans[wdth,wght].ttf"
"""It has all weights, of which the first is the regular one."""
