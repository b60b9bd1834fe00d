"""Frames to arrays (PS3.5 8.2, Annex A.4), by the decoders of pydicom, libjpeg, OpenJPEG, CharLS and GDCM.

One frame at a time: a decoder never sees more than the frame that was asked for.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import replace
from functools import lru_cache
from threading import BoundedSemaphore
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.uid import UID

from archive.errors import NotAcceptable
from archive.imaging.pixels import PixelFormat
from archive.standard.uids import transfer_syntax

EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
_SEQUENTIAL_JPEG: Final = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
_DEFLATED_FRAMES: Final = "1.2.840.10008.1.2.8.1"
AT_ONCE: Final = max(2, os.cpu_count() or 2)
"""Frames that are decoded at the same time: more would only hold more memory."""
_DECODING: Final = BoundedSemaphore(AT_ONCE)

Pixels = NDArray[Any]


@lru_cache(maxsize=128)
def can_decode(transfer_syntax_uid: str) -> bool:
    """Whether single frames in the transfer syntax can be decoded here."""
    syntax = transfer_syntax(transfer_syntax_uid)
    if syntax is None or syntax.video:
        return False
    return not syntax.encapsulated or transfer_syntax_uid == _DEFLATED_FRAMES or _decoder(syntax.uid) is not None


@lru_cache(maxsize=128)
def _decoder(transfer_syntax_uid: str) -> Decoder | None:
    try:
        decoder = get_decoder(UID(transfer_syntax_uid))
    except NotImplementedError:
        return None
    return decoder if decoder.is_available else None


def decode_frame(
    frame: bytes, layout: PixelFormat, transfer_syntax_uid: str, limit: int, *, to_rgb: bool = True
) -> tuple[Pixels, PixelFormat]:
    """Decode one frame.

    Parameters
    ----------
    frame : bytes
        The frame as `archive.retrieve.read_frames` gives it: native ones little endian and octet-aligned.
    layout : PixelFormat
        How the object says that its pixels are.
    transfer_syntax_uid : str
        Of the stored object.
    limit : int
        Most bytes that the decoded frame may take.
    to_rgb : bool
        Whether YBR_FULL becomes RGB, which rounds.

    Returns
    -------
    tuple[Pixels, PixelFormat]
        An array (rows, columns) or (rows, columns, samples), and how its pixels are.

    Raises
    ------
    NotAcceptable
        There is no decoder, the frame is damaged, or it is too large.
    """
    if layout.decoded_bytes > limit:
        raise NotAcceptable(f"a decoded frame takes {layout.decoded_bytes} bytes, more than the limit of {limit}")
    uid = transfer_syntax_uid
    syntax = transfer_syntax(uid)
    if uid == _DEFLATED_FRAMES:
        frame, uid = _inflate(frame, layout), EXPLICIT_VR_LITTLE_ENDIAN
    elif syntax is None or not syntax.encapsulated:
        uid = EXPLICIT_VR_LITTLE_ENDIAN
    decoder = None if syntax is not None and syntax.video else _decoder(uid)
    if decoder is None:
        raise NotAcceptable(f"there is no decoder for {syntax.name if syntax else uid}")
    pixels, found = _decode_or_mend(decoder, frame, layout, uid, to_rgb)
    return pixels, replace(
        layout,
        photometric=str(found["photometric_interpretation"]),
        planar=0,
        samples=int(found["samples_per_pixel"]),
    )


def _decode_or_mend(
    decoder: Decoder, frame: bytes, layout: PixelFormat, uid: str, to_rgb: bool
) -> tuple[Pixels, dict[str, str | int]]:
    with _DECODING:
        return _decoded(decoder, frame, layout, uid, to_rgb)


def _decoded(
    decoder: Decoder, frame: bytes, layout: PixelFormat, uid: str, to_rgb: bool
) -> tuple[Pixels, dict[str, str | int]]:
    attempts = [frame, with_valid_scan(frame)] if uid in _SEQUENTIAL_JPEG else [frame]
    reasons = []
    for attempt in attempts:
        try:
            return _decode(decoder, attempt, layout, uid, to_rgb)
        except Exception as error:  # decoders raise whatever they like on damaged frames
            reasons.append(error)
    raise NotAcceptable(f"the frame cannot be decoded: {type(reasons[0]).__name__}") from reasons[0]


def _decode(
    decoder: Decoder, frame: bytes, layout: PixelFormat, uid: str, to_rgb: bool
) -> tuple[Pixels, dict[str, str | int]]:
    source = frame if uid == EXPLICIT_VR_LITTLE_ENDIAN else encapsulate([frame], has_bot=False)
    return decoder.as_array(source, index=0, **_options(layout, to_rgb))


def with_valid_scan(frame: bytes) -> bytes:
    """The frame with the spectral selection that sequential JPEG has by definition (ITU-T T.81 Table B.3).

    Some writers leave it 0; libjpeg refuses that, although nothing is unclear.
    """
    at = 2
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        marker, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4], "big")
        end = at + 2 + length
        if marker == 0xDA:
            return frame[: end - 3] + b"\x00\x3f\x00" + frame[end:]
        at = end
    return frame


def native_bytes(pixels: Pixels, layout: PixelFormat) -> bytes:
    """The frame in native encoding, little endian, colour by pixel (PS3.5 8.1, 8.2, A.2)."""
    if layout.bits_allocated == 1:
        return np.packbits(pixels.astype(np.uint8).ravel(), bitorder="little").tobytes()
    return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<")).tobytes()


def _options(layout: PixelFormat, to_rgb: bool) -> dict[str, Any]:
    options: dict[str, Any] = {
        "as_rgb": to_rgb,
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": layout.samples,
        "bits_allocated": layout.bits_allocated,
        "bits_stored": layout.bits_stored,
        "photometric_interpretation": layout.photometric,
        "pixel_keyword": layout.keyword,
        "pixel_vr": "OW" if layout.bits_allocated > 8 else "OB",
        "allow_excess_frames": False,
    }
    if layout.keyword == "PixelData":
        options["pixel_representation"] = int(layout.signed)
    if layout.samples > 1:
        options["planar_configuration"] = layout.planar
    if layout.keep_unused_bits:
        options["correct_unused_bits"] = False
    return options


def _inflate(frame: bytes, layout: PixelFormat) -> bytes:
    """PS3.5 A.4.12: a frame is a deflate stream of the native frame, maybe padded."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, layout.frame_bytes + 1)[: layout.frame_bytes]
    except zlib.error as error:
        raise NotAcceptable("the frame cannot be decoded: it is not a deflate stream") from error
