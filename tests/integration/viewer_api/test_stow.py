"""STOW-RS over a real server: what is good is stored byte for byte, what is bad is refused and harms nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from archive.core import Archive
from archive.standard.file_format import read_file_meta
from tests.corpus import storage_objects
from tests.web_server import (
    BOUNDARY,
    dataset,
    multipart,
    multipart_headers,
    part10,
    serving,
    shared_web,  # noqa: F401
    store,
    web,  # noqa: F401
)
from viewer_api.app import create_app

FAILED, STORED, OTHER = "00081198", "00081199", "0008119A"
SINGLE = {"Content-Type": "application/dicom"}


def _reasons(response: httpx.Response) -> list[int]:
    body = response.json()
    items = body.get(FAILED, {}).get("Value", []) + body.get(OTHER, {}).get("Value", [])
    return [item["00081197"]["Value"][0] for item in items]


def _stored_bytes(archive: Archive, study: str, series: str, instance: str) -> bytes:
    (found,) = archive.locate(study, series, instance)
    with archive.store.open(found.object.key) as reader:
        return reader.read()[found.object.dataset_offset :]


def test_the_dataset_is_stored_byte_for_byte(archive: Archive) -> None:
    made = dataset()
    file = part10(made)
    with serving(create_app(archive)) as url, httpx.Client(base_url=url) as client:
        assert store(client, file).status_code == 200
    offset = read_file_meta(file).dataset_offset
    uids = made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID
    assert _stored_bytes(archive, *uids) == file[offset:]


def test_all_of_the_corpus_is_stored(web: httpx.Client) -> None:  # noqa: F811
    """But for what belongs to no study and series: eight colour palettes, and four files that lack them by mistake."""
    expected, refused, stored = [], [], 0
    for path in storage_objects():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one of them is in another VR than it says
            head = dcmread(path, stop_before_pixels=True, specific_tags=["StudyInstanceUID", "SeriesInstanceUID"])
        if not (head.get("StudyInstanceUID") and head.get("SeriesInstanceUID")):
            expected.append(path.name)
        response = web.post("/dicom-web/studies", content=path.read_bytes(), headers=SINGLE)
        if response.status_code in (200, 202):
            stored += 1
        else:
            assert response.json()[FAILED]["Value"][0]["00081197"]["Value"] == [0xC000]
            refused.append(path.name)
    assert refused == expected
    assert stored > 100


def test_single_part_and_multipart_are_the_same(web: httpx.Client) -> None:  # noqa: F811
    file = part10(dataset())
    assert web.post("/dicom-web/studies", content=file, headers=SINGLE).status_code == 200
    again = store(web, file)
    assert again.status_code == 200
    assert web.get("/dicom-web/instances").headers["x-total-count"] == "1"


def _bad_parts() -> dict[str, tuple[bytes, int]]:
    """Bad parts, and the failure reason of each (PS3.18 I.2.2)."""
    good = part10(dataset())
    no_study = part10(dataset(StudyInstanceUID=None))
    no_instance = part10(dataset(SOPInstanceUID=None))
    with warnings.catch_warnings():
        # pydicom warns about every UID that is none: that is what is wanted here.
        warnings.simplefilter("ignore")
        long = part10(dataset(SOPInstanceUID="1." + "2" * 63))
        long_study = part10(dataset(StudyInstanceUID="1." + "2" * 63))
        path = part10(dataset(SOPInstanceUID="../../etc/passwd"))
        path_study = part10(dataset(StudyInstanceUID="../../etc/passwd"))
    ascii_uid = "1.2.826.0.1.3680043.8.498.1"
    unicode = part10(dataset(SOPInstanceUID=ascii_uid)).replace(
        ascii_uid.encode(), "1.2.826.Đ.Đ.Đ3680043.8.49".encode()[:27]
    )
    other = part10(dataset(SOPClassUID="1.2.840.10008.1.3.10"))
    return {
        "not DICOM": (b"not DICOM at all, only text " * 20, 0xC000),
        "empty part": (b"", 0xC000),
        "only a preamble": (bytes(128) + b"DICM", 0xC000),
        "truncated in the file meta": (good[:200], 0xC000),
        "truncated in the dataset": (good[:-7], 0xC000),
        "no StudyInstanceUID": (no_study, 0xC000),
        "no SOPInstanceUID": (no_instance, 0xC000),
        "65 characters": (long, 0xC000),
        "65 characters in the study": (long_study, 0xC000),
        "a path as UID": (path, 0xC000),
        "a path as study": (path_study, 0xC000),
        "unicode UID": (unicode, 0xC000),
        "DICOMDIR": (other, 0x0122),
        "unknown transfer syntax": (part10(dataset(), "1.2.840.10008.1.2.7.1"), 0xC122),
    }


BAD = _bad_parts()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_part_is_refused_with_a_reason(shared_web: httpx.Client, name: str) -> None:  # noqa: F811
    part, reason = BAD[name]
    response = store(shared_web, part)
    assert response.status_code == 409, response.text
    assert response.headers["content-type"] == "application/dicom+json"
    assert _reasons(response) == [reason]
    assert shared_web.get("/dicom-web/instances").json() == []


def test_bad_parts_do_not_stop_good_ones(web: httpx.Client) -> None:  # noqa: F811
    good = [part10(dataset()) for _ in range(len(BAD) + 1)]
    mixed = [good[0]]
    for file, (bad, _) in zip(good[1:], BAD.values(), strict=True):
        mixed += [bad, file]
    response = store(web, *mixed)
    assert response.status_code == 202
    assert len(response.json()[STORED]["Value"]) == len(good)
    assert sorted(_reasons(response)) == sorted(reason for _, reason in BAD.values())
    assert web.get("/dicom-web/instances").headers["x-total-count"] == str(len(good))


def test_two_good_and_one_bad(web: httpx.Client) -> None:  # noqa: F811
    response = store(web, part10(dataset()), b"garbage", part10(dataset()))
    assert response.status_code == 202
    body = response.json()
    assert (len(body[STORED]["Value"]), len(body[OTHER]["Value"]), FAILED in body) == (2, 1, False)


def test_the_dataset_counts_where_the_file_meta_disagrees(web: httpx.Client) -> None:  # noqa: F811
    """Tools that edit datasets forget the file meta information. It is stored under the dataset's UIDs, with B007."""
    file = part10(dataset(SOPInstanceUID="1.2.3.4.5"))
    response = store(web, file.replace(b"1.2.3.4.5", b"1.2.3.4.6", 1))
    assert response.status_code == 202
    (stored,) = response.json()[STORED]["Value"]
    assert (stored["00081155"]["Value"], stored["00081196"]["Value"]) == (["1.2.3.4.5"], [0xB007])


