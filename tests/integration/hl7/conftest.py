"""An archive that listens for HL7."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from archive.core import Archive
from archive.hl7.listener import Listener
from config.settings import Settings
from tests.hl7 import listening, with_hl7


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return with_hl7(settings)


@pytest.fixture
def listener(archive: Archive) -> Iterator[Listener]:
    with listening(archive) as running:
        yield running
