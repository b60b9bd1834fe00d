"""The names of an object whose sender announced none, from its first bytes."""

from __future__ import annotations

import zlib

import pytest

from archive.description import sop_uids
from tests.factories import ct_image, encode

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
@pytest.mark.parametrize("length", [200, 400, 100_000])
def test_both_uids_are_found_in_a_part_of_the_dataset(syntax: str, length: int) -> None:
    image = ct_image()
    assert sop_uids(encode(image, syntax)[:length], syntax) == (image.SOPClassUID, image.SOPInstanceUID)


def test_a_part_of_a_deflated_dataset_is_enough() -> None:
    image = ct_image(rows=64, columns=64)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(encode(image)) + packer.flush()
    assert sop_uids(packed[: len(packed) // 2], DEFLATED) == (image.SOPClassUID, image.SOPInstanceUID)


@pytest.mark.parametrize("head", [b"", b"\0" * 7, b"not DICOM at all", b"\xff" * 300, b"\x08\x00\x16\x00UI\xff\xff1.2"])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, DEFLATED, "no.such.syntax"])
def test_garbage_names_nothing(head: bytes, syntax: str) -> None:
    assert sop_uids(head, syntax) == ("", "")
