"""The demo province: two hospitals and their studies, so that a new archive has something to show.

Real images come from the test files of pydicom; a thorax and an angiogram are computed, so that there is a stack to
scroll and to reformat. Names, identity numbers and facility codes are invented. Everything is the same on every
machine and day (UIDs, dates and bytes), so loading it twice changes nothing.
"""

from pathlib import Path

SETTINGS = Path(__file__).with_name("pacs.toml")
"""Settings that make an archive ready for the demo."""
