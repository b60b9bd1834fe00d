"""Our rendering beside that of DCMTK's ``dcmj2pnm``, an independent implementation, over the files of the corpus.

The same window is given to both. What this build of DCMTK cannot decode (JPEG 2000, JPEG-LS) it gets from us in
Explicit VR Little Endian, so that rendering is compared in any case; that decoding is right is shown against pydicom
in ``tests/unit/imaging``.
"""

from __future__ import annotations

import shutil
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from archive.imaging.decode import EXPLICIT_VR_LITTLE_ENDIAN
from archive.imaging.grey import Window, frame_attributes
from archive.imaging.pixels import pixel_format
from archive.imaging.render import Limits, display_pixels
from archive.imaging.transcode import transcode
from archive.records import StoredInstance
from archive.retrieve import frames_syntax, read_frames, read_header
from archive.standard.uids import transfer_syntax
from storage.base import ObjectStore
from storage.memory import MemoryStore
from tests.corpus import storage_objects
from tests.unit.imaging.stored import store_file
from tests.unit.imaging.test_transcode import UNDECODABLE

LIMITS: Final = Limits(1 << 30, 100_000_000)
EXACT: Final = 1
"""Steps of 255 between the two where only rounding differs: DCMTK truncates, we round."""
OTHER_DECODER: Final = 3
"""The same where another JPEG decoder or colour transformation is at work."""
# Native samples of 32 bits are beyond DCMTK, and so are segmented palettes.
BEYOND_DCMTK: Final = {
    **{f"SC_rgb_{kind}32bit{frames}.dcm": "samples of 32 bits" for kind in ("", "expb_") for frames in ("", "_2frame")},
    "gdcm-US-ALOKA-16.dcm": "a segmented palette",
    "gdcm-US-ALOKA-16_big.dcm": "a segmented palette",
    # In big endian, DCMTK swaps the halves of 32-bit pixels one by one (they are OW), pydicom and we the pixel as a
    # whole: only so are these the same images as their little endian twins.
    "rtdose_expb.dcm": "32-bit pixels in big endian",
    "rtdose_expb_1frame.dcm": "32-bit pixels in big endian",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """Between two pictures of one frame, in steps of 255."""

    kind: str
    largest: int
    pixels: float
    """Share of samples that differ at all."""
    allowed: int


def images() -> list[Path]:
    """The files with images that both can show."""
    return [path for path in all_images() if path.name not in BEYOND_DCMTK]


def all_images() -> list[Path]:
    """The files with images, but those that no decoder of ours understands."""
    return [path for path in storage_objects() if path.name not in UNDECODABLE and _has_pixels(path)]


def _has_pixels(path: Path) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return "PixelData" in pydicom.dcmread(path, specific_tags=["PixelData"])


def by_dcmtk(file: Path, options: list[str]) -> NDArray[np.int16] | None:
    """The picture that DCMTK makes of the first frame; None if it cannot."""
    target = file.with_suffix(".ppm")
    target.unlink(missing_ok=True)
    command = [
        "dcmj2pnm",
        "--quiet",
        "+op",
        *(() if "+F" in options else ("+F", "1")),
        *options,
        str(file),
        str(target),
    ]
    subprocess.run(command, check=False, capture_output=True)
    if not target.exists():
        return None
    with Image.open(target) as image:
        return np.asarray(image).astype(np.int16)


def dcmtk_options(ds: Dataset) -> list[str]:
    """The VOI transformation that we choose by ourselves, as options."""
    item = frame_attributes(ds, 1, "FrameVOILUTSequence")
    if not str(ds.get("PhotometricInterpretation", "")).startswith("MONOCHROME"):
        return []
    center, width = (item.get(keyword) for keyword in ("WindowCenter", "WindowWidth"))
    if center is not None and width is not None:
        first = [float(value if isinstance(value, int | float | str) else value[0]) for value in (center, width)]
        if Window(*first).valid:
            return ["+Ww", *map(str, first)]
    return ["+Wl", "1"] if item.get("VOILUTSequence") else ["+Wm"]


def difference(path: Path, folder: Path) -> Difference:
    """Render the first frame of a file by both, overlays too."""
    store = MemoryStore()
    inst = store_file(store, path)
    ds, syntax = read_header(store, inst), frames_syntax(inst)
    frame = next(read_frames(store, inst, [1]))
    ours, _ = display_pixels(frame, ds, 1, syntax, None, LIMITS, overlays=True)
    theirs = _theirs(store, inst, ds, path, folder)
    if theirs.ndim > ours.ndim:
        theirs = theirs[..., 0]
    apart = np.abs(ours.astype(np.int16) - theirs)
    other = inst.object.transfer_syntax_uid.startswith("1.2.840.10008.1.2.4.5") or "ybr" in path.name
    return Difference(_kind(ds, inst), int(apart.max()), float((apart > 0).mean()), OTHER_DECODER if other else EXACT)


def _theirs(store: ObjectStore, inst: StoredInstance, ds: Dataset, path: Path, folder: Path) -> NDArray[np.int16]:
    options, copy = ["+O", "0", *dcmtk_options(ds)], folder / "image.dcm"
    shutil.copy(path, copy)
    theirs = by_dcmtk(copy, options)
    if theirs is None:
        copy.write_bytes(b"".join(transcode(store, inst, EXPLICIT_VR_LITTLE_ENDIAN, LIMITS.decoded_bytes).chunks))
        theirs = by_dcmtk(copy, options)
    assert theirs is not None, f"DCMTK cannot render {path.name}"
    return theirs


def _kind(ds: Dataset, inst: StoredInstance) -> str:
    layout, syntax = pixel_format(ds), transfer_syntax(inst.object.transfer_syntax_uid)
    sign = ", signed" if layout.signed else ""
    marks = [
        name
        for keyword, name in (
            ("PixelPaddingValue", "padding"),
            ("ModalityLUTSequence", "Modality LUT"),
            ("VOILUTSequence", "VOI LUT"),
        )
        if keyword in ds
    ]
    marks += ["overlay"] if (0x6000, 0x3000) in ds else []
    bits = f"{layout.bits_stored} of {layout.bits_allocated} bits{sign}"
    return ", ".join([layout.photometric, bits, syntax.name if syntax else "", *marks])
