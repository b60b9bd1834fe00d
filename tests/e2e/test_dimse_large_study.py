"""A study of ten thousand images, moved: bounded memory, right counts, and a failure list of any length."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from archive.core import Archive
from config.settings import Settings
from tests.conformance.test_ps3_4_c_4_2_retrieve import UNABLE, closed_port, gone, move, node_with
from tests.e2e.test_dimse_process import MEGABYTE
from tests.e2e.test_dimse_query_retrieve import dcmtk, storescp
from tests.factories import ct_image, store
from tests.integration.dicom_node.process import node_process
from tests.integration.dicom_node.running import sql
from tests.integration.dicom_node.scu import identifier

COUNT = 10_000


def large_study(settings: Settings, archive: Archive) -> str:
    """A series of so many instances, all of the same bytes: only the rows and the names of the files differ."""
    image = ct_image()
    store(archive, image)
    sql(
        settings,
        "INSERT INTO instance (series_id, sop_instance_uid, sop_class_uid, instance_number, number_of_frames) "
        "SELECT series_id, '1.2.826.0.1.3680043.8.498.40393082120029719966255125879909.' || n, sop_class_uid, n, 1 "
        "FROM instance, generate_series(2, %s) AS n",
        COUNT,
    )
    columns = """version, current, state, size, digest, transfer_syntax_uid, dataset_offset, header_length, trailer_offset,
        frame_table, facility_id, transport, calling_ae_title, address, received_at"""
    sql(
        settings,
        f"INSERT INTO stored_object (instance_id, key, {columns}) "
        f"SELECT instance.id, 'copies/' || instance.id, {columns} FROM stored_object, instance "
        "WHERE instance.id <> stored_object.instance_id",
    )
    sql(settings, "UPDATE series SET instance_count = %s", COUNT)
    sql(settings, "UPDATE study SET instance_count = %s", COUNT)
    first, *others = (key for (key,) in sql(settings, "SELECT key FROM stored_object ORDER BY id"))
    (settings.objects_dir / "copies").mkdir()
    for key in others:
        os.link(settings.objects_dir / first, settings.objects_dir / key)
    return str(image.StudyInstanceUID)


def test_all_of_ten_thousand_that_fail_are_listed(settings: Settings) -> None:
    """More UIDs than an explicit VR with a length of two bytes has room for."""
    with node_with(settings, gone(closed_port())) as node:
        study = large_study(settings, node.archive)
        got = move(node, identifier("STUDY", StudyInstanceUID=study))
    assert got.statuses[-1] == UNABLE
    assert got.counts[-1] == (None, 0, COUNT, 0)
    assert len(set(got.failed)) == COUNT
    assert len(got.statuses) < COUNT / 2


@pytest.mark.slow
def test_ten_thousand_instances_are_moved_in_bounded_memory(settings: Settings, tmp_path: Path) -> None:
    with Archive.open(settings) as archive:
        study = large_study(settings, archive)
    with storescp(tmp_path / "got", "--ignore") as peer:
        with_peer = settings.model_copy(update={"peers": (*settings.peers, peer)})
        with node_process(with_peer, tmp_path) as node:
            dcmtk("echoscu", node)
            before = node.peak_memory()
            keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
            code, output = dcmtk("movescu", node, "-S", "-aem", "VIEWER", *keys)
            assert code == 0, output[-500:] + node.log()[-3000:]
            grown = node.peak_memory() - before
            assert "Received Final Move Response (Success)" in output
            print(f"\n{COUNT} instances moved: peak {grown / MEGABYTE:.1f} MB more")
            assert grown < 60 * MEGABYTE
            assert node.terminate() == 0
