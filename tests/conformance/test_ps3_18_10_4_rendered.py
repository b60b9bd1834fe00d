"""Rendered images (PS3.18 10.4.1.1.3) held against DCMTK's ``dcmj2pnm``: see ``tests/rendering.py``."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from archive.imaging.render import display_pixels
from archive.retrieve import frames_syntax, read_frames, read_header
from storage.memory import MemoryStore
from tests.corpus import storage_objects
from tests.rendering import EXACT, LIMITS, all_images, by_dcmtk, difference, images
from tests.rendering_table import DOCUMENT
from tests.synthetic_images import encoded, image_file, overlay
from tests.unit.imaging.stored import store_file

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="DCMTK is not installed"),
]


@pytest.mark.parametrize("path", images(), ids=lambda path: path.name)
def test_looks_as_dcmtk_shows_it(path: Path, tmp_path: Path) -> None:
    found = difference(path, tmp_path)
    assert found.largest <= found.allowed


def test_the_table_has_every_image() -> None:
    text = DOCUMENT.read_text(encoding="utf-8").split("<!-- rendering: table -->")[1].split("<!-- /rendering -->")[0]
    named = re.findall(r"^\| .* \| `(.*)` \| .* \| .* \|$", text, re.MULTILINE)
    assert sorted(named) == sorted(path.name for path in all_images()), "run `python -m tests.rendering_table`"


def planes() -> dict[str, Dataset]:
    """Images with overlays of every kind that the corpus lacks."""
    cells = np.arange(9 * 13, dtype=np.uint16).reshape(9, 13) * 30
    bits = (np.arange(9 * 13).reshape(9, 13) % 5 == 0).astype(np.uint8)
    frames = np.stack([cells, cells])
    return {
        "the size of the image": image_file(cells, overlay(0x6000, bits)),
        "smaller, within": image_file(cells, overlay(0x6000, bits[:4, :5], origin=(3, 7))),
        "across the edges": image_file(cells, overlay(0x6000, bits, origin=(-2, 5))),
        "two planes": image_file(cells, overlay(0x6000, bits[:3]), overlay(0x601E, bits[:, :2], origin=(1, 9))),
        "one for every frame": image_file(frames, overlay(0x6000, bits)),
        "one for each frame": image_file(frames, overlay(0x6002, np.stack([bits, 1 - bits]))),
        "in unused bits": image_file(cells | bits.astype(np.uint16) << 14, overlay(0x6000, bits, position=14)),
        "in unused bits, signed": image_file(
            (cells.astype(np.int16) - 2000 & 0xFFF) | bits.astype(np.int16) << 12,
            overlay(0x6000, bits, position=12),
            signed=True,
        ),
        "below MONOCHROME1": image_file(cells, overlay(0x6000, bits), photometric="MONOCHROME1"),
    }


@pytest.mark.parametrize("kind", planes())
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_overlays_look_as_dcmtk_shows_them(kind: str, syntax: str, tmp_path: Path) -> None:
    """PS3.3 C.9.2, PS3.5 8.1.2."""
    file = tmp_path / "image.dcm"
    file.write_bytes(encoded(planes()[kind], syntax))
    store = MemoryStore()
    inst = store_file(store, file)
    for number in range(1, inst.number_of_frames + 1):
        frame = next(read_frames(store, inst, [number]))
        header = read_header(store, inst)
        ours, _ = display_pixels(frame, header, number, frames_syntax(inst), None, LIMITS, overlays=True)
        theirs = by_dcmtk(file, ["+F", str(number), "+O", "0", "+Wm"])
        assert theirs is not None
        assert (ours == 255).sum() >= 2
        assert np.abs(ours.astype(np.int16) - theirs).max() <= EXACT


def test_big_endian_images_look_like_their_little_endian_twins() -> None:
    store = MemoryStore()
    shown = []
    for name in ("rtdose.dcm", "rtdose_expb.dcm"):
        inst = store_file(store, next(path for path in storage_objects() if path.name == name))
        frame = next(read_frames(store, inst, [15]))
        shown.append(display_pixels(frame, read_header(store, inst), 15, frames_syntax(inst), None, LIMITS)[0])
    np.testing.assert_array_equal(*shown)
    assert np.ptp(shown[0]) == 255
