"""``python -m tests.rendering_table``: write the table "Rendering against DCMTK" of docs/interoperability.md.

Exit code 1 if a picture differs by more than is allowed.
"""

from __future__ import annotations

import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from docs.generate import table
from tests.rendering import BEYOND_DCMTK, Difference, all_images, difference

DOCUMENT: Final = Path(__file__).parents[1] / "docs" / "interoperability.md"
_BLOCK = re.compile(r"(<!-- rendering: table -->\n).*?(<!-- /rendering -->)", re.DOTALL)


def differences() -> Iterator[tuple[str, Difference | None]]:
    """Of each file; None where DCMTK cannot tell."""
    with tempfile.TemporaryDirectory() as folder:
        for path in all_images():
            yield path.name, None if path.name in BEYOND_DCMTK else difference(path, Path(folder))


def _row(name: str, found: Difference | None) -> tuple[str, str, str, str]:
    if found is None:
        return f"DCMTK cannot show {BEYOND_DCMTK[name]}", f"`{name}`", "-", "-"
    return found.kind, f"`{name}`", str(found.largest), f"{found.pixels:.1%}"


def main(document: Path = DOCUMENT) -> int:
    warnings.simplefilter("ignore")
    found = list(differences())
    rows = sorted(_row(*each) for each in found)
    text = table(("Kind", "File", "Largest difference of 255", "Samples that differ"), rows)
    before = document.read_text(encoding="utf-8")
    document.write_text(_BLOCK.sub(lambda block: f"{block[1]}{text}{block[2]}", before), encoding="utf-8")
    return int(any(each is not None and each.largest > each.allowed for _, each in found))


if __name__ == "__main__":
    sys.exit(main())
