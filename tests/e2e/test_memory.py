"""Objects that are too large for memory: the processes hold pieces of them, never one as a whole.

``python -m benchmarks memory`` does the same with 2 GB; here a quarter of the object would already be too much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from benchmarks.huge import Huge, encapsulated, native
from benchmarks.memory import DECOMPRESSED, ONE_FRAME, ONE_PROCESS, Client, Measurer, measure, store_single
from benchmarks.servers import Service, service

MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def running(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    from tests.conftest import fresh_database

    with fresh_database(postgres) as url, service(tmp_path_factory.mktemp("huge"), url, **ONE_PROCESS) as started:
        yield started


@pytest.mark.slow
@pytest.mark.parametrize(
    "made", [lambda: native(320), lambda: encapsulated(800, "extended"), lambda: encapsulated(800, "empty")]
)
def test_no_process_holds_an_object(running: Service, made: Callable[[], Huge]) -> None:
    huge = made()
    assert huge.size > 150 * MEBIBYTE
    rows = measure(running, "filesystem", "", made, without=(DECOMPRESSED,))
    assert len(rows) >= 12
    for row in rows:
        assert row.growth < huge.size / 4, row
        if row.operation in ONE_FRAME:
            # How little exactly, `test_frame_reads` says; here others of the process may read meanwhile.
            assert row.read < huge.size / 20, row


def test_no_process_holds_what_it_decodes(running: Service) -> None:
    huge = encapsulated(240, "basic")
    client = Client(running.web_port)
    store_single(client, huge)
    row = Measurer(running, "", "").run(
        running.web, DECOMPRESSED, lambda: client.get(huge.path, "application/dicom")[0]
    )
    assert row.sent_or_received > 120 * MEBIBYTE
    assert row.growth < row.sent_or_received / 4, row
