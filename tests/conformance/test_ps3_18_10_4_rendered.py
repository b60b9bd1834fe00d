"""Rendered images (PS3.18 10.4.1.1.3) held against DCMTK's ``dcmj2pnm``, an independent implementation.

Tolerance, in steps of 255: 1 where only rounding differs (DCMTK truncates, we round); 3 where another JPEG decoder
or colour transformation is at work. The same window is given to both. What this build of DCMTK cannot decode (JPEG
2000, JPEG-LS) it gets from us in Explicit VR Little Endian, so that rendering is compared in any case; that decoding
is right is shown against pydicom in ``tests/unit/imaging``.
"""

from __future__ import annotations

import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image

from archive.imaging.decode import EXPLICIT_VR_LITTLE_ENDIAN
from archive.imaging.grey import Window, frame_attributes
from archive.imaging.render import Limits, display_pixels
from archive.imaging.transcode import transcode
from archive.records import StoredInstance
from archive.retrieve import frames_syntax, read_frames, read_header
from storage.memory import MemoryStore
from tests.corpus import storage_objects
from tests.unit.imaging.stored import store_file
from tests.unit.imaging.test_transcode import UNDECODABLE

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="DCMTK is not installed"),
]

LIMITS = Limits(1 << 30, 100_000_000)
EXACT, OTHER_DECODER = 1, 3
# Native samples of 32 bits are beyond DCMTK, and so are segmented palettes.
BEYOND_DCMTK = {
    *(f"SC_rgb_{kind}32bit{frames}.dcm" for kind in ("", "expb_") for frames in ("", "_2frame")),
    "gdcm-US-ALOKA-16.dcm",
    "gdcm-US-ALOKA-16_big.dcm",
}
# In big endian, DCMTK swaps the halves of 32-bit pixels one by one (they are OW), pydicom and we the pixel as a whole:
# only so are these the same images as their little endian twins.
OTHER_BYTE_ORDER = {"rtdose_expb.dcm", "rtdose_expb_1frame.dcm"}


def images() -> list[Path]:
    names = BEYOND_DCMTK | OTHER_BYTE_ORDER | UNDECODABLE
    return [path for path in storage_objects() if path.name not in names and has_pixels(path)]


def has_pixels(path: Path) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return "PixelData" in pydicom.dcmread(path, specific_tags=["PixelData"])


def by_dcmtk(file: Path, options: list[str]) -> NDArray[np.int16] | None:
    target = file.with_suffix(".ppm")
    command = ["dcmj2pnm", "--quiet", "-O", "+op", "+F", "1", *options, str(file), str(target)]
    subprocess.run(command, check=False, capture_output=True)
    if not target.exists():
        return None
    with Image.open(target) as image:
        return np.asarray(image).astype(np.int16)


def dcmtk_options(store: MemoryStore, inst: StoredInstance) -> list[str]:
    """The VOI transformation that we choose by ourselves, as options."""
    ds = read_header(store, inst)
    item = frame_attributes(ds, 1, "FrameVOILUTSequence")
    if not str(ds.get("PhotometricInterpretation", "")).startswith("MONOCHROME"):
        return []
    center, width = (item.get(keyword) for keyword in ("WindowCenter", "WindowWidth"))
    if center is not None and width is not None:
        first = [float(value if isinstance(value, int | float | str) else value[0]) for value in (center, width)]
        if Window(*first).valid:
            return ["+Ww", *map(str, first)]
    return ["+Wl", "1"] if item.get("VOILUTSequence") else ["+Wm"]


@pytest.mark.parametrize("path", images(), ids=lambda path: path.name)
def test_looks_as_dcmtk_shows_it(path: Path, tmp_path: Path) -> None:
    store = MemoryStore()
    inst = store_file(store, path)
    frame = next(read_frames(store, inst, [1]))
    ours, _ = display_pixels(frame, read_header(store, inst), 1, frames_syntax(inst), None, LIMITS)
    options = dcmtk_options(store, inst)
    copy = tmp_path / "image.dcm"
    shutil.copy(path, copy)
    theirs = by_dcmtk(copy, options)
    if theirs is None:
        copy.write_bytes(b"".join(transcode(store, inst, EXPLICIT_VR_LITTLE_ENDIAN, LIMITS.decoded_bytes).chunks))
        theirs = by_dcmtk(copy, options)
    assert theirs is not None
    if theirs.ndim > ours.ndim:
        theirs = theirs[..., 0]
    lossy = inst.object.transfer_syntax_uid.startswith("1.2.840.10008.1.2.4.5") or "ybr" in path.name
    assert np.abs(ours.astype(np.int16) - theirs).max() <= (OTHER_DECODER if lossy else EXACT)


def test_big_endian_images_look_like_their_little_endian_twins() -> None:
    store = MemoryStore()
    shown = []
    for name in ("rtdose.dcm", "rtdose_expb.dcm"):
        inst = store_file(store, next(path for path in storage_objects() if path.name == name))
        frame = next(read_frames(store, inst, [15]))
        shown.append(display_pixels(frame, read_header(store, inst), 15, frames_syntax(inst), None, LIMITS)[0])
    np.testing.assert_array_equal(*shown)
    assert np.ptp(shown[0]) == 255