def test_missing_announcements_are_taken_from_the_dataset(web: httpx.Client) -> None:  # noqa: F811
    made = dataset()
    file = part10(made)
    bare = dataset(SOPClassUID=None, SOPInstanceUID=None)
    without = part10(bare)[: read_file_meta(part10(bare)).dataset_offset]
    assert store(web, without + file[read_file_meta(file).dataset_offset :]).status_code == 200


def test_a_wrong_character_set_is_stored_all_the_same(web: httpx.Client) -> None:  # noqa: F811
    made = dataset(PatientName="placeholder-name")
    file = part10(made).replace(b"placeholder-name", b"\xff\xfeNG\xd0^\x81\x8dabcdefg"[:16].ljust(16))
    assert store(web, file).status_code in (200, 202)
    assert web.get("/dicom-web/studies").json()[0]["0020000D"]["Value"] == [made.StudyInstanceUID]


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        (None, b"x", 415),
        ("text/plain", b"x", 415),
        ("application/dicom+json", b"[]", 415),
        ('multipart/related; type="text/plain"; boundary=b', b"x", 415),
        ('multipart/related; type="application/dicom+xml"; boundary=b', b"x", 400),
        ("multipart/form-data; boundary=b", b"x", 415),
        ('multipart/related; type="application/dicom"', b"x", 400),
        ('multipart/related; type="application/dicom"; boundary=""', b"x", 400),
        ('multipart/related; type="application/dicom"; boundary=b', b"", 400),
        ('multipart/related; type="application/dicom"; boundary=b', b"no boundary here", 400),
        ("application/dicom", b"", 400),
    ],
)
def test_malformed_requests(shared_web: httpx.Client, content_type: str | None, body: bytes, status: int) -> None:  # noqa: F811
    response = shared_web.post(
        "/dicom-web/studies", content=body, headers={"Content-Type": content_type} if content_type else {}
    )
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"


def test_a_wrong_boundary_is_a_bad_request(shared_web: httpx.Client) -> None:  # noqa: F811
    body = multipart(part10(dataset()), boundary="another")
    response = shared_web.post("/dicom-web/studies", content=body, headers=multipart_headers())
    assert response.status_code == 400
    assert "boundary" in response.json()["detail"]


def test_a_body_without_parts_is_answered(shared_web: httpx.Client) -> None:  # noqa: F811
    body = f"--{BOUNDARY}--\r\n".encode()
    response = shared_web.post("/dicom-web/studies", content=body, headers=multipart_headers())
    assert response.status_code == 400


