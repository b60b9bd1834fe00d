"""What is made of stored objects is made once: pictures, and frames and objects in another transfer syntax."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest

from archive.core import Archive
from archive.correction.record import Change, Corrections
from archive.imaging import decode
from tests.corpus import storage_objects
from tests.integration.archive.support import sql
from tests.integration.viewer_api.test_frame_reads import Counting
from tests.web_server import fresh_archive, serving, store_files
from viewer_api.app import create_app

MULTI = "emri_small_jpeg_ls_lossless.dcm"
PATH = next(path for path in storage_objects() if path.name == MULTI)
HEADER = pydicom.dcmread(PATH, stop_before_pixels=True)
SERIES = f"/dicom-web/studies/{HEADER.StudyInstanceUID}/series/{HEADER.SeriesInstanceUID}"
INSTANCE = f"{SERIES}/instances/{HEADER.SOPInstanceUID}"
NATIVE = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
MADE = {
    "picture": (f"{INSTANCE}/rendered?window=300,500", "image/png"),
    "frame's picture": (f"{INSTANCE}/frames/3/rendered", "image/jpeg"),
    "GIF": (f"{INSTANCE}/rendered", "image/gif"),
    "WebP": (f"{INSTANCE}/frames/1-4/rendered", "image/webp"),
    "thumbnail": (f"{SERIES}/thumbnail", "image/jpeg"),
    "decoded frame": (f"{INSTANCE}/frames/2", NATIVE),
    "encoded frame": (f"{INSTANCE}/frames/2", "image/jp2; transfer-syntax=1.2.840.10008.1.2.4.90"),
    "object": (INSTANCE, "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"),
    "WADO-URI": (
        f"/dicom-web/wado?requestType=WADO&studyUID={HEADER.StudyInstanceUID}&seriesUID={HEADER.SeriesInstanceUID}"
        f"&objectUID={HEADER.SOPInstanceUID}&contentType=image/png&frameNumber=5",
        "image/png",
    ),
}


class Site:
    """A service over a store that counts what is read of the pixels."""

    def __init__(self, archive: Archive, client: httpx.Client) -> None:
        self.archive = archive
        self.store = Counting(archive.store)
        archive.store = self.store  # type: ignore[assignment]
        self.client = client

    def get(self, path: str, accept: str, **headers: str) -> httpx.Response:
        self.store.ranges.clear()
        return self.client.get(path, headers={"Accept": accept, **headers})

    @property
    def entries(self) -> list[Path]:
        return list((self.archive.settings.cache_dir / "frames").glob("??/*"))


@pytest.fixture
def site(postgres: str, tmp_path: Path) -> Iterator[Site]:
    with (
        fresh_archive(postgres, tmp_path) as archive,
        serving(create_app(archive)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        store_files(client, PATH)
        yield Site(archive, client)


@pytest.mark.parametrize("what", MADE)
def test_what_was_made_is_not_made_again(site: Site, what: str) -> None:
    path, accept = MADE[what]
    first = site.get(path, accept)
    assert first.status_code == 200, first.text
    assert len(site.entries) == 1
    made = len(site.store.ranges)
    again = site.get(path, accept)
    assert (again.content, again.headers["content-type"]) == (first.content, first.headers["content-type"])
    # Choosing a form may look at the header; the pixels are not read again.
    assert len(site.store.ranges) < made


@pytest.mark.parametrize("what", ["picture", "GIF", "thumbnail", "decoded frame"])
def test_who_has_it_is_told_so_before_anything_is_read(site: Site, what: str) -> None:
    path, accept = MADE[what]
    tag = site.get(path, accept).headers["etag"]
    for entry in site.entries:
        entry.unlink()
    answer = site.get(path, accept, **{"If-None-Match": tag})
    assert (answer.status_code, answer.content, site.entries) == (304, b"", [])


def test_every_way_to_look_at_a_frame_is_another_picture(site: Site) -> None:
    asked = [f"{INSTANCE}/frames/{number}/rendered{how}" for number in (1, 2) for how in ("", "?window=10,50")]
    asked += [f"{INSTANCE}/frames/1/rendered?viewport=32,32", f"{INSTANCE}/frames/1/rendered?annotation=patient"]
    answers = [site.get(path, "image/png") for path in asked]
    assert len({answer.headers["etag"] for answer in answers}) == len(asked)
    assert len(site.entries) == len(asked)
    assert [site.get(path, "image/png").content for path in asked] == [answer.content for answer in answers]


def test_of_a_list_only_the_missing_frames_are_made(site: Site) -> None:
    expected = pydicom.dcmread(PATH).pixel_array
    for number in (2, 4):
        site.get(f"{INSTANCE}/frames/{number}", NATIVE)
    answer = site.get(f"{INSTANCE}/frames/5,4,1-3", 'multipart/related; type="application/octet-stream"')
    assert answer.status_code == 200
    at = -1
    for number in (5, 4, 1, 2, 3):
        at = answer.content.find(np.ascontiguousarray(expected[number - 1], "<u2").tobytes(), at + 1)
        assert at >= 0
    assert len(site.entries) == 5


def test_a_damaged_entry_is_made_again(site: Site) -> None:
    path, accept = MADE["decoded frame"]
    first = site.get(path, accept).content
    (entry,) = site.entries
    entry.write_bytes(entry.read_bytes()[:-1])
    assert site.get(path, accept).content == first


def test_a_corrected_object_is_another_picture(site: Site) -> None:
    path = f"{INSTANCE}/rendered?annotation=patient"
    before = site.get(path, "image/png")
    correct_name(site.archive, "TRẦN^THỊ^B")
    after = site.get(path, "image/png", **{"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    assert after.content != before.content


def test_nothing_is_kept_where_the_settings_say_so(postgres: str, tmp_path: Path) -> None:
    with (
        fresh_archive(postgres, tmp_path, web={"frame_cache_bytes": 0}) as archive,
        serving(create_app(archive)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        store_files(client, PATH)
        site = Site(archive, client)
        for path, accept in MADE.values():
            assert site.get(path, accept).content == site.get(path, accept).content
        assert site.entries == []


def test_no_more_frames_are_decoded_at_once_than_there_are_places(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, at_once, most = threading.Lock(), 0, 0
    real = decode._decoded

    def watched(*given: object) -> object:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        try:
            return real(*given)  # type: ignore[arg-type]
        finally:
            with lock:
                at_once -= 1

    monkeypatch.setattr(decode, "_decoded", watched)
    with ThreadPoolExecutor(16) as pool:
        paths = [f"{INSTANCE}/frames/{1 + turn % 10}" for turn in range(64)]
        answers = list(pool.map(lambda path: site.client.get(path, headers={"Accept": NATIVE}), paths))
    assert {answer.status_code for answer in answers} == {200}
    assert 1 <= most <= decode.AT_ONCE


def correct_name(archive: Archive, name: str) -> None:
    """What a rule for its sender would do: a correction beside the object."""
    change = Change(0x00100010, "PN", "", name, "a rule")
    record = Corrections("ISO_IR 192", (change,), "MODALITY", datetime.now(UTC))
    sql(archive, f"UPDATE stored_object SET corrections = '{json.dumps(record.to_json())}'")
