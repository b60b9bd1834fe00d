"""Mutated datasets, from a seed: each is stored as it is or refused with a status of its own, never an internal error.

``PACS_TEST_FUZZ_DATASETS`` and ``PACS_TEST_FUZZ_SEED`` change the number and the seed.
"""

from __future__ import annotations

import os
import random
import zlib
from collections import Counter

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from archive.records import Level, Query
from tests.factories import ct_image, encode
from tests.integration.dicom_node.fuzzing import mutate
from tests.integration.dicom_node.peer import CT_IMAGE_STORAGE, DEFLATED, EXPLICIT, IMPLICIT, sha256
from tests.integration.dicom_node.running import Node
from tests.integration.dicom_node.test_fuzz import SEED

DATASETS = int(os.environ.get("PACS_TEST_FUZZ_DATASETS", "800"))
BIG_ENDIAN, RLE = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"
SYNTAXES = [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED, RLE]
EXPECTED = {0x0000, 0xA900, 0xC000}


def image(rng: random.Random) -> Dataset:
    """An image with something of everything that is indexed, sequences, and elements behind the pixels."""
    nested = Dataset()
    nested.ReferencedSOPClassUID = CT_IMAGE_STORAGE
    nested.ReferencedSOPInstanceUID = "1.2.3"
    nested.CodeMeaning = "Sọ não"
    made = ct_image(
        rows=4,
        columns=4,
        NumberOfFrames=2,
        IssuerOfPatientID="BV",
        ReferringPhysicianName="Trần^B",
        SeriesDescription="Mô tả",
        BodyPartExamined="HEAD",
        PerformedProcedureStepStartDate="20261101",
        ReferencedImageSequence=Sequence([nested, nested]),
        DataSetTrailingPadding=bytes(6),
        # The instance is to be the same whatever happens to the rest, so that versions come up as well.
        SOPInstanceUID=f"1.2.3.{rng.randrange(400)}",
    )
    made.PixelData = bytes(64)
    return made


def encoded(dataset: Dataset, syntax: str) -> bytes:
    if syntax == DEFLATED:
        squeezer = zlib.compressobj(wbits=-15)
        return squeezer.compress(encode(dataset)) + squeezer.flush()
    if syntax == RLE:
        dataset.PixelData = encapsulate([bytes(66), bytes(66)])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        return encode(dataset)
    return encode(dataset, syntax)


def overwrite(rng: random.Random, data: bytes) -> bytes:
    """Change values and lengths without moving anything."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 8)):
        at = rng.randrange(len(changed))
        changed[at] = rng.choice([0, 1, 0x20, 0x5C, 0x1B, 0x2D, 0x80, 0xFF, rng.randrange(256)])
    return bytes(changed)


@pytest.mark.slow
def test_mutated_datasets_are_stored_or_refused_clearly(node: Node) -> None:
    statuses: Counter[int] = Counter()
    sent: set[bytes] = set()
    with node.peer().associate([(CT_IMAGE_STORAGE, [syntax]) for syntax in SYNTAXES]) as peer:
        for number in range(DATASETS):
            rng = random.Random(SEED * 7_919 + number)
            dataset = image(rng)
            which = rng.randrange(len(SYNTAXES))
            change = rng.choice([mutate, overwrite, overwrite, overwrite])
            data = change(rng, encoded(dataset, SYNTAXES[which]))
            status = peer.store(dataset.SOPInstanceUID, data, context=2 * which + 1)
            assert status in EXPECTED, (number, f"{status:04X}", peer.last)
            statuses[status] += 1
            if status == 0:
                sent.add(sha256(data))
        peer.release()
    assert set(node.digests()) == sent
    assert node.leftovers() == []
    assert len(statuses) == 3
    # Whatever was stored can be listed.
    for level in (Level.STUDY, Level.SERIES, Level.IMAGE):
        assert node.archive.search(Query(level, include="all")).total > 0
    print(f"\n{DATASETS} mutated datasets: " + ", ".join(f"{s:04X} {n}" for s, n in sorted(statuses.items())))
