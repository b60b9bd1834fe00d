"""Ready-made metadata (PS3.18 10.4.1.1.4): what is kept is what would be made now, whatever happened meanwhile."""

from __future__ import annotations

import gzip
import json
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from archive.core import Archive
from config.settings import Settings
from storage.errors import StorageUnavailable
from tests.factories import store as store_directly
from tests.integration.archive.test_rejection import study_of
from tests.rejection_notes import QUALITY, note
from tests.web_server import dataset, part10, serving, store
from viewer_api.app import create_app

STUDY, SERIES = "1.2.3.88", "1.2.3.88.1"


@pytest.fixture
def opened(settings: Settings) -> Iterator[tuple[Archive, httpx.Client]]:
    """An archive whose web service shows everything to those who ask."""
    web_settings = settings.web.model_copy(update={"views": ("clinical", "quality", "everything")})
    with (
        Archive.open(settings.model_copy(update={"web": web_settings})) as archive,
        serving(create_app(archive)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield archive, client


def send(client: httpx.Client, numbers: range, series: str = SERIES, **values: Any) -> None:
    made = [
        dataset(
            StudyInstanceUID=STUDY,
            SeriesInstanceUID=series,
            SeriesNumber=int(series[-1]),
            SOPInstanceUID=f"{series}.{n}",
            InstanceNumber=n,
            EncryptedAttributesSequence=[],
            **values,
        )
        for n in numbers
    ]
    for each in made:
        each.add_new(0x00420011, "OB", bytes(2000))  # bulk data, so that there are addresses in the answer
    assert store(client, *map(part10, made)).status_code == 200


def body(client: httpx.Client, path: str, encoding: str, view: str = "", **headers: str) -> bytes:
    address = f"/dicom-web/{path}/metadata" + (f"?view={view}" if view else "")
    with client.stream("GET", address, headers={"Accept-Encoding": encoding, **headers}) as response:
        raw = b"".join(response.iter_raw())
    assert response.status_code == 200
    assert response.headers.get("content-encoding") == ("gzip" if encoding == "gzip" else None)
    varies = {each.strip().lower() for each in response.headers["vary"].split(",")}
    # What is too short to be compressed is the same for everybody.
    assert varies == ({"accept", "accept-encoding"} if len(raw) > 1024 or encoding == "gzip" else {"accept"})
    if encoding != "gzip":
        return raw
    reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
    found = reader.decompress(raw)
    assert (reader.eof, reader.unused_data) == (True, b"")
    return found


def metadata(client: httpx.Client, path: str, view: str = "") -> list[Any]:
    """The metadata, proved to be the same cold and warm, compressed or not, and as each instance by itself has it."""
    first = body(client, path, "gzip", view)
    for encoding in ("gzip", "identity", "br"):
        assert body(client, path, encoding, view) == first
    found: list[Any] = json.loads(first)
    for each in found:
        study, series, instance = (each[key]["Value"][0] for key in ("0020000D", "0020000E", "00080018"))
        alone = body(client, f"studies/{study}/series/{series}/instances/{instance}", "identity", view)
        assert json.loads(alone) == [each]
    return found


def numbers(found: list[Any]) -> list[int]:
    return [each["00200013"]["Value"][0] for each in found]


def kept(archive: Archive) -> list[Path]:
    return [path for path in archive.settings.cache_dir.rglob("*") if path.is_file()]


def test_a_study_is_its_series_and_both_share_what_is_kept(opened: tuple[Archive, httpx.Client]) -> None:
    archive, client = opened
    send(client, range(1, 31))
    send(client, range(1, 6), series="1.2.3.88.2")
    assert kept(archive) == []
    assert numbers(metadata(client, f"studies/{STUDY}")) == [*range(1, 31), *range(1, 6)]
    made = {path: path.stat().st_mtime_ns for path in kept(archive)}
    assert made
    assert numbers(metadata(client, f"studies/{STUDY}/series/{SERIES}")) == [*range(1, 31)]
    assert numbers(metadata(client, f"studies/{STUDY}/series/1.2.3.88.2")) == [*range(1, 6)]
    assert {path: path.stat().st_mtime_ns for path in kept(archive)} == made


def test_what_arrives_is_in_the_next_answer_and_the_rest_is_not_read_again(
    opened: tuple[Archive, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, client = opened
    send(client, range(1, 401))
    metadata_path = f"studies/{STUDY}"
    tag = client.get(f"/dicom-web/{metadata_path}/metadata").headers["etag"]
    send(client, range(500, 501))
    again = client.get(f"/dicom-web/{metadata_path}/metadata", headers={"If-None-Match": tag})
    assert (again.status_code, numbers(again.json())) == (200, [*range(1, 401), 500])
    send(client, range(600, 601))
    opened_keys: list[str] = []
    open_range = archive.store.open_range

    def counted(key: str, offset: int, length: int) -> Any:
        opened_keys.append(key)
        return open_range(key, offset, length)

    monkeypatch.setattr(archive.store, "open_range", counted)
    assert numbers(json.loads(body(client, metadata_path, "gzip"))) == [*range(1, 401), 500, 600]
    # Groups end by digests, so how large the changed one is differs from run to run of the factory; never all.
    assert 0 < len(opened_keys) <= 258
    opened_keys.clear()
    assert numbers(json.loads(body(client, metadata_path, "gzip"))) == [*range(1, 401), 500, 600]
    assert opened_keys == []


def test_a_replaced_instance_is_given_as_it_is_now(opened: tuple[Archive, httpx.Client]) -> None:
    _, client = opened
    send(client, range(1, 6))
    assert {each["00081030"]["Value"][0] for each in metadata(client, f"studies/{STUDY}")} == {"CT ngực"}
    send(client, range(3, 4), StudyDescription="CT bụng")
    found = metadata(client, f"studies/{STUDY}")
    assert [each["00081030"]["Value"][0] for each in found] == ["CT ngực", "CT ngực", "CT bụng", "CT ngực", "CT ngực"]


def test_each_view_has_its_own_and_what_is_hidden_is_gone_at_once(opened: tuple[Archive, httpx.Client]) -> None:
    archive, client = opened
    images = study_of(6)
    for image in images:
        store_directly(archive, image)
    path = f"studies/{images[0].StudyInstanceUID}"
    assert len(metadata(client, path)) == 6
    rejected = note(images[:2], QUALITY)
    store_directly(archive, rejected)
    assert len(metadata(client, path)) == 4
    quality = metadata(client, path, "quality")
    assert len(quality) == 7
    assert all(each["7FE00010"]["BulkDataURI"].endswith("?view=quality") for each in quality if "7FE00010" in each)
    archive.rejections.undo(rejected.SOPInstanceUID, who="BS Lan", why="chụp đúng bên")
    assert len(metadata(client, path)) == 6


def test_addresses_are_those_by_which_the_client_came(opened: tuple[Archive, httpx.Client]) -> None:
    _, client = opened
    send(client, range(1, 6))
    for host in ("pacs.tiengiang.vn", "10.0.0.5:8080"):
        found = json.loads(body(client, f"studies/{STUDY}", "gzip", Host=host))
        assert all(each["00420011"]["BulkDataURI"].startswith(f"http://{host}/dicom-web/studies/") for each in found)


def test_what_is_kept_may_be_lost_or_damaged_and_is_no_object(opened: tuple[Archive, httpx.Client]) -> None:
    archive, client = opened
    send(client, range(1, 41))
    wanted = body(client, f"studies/{STUDY}", "gzip")
    for path in kept(archive):
        path.write_bytes(gzip.compress(b"[]"))
    assert body(client, f"studies/{STUDY}", "gzip") == wanted
    shutil.rmtree(archive.settings.cache_dir)
    assert body(client, f"studies/{STUDY}", "gzip") == wanted
    assert kept(archive)
    repairs = archive.reconcile()
    archive.verify(repairs)
    assert (repairs.adopted, repairs.orphans, repairs.missing, repairs.corrupt) == (0, 0, 0, 0)
    assert len(list(archive.store.keys())) == 40
    assert archive.reindex().indexed == 0
    assert body(client, f"studies/{STUDY}", "gzip") == wanted


def test_what_cannot_be_read_is_never_kept(
    opened: tuple[Archive, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, client = opened
    send(client, range(1, 6))

    def broken(key: str, offset: int, length: int) -> Any:
        raise StorageUnavailable("the disk reported an input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(archive.store, "open_range", broken)
        assert client.get(f"/dicom-web/studies/{STUDY}/metadata").status_code == 503
    assert kept(archive) == []
    assert numbers(metadata(client, f"studies/{STUDY}")) == [*range(1, 6)]
