"""Objects that cannot be taken: a clear status each, nothing left behind, and the association goes on (PS3.4 B.2.3)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from archive.records import Level, Query
from tests.factories import ct_image, encode
from tests.integration.dicom_node.peer import (
    CT_IMAGE_STORAGE,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    VERIFICATION,
    RawPeer,
    message,
    sha256,
    store_rq,
)
from tests.integration.dicom_node.running import Node

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
SUCCESS, CANNOT_UNDERSTAND, MISMATCH, NOT_SUPPORTED = 0x0000, 0xC000, 0xA900, 0x0122
CONTEXTS = [
    (CT_IMAGE_STORAGE, [EXPLICIT]),
    (CT_IMAGE_STORAGE, [IMPLICIT]),
    (CT_IMAGE_STORAGE, [DEFLATED]),
    (VERIFICATION, [IMPLICIT]),
]


@dataclass
class Case:
    """A message to send and the status it must get."""

    status: int
    data: bytes
    instance: str | bytes
    sop_class: str = CT_IMAGE_STORAGE
    context: int = 1
    has_data: bool = True


def case(status: int, dataset: Dataset | None = None, **changes: object) -> Case:
    given = ct_image() if dataset is None else dataset
    instance = str(given.get("SOPInstanceUID") or "1.2.3")
    made = Case(status, encode(given), instance)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def raw_uid(keyword: str, value: bytes) -> Case:
    """A CT image whose UID element holds these bytes; announced as it stands in the dataset."""
    image = ct_image()
    good = str(image[keyword].value)
    data = encode(image)
    length = len(good) + len(good) % 2
    start = data.index(good.encode()) - 2
    value += b"\0" * (len(value) % 2)
    data = data[:start] + struct.pack("<H", len(value)) + value + data[start + 2 + length :]
    announced: bytes = value.rstrip(b"\0") if keyword == "SOPInstanceUID" else image.SOPInstanceUID.encode()
    return Case(CANNOT_UNDERSTAND, data, announced)


BAD_UIDS = {
    "65 characters": b"1." + b"2" * 63,
    "a path": b"../../etc/passwd",
    "a path of Windows": b"..\\x",
    "an absolute path": b"/etc/passwd",
    "a unicode digit": "1.2.٣".encode(),
    "a NUL inside": b"1.2\x003.4",
    "a space inside": b"1.2 3.4",
    "a newline at the end": b"1.2.3\n",
    "letters": b"1.2.abc",
    "empty components": b"1..2",
    "a dot at the end": b"1.2.",
    "nothing": b"",
    "a space": b" ",
    "several values": b"1.2\\1.3",
    "SQL": b"1.2'; DROP TABLE study; --",
    "bytes": bytes(range(128, 192)),
}


def bad_uids() -> Iterator[tuple[str, Case]]:
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        for what, value in BAD_UIDS.items():
            yield f"{keyword}: {what}", raw_uid(keyword, value)


def bad_content() -> Iterator[tuple[str, Case]]:
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        yield f"no {keyword}", case(CANNOT_UNDERSTAND, ct_image(**{keyword: None}))
    yield "another class in the dataset", case(MISMATCH, ct_image(SOPClassUID=MR_IMAGE_STORAGE))
    yield "another class in the command", case(MISMATCH, sop_class=MR_IMAGE_STORAGE)
    yield "no class in the command", case(MISMATCH, sop_class="")
    yield "another instance in the dataset", case(MISMATCH, instance="1.2.3.4")
    yield "a class that is not stored", case(NOT_SUPPORTED, sop_class=VERIFICATION, context=7)
    yield "C-STORE on Verification", case(MISMATCH, context=7)
    yield "no dataset announced", case(CANNOT_UNDERSTAND, data=b"", has_data=False)
    yield "an empty dataset", case(CANNOT_UNDERSTAND, data=b"")
    yield "a text", case(CANNOT_UNDERSTAND, data=b"This is a letter, not an image.\n" * 100)
    yield "a PNG", case(CANNOT_UNDERSTAND, data=b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40)
    yield "zeros", case(CANNOT_UNDERSTAND, data=bytes(100_000))
    yield "a Part 10 file with its preamble", case(CANNOT_UNDERSTAND, data=bytes(128) + b"DICM" + encode(ct_image()))
    yield "one byte", case(CANNOT_UNDERSTAND, data=b"\x08")
    yield "big endian", case(CANNOT_UNDERSTAND, data=encode(ct_image(), "1.2.840.10008.1.2.2"))
    yield "an element longer than the object", case(CANNOT_UNDERSTAND, data=b"\x08\0\x05\0UT\0\0\xf0\xff\xff\xff")
    yield "not deflated", case(CANNOT_UNDERSTAND, context=5)
    yield "deflated garbage", case(CANNOT_UNDERSTAND, data=zlib.compress(b"x" * 5000, wbits=-15), context=5)


def truncated() -> Iterator[tuple[str, Case]]:
    image = ct_image(rows=20, columns=20)
    data = encode(image)
    for cut in [*range(1, 700, 23), len(data) - 801, len(data) - 800, len(data) - 400, len(data) - 1]:
        yield f"cut at {cut}", Case(CANNOT_UNDERSTAND, data[:cut], image.SOPInstanceUID)
    image = ct_image()
    data = encode(image, IMPLICIT)
    for cut in (100, 301, 600, len(data) - 1):
        yield f"implicit, cut at {cut}", Case(CANNOT_UNDERSTAND, data[:cut], image.SOPInstanceUID, context=3)
    squeezed = zlib.compressobj(wbits=-15)
    data = squeezed.compress(encode(image)) + squeezed.flush()
    for cut in (1, 50, len(data) - 1):
        yield f"deflated, cut at {cut}", Case(CANNOT_UNDERSTAND, data[:cut], image.SOPInstanceUID, context=5)


@pytest.mark.parametrize("cases", [bad_uids, bad_content, truncated])
def test_a_bad_object_is_refused_and_the_association_goes_on(
    node: Node, cases: Callable[[], Iterator[tuple[str, Case]]]
) -> None:
    kept: list[bytes] = []
    with node.peer().associate(CONTEXTS) as peer:
        for what, bad in cases():
            send(peer, bad)
            answer = peer.response()
            assert answer[0x900] == bad.status.to_bytes(2, "little"), (what, answer)
            comment = answer[0x902].decode("ascii")
            assert 10 < len(comment) <= 64, what
            assert "\\" not in comment, what
            good = ct_image(seed=len(kept))
            assert peer.store(good.SOPInstanceUID, encode(good)) == SUCCESS, what
            kept.append(sha256(encode(good)))
        peer.release()
    assert sorted(node.digests()) == sorted(kept)
    assert node.leftovers() == []


def send(peer: RawPeer, bad: Case) -> None:
    command = store_rq(bad.instance, bad.sop_class, data=bad.has_data)
    whole = message(bad.context, command, bad.data)
    peer.send(whole if bad.has_data else whole[: 12 + len(command)])


def test_a_refusal_tells_no_patient_data(node: Node) -> None:
    image = ct_image(StudyInstanceUID=None, PatientName="SECRET^NAME", PatientID="SECRET-ID")
    with node.peer().associate() as peer:
        peer.send(message(1, store_rq(image.SOPInstanceUID), encode(image)))
        assert b"SECRET" not in peer.response()[0x902]


def replace(data: bytes, old: bytes, new: bytes) -> bytes:
    assert len(old) == len(new)
    assert data.count(old) == 1
    return data.replace(old, new)


def odd_texts() -> Iterator[tuple[str, Dataset, bytes]]:
    """What is wrong with the text of an object is no reason to lose its images."""
    name = "Nguyễn^Văn Đức"
    for what, declared in {
        "UTF-8 declared as Latin-1": b"ISO_IR 100",
        "an unknown term": b"ISO_IR 999",
        "a term that is no text": b"\xff\xfe\x00\x01ABCDEF",
        "ISO 2022 without escapes": b"ISO 2022 I",
        "nonsense": b"..\\..\\etc.",
    }.items():
        image = ct_image()
        yield what, image, replace(encode(image), b"ISO_IR 192", declared.ljust(10)[:10])
    image = ct_image(SpecificCharacterSet=None)
    yield (
        "no term, other bytes",
        image,
        replace(encode(ct_image_like(image)), b"PLACEHOLDER-", "Đức^Ngô1".encode().ljust(12)[:12]),
    )
    image = ct_image()
    yield "broken UTF-8", image, replace(encode(image), name.encode(), name.encode()[:-3] + b"\xc3\xff\xed")
    image = ct_image()
    yield "NUL in a name", image, replace(encode(image), name.encode(), name.encode()[:-6] + b"\0\0A\0\0B")
    image = ct_image()
    yield "a surrogate in UTF-8", image, replace(encode(image), name.encode(), name.encode()[:-3] + b"\xed\xa0\x80")
    image = ct_image()
    yield "control characters", image, replace(encode(image), name.encode(), name.encode()[:-4] + b"\x07\x1b\x0c\x7f")


def ct_image_like(image: Dataset) -> Dataset:
    made = ct_image(SpecificCharacterSet=None, PatientName="PLACEHOLDER-")
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(made, keyword, getattr(image, keyword))
    made.StudyDescription = "CT"
    return made


def odd_values() -> Iterator[tuple[str, Dataset, bytes]]:
    """Values that do not fit a column, a date that is none: the object is taken and found by what is right."""
    for what, changes in {
        "a patient ID of 9,000 bytes": {"PatientID": scrambled(3000)},
        "a patient ID and issuer of 9,000 bytes": {"PatientID": scrambled(3000), "IssuerOfPatientID": scrambled(3000)},
        "a long name": {"PatientName": "Ngưỡễ" * 3000},
        "a long, scrambled name": {"PatientName": scrambled(2000)},
        "a long accession number": {"AccessionNumber": scrambled(3000)},
        "a long description": {"StudyDescription": scrambled(9000), "SeriesDescription": scrambled(9000)},
        "a long referring physician": {"ReferringPhysicianName": scrambled(4000)},
        "65,535 bits": {"BitsAllocated": 65535},
        "no bits": {"BitsAllocated": 0, "Rows": 0, "Columns": 0},
        "a series number out of range": {"SeriesNumber": 2**31 - 1, "InstanceNumber": -(2**31)},
        "an empty patient": {"PatientID": None, "PatientName": None, "PatientBirthDate": None},
        "a huge number of frames": {"NumberOfFrames": 2**31 - 1},
        "a negative number of frames": {"NumberOfFrames": -1},
        "no modality": {"Modality": None},
        "several modalities": {"Modality": ["CT", "PT", "CT"]},
        "several patient IDs": {"PatientID": "A\\B"},
    }.items():
        image = ct_image()
        for keyword, value in changes.items():
            if value is None:
                del image[keyword]
            else:
                setattr(image, keyword, value)
        yield what, image, encode(image)
    for old, news in {
        b"20261101": [b"20261350", b"00000000", b"99999999", b"notadate", b"-0000101", b"2026\\110", bytes(8)],
        b"083015": [b"256199", b"\\\\\\\\\\\\", b"-1-1-1", b"240000", b"235960"],
    }.items():
        for new in news:
            image = ct_image()
            yield f"{old!r} is {new!r}", image, replace(encode(image), old, new)
    for number in (b"99999999999999999999", b"1e400               ", b"NaN                 ", b"0x10                "):
        image = ct_image(StudyID="PLACEHOLDER123456789")
        data = encode(image)
        start = data.index(b"IS\x02\x001 ")
        data = data[: start + 2] + struct.pack("<H", len(number)) + number + data[start + 6 :]
        yield f"a series number of {number!r}", image, data


def scrambled(length: int) -> str:
    """Text that does not compress, of three-byte characters."""
    import random

    rng = random.Random(length)
    return "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(length))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("cases", [odd_texts, odd_values])
def test_odd_values_are_no_reason_to_refuse_an_object(
    node: Node, cases: Callable[[], Iterator[tuple[str, Dataset, bytes]]]
) -> None:
    wrong = []
    sent = []
    with node.peer().associate() as peer:
        for what, image, data in cases():
            status = peer.store(str(image.SOPInstanceUID), data)
            if status:
                wrong.append((what, f"{status:04X}"))
                continue
            sent.append(sha256(data))
            found = node.archive.search(Query(Level.STUDY, {0x0020000D: str(image.StudyInstanceUID)}, include="all"))
            if found.total != 1:
                wrong.append((what, "not found"))
        peer.release()
    assert wrong == []
    assert sorted(node.digests()) == sorted(sent)
    assert node.leftovers() == []


@pytest.mark.slow
def test_a_deflate_bomb_is_refused_in_bounded_memory(node: Node) -> None:
    """2 MB that become more than 2 GB."""
    import psutil

    image = ct_image()
    squeezer = zlib.compressobj(9, wbits=-15)
    bomb = squeezer.compress(encode(image)[:-520])
    bomb += squeezer.compress(b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", 0xFFFFFFF0))
    for _ in range(2200):
        bomb += squeezer.compress(bytes(1 << 20))
    bomb += squeezer.flush()
    before = psutil.Process().memory_info().rss
    with node.peer(timeout=60).associate(CONTEXTS) as peer:
        assert peer.store(image.SOPInstanceUID, bomb, context=5) == CANNOT_UNDERSTAND
        good = ct_image(SOPInstanceUID=generate_uid())
        assert peer.store(good.SOPInstanceUID, encode(good)) == SUCCESS
        peer.release()
    assert psutil.Process().memory_info().rss - before < 100 << 20
    assert node.leftovers() == []
