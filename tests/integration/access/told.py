"""That the size of the matrix is what `docs/security.md` tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SECURITY: Final = Path(__file__).parents[3] / "docs" / "security.md"


def assert_told(what: str, wanted: Sequence[int]) -> None:
    """`wanted` are the statuses that the rule says, of cells that have all come out so."""
    counts = Counter("allowed" if each < 400 else "refused" for each in wanted)
    assert counts["allowed"] and counts["refused"]
    row = f"| {what} | {len(wanted)} | {counts['allowed']} | {counts['refused']} |"
    assert row in SECURITY.read_text(encoding="utf-8"), f"docs/security.md does not say: {row}"