def test_a_body_that_ends_early_keeps_what_was_complete(web: httpx.Client) -> None:  # noqa: F811
    body = multipart(part10(dataset()), part10(dataset()))
    response = web.post("/dicom-web/studies", content=body[:-100], headers=multipart_headers())
    assert response.status_code == 202
    assert len(response.json()[STORED]["Value"]) == 1
    assert _reasons(response) == [0xC000]


def test_parts_of_another_type_are_refused(shared_web: httpx.Client) -> None:  # noqa: F811
    body = multipart(part10(dataset()), content_type="image/jpeg")
    response = shared_web.post("/dicom-web/studies", content=body, headers=multipart_headers())
    assert (response.status_code, _reasons(response)) == (409, [0xC000])


@pytest.mark.parametrize("cut", [1, 3, 7, 64])
def test_the_body_may_come_in_pieces_of_any_size(web: httpx.Client, cut: int) -> None:  # noqa: F811
    # Values that look like the beginning of a boundary must come out unharmed.
    tricky = dataset(StudyDescription="x", ImageComments=f"\r\n--{BOUNDARY[:-1]}\r\n--\r\n-" * 4)
    body = b"a preamble\r\n" + multipart(part10(tricky), part10(dataset()))
    pieces = (body[at : at + cut] for at in range(0, len(body), cut))
    response = web.post("/dicom-web/studies", content=pieces, headers=multipart_headers())
    assert response.status_code == 200, response.text


def test_instances_of_another_study_are_refused(web: httpx.Client) -> None:  # noqa: F811
    study = generate_uid()
    right, wrong = dataset(StudyInstanceUID=study), dataset()
    response = store(web, part10(right), part10(wrong), path=f"/dicom-web/studies/{study}")
    assert response.status_code == 202
    (failed,) = response.json()[FAILED]["Value"]
    assert failed["00081155"]["Value"] == [wrong.SOPInstanceUID]
    assert failed["00081197"]["Value"] == [0xA900]
    stored = web.get("/dicom-web/studies").json()
    assert [match["0020000D"]["Value"] for match in stored] == [[study]]
    assert store(web, part10(right), path="/dicom-web/studies/nonsense").status_code == 400


def test_memory_is_bounded_whatever_the_size(web: httpx.Client) -> None:  # noqa: F811
    """200 MB in one part; client and server share this process, so what either holds is counted."""
    frames, frame = 200, bytes(1 << 20)
    made = dataset(Rows=1024, Columns=1024, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0)
    made.SamplesPerPixel, made.PhotometricInterpretation, made.NumberOfFrames = 1, "MONOCHROME2", frames
    pixel_data = b"\xe0\x7f\x10\x00OB\0\0" + (frames * len(frame)).to_bytes(4, "little")
    process, peak = psutil.Process(), 0

    def body() -> Iterator[bytes]:
        nonlocal peak
        yield f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + part10(made) + pixel_data
        for _ in range(frames):
            peak = max(peak, process.memory_info().rss)
            yield frame
        yield f"\r\n--{BOUNDARY}--\r\n".encode()

    before = process.memory_info().rss
    assert web.post("/dicom-web/studies", content=body(), headers=multipart_headers()).status_code == 200
    assert peak - before < 64 << 20
    (found,) = web.get("/dicom-web/instances").json()
    assert found["00280008"]["Value"] == [frames]


def test_objects_over_the_limit_are_refused(archive: Archive) -> None:
    archive._ingest.maximum_object_bytes = 1000
    with serving(create_app(archive)) as url, httpx.Client(base_url=url) as client:
        response = store(client, part10(dataset(ImageComments="x" * 2000)), part10(dataset()))
    assert response.status_code == 202
    assert _reasons(response) == [0xC000]


def test_an_outage_of_the_store_is_503(archive: Archive, tmp_path: Path) -> None:
    with serving(create_app(archive)) as url, httpx.Client(base_url=url) as client:
        assert store(client, part10(dataset())).status_code == 200
        archive.store.close()
        archive._engine.dispose()
        objects = archive.settings.objects_dir
        for child in objects.iterdir():
            child.rename(tmp_path / f"moved-{child.name}")
        objects.rmdir()
        objects.write_bytes(b"no longer a folder")
        response = store(client, part10(dataset()))
    assert response.status_code == 503, response.text
    assert response.headers["retry-after"]
    assert response.headers["content-type"] == "application/problem+json"


def test_patients_stay_out_of_the_log(web: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    caplog.set_level("DEBUG")
    store(web, part10(dataset(PatientName="SECRET^NAME", PatientID="SECRET-ID")), b"SECRET-GARBAGE")
    ours = [r for r in caplog.records if r.name.split(".")[0] in ("viewer_api", "archive", "storage")]
    assert "SECRET" not in str([record.__dict__ for record in ours])
