"""Fixtures: a node in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from archive.core import Archive
from config.settings import Settings
from tests.integration.dicom_node.running import Node, running


@pytest.fixture
def node(settings: Settings, archive: Archive) -> Iterator[Node]:
    """A DICOM node on a free port of the loopback interface, with a real archive."""
    with running(settings, archive) as started:
        yield started
        started.wait_until_idle()
