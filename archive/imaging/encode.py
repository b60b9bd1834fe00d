"""Frames to lossless code streams, one at a time (PS3.5 8.2.2 to 8.2.4, 8.2.14).

A codec is asked for exactly the precision that Bits Stored names. What would not survive that is refused, never cut.
OpenJPEG and OpenJPH, by imagecodecs, work without Python's lock, so that other answers go on meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import BoundedSemaphore
from typing import Final

import jpeg_ls
import numpy as np
from imagecodecs import htj2k_encode, jpeg2k_encode
from rle.utils import encode_pixel_data as rle_encode

from archive.errors import NotAcceptable
from archive.imaging.decode import Pixels, decode_frame
from archive.imaging.pixels import PixelFormat
from archive.standard.uids import transfer_syntax

JPEG_LS_LOSSLESS: Final = "1.2.840.10008.1.2.4.80"
JPEG_2000_LOSSLESS: Final = "1.2.840.10008.1.2.4.90"
HTJ2K_LOSSLESS: Final = "1.2.840.10008.1.2.4.201"
RLE_LOSSLESS: Final = "1.2.840.10008.1.2.5"

# JPEG Baseline and Extended lose anyway; their colours are decoded to RGB as for everybody.
_DECODED_TO_RGB: Final = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
_RGB, _YBR = "RGB", "YBR_FULL"
_ONE_SAMPLE: Final = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
# What the pixels are once decoded: component transformations are undone, shared chrominance is given to each pixel.
_DECODED_AS: Final = {"YBR_RCT": _RGB, "YBR_ICT": _RGB, "YBR_FULL_422": _YBR}
# An encoder keeps a processor busy and holds some copies of a frame: more at once would only need memory.
_ENCODING: Final = BoundedSemaphore(max(2, os.cpu_count() or 2))


@dataclass(frozen=True, slots=True)
class Codec:
    """A lossless code stream that frames can be given in."""

    encode: Callable[[Pixels, PixelFormat], bytes]
    fewest_bits: int = 1
    """Of Bits Stored."""
    fewest_bytes: int = 1
    """Of a decoded frame."""
    ybr_bits: int = 8
    """Most Bits Allocated with YBR_FULL."""
    whole_cells: bool = False
    """All Bits Allocated are kept, not only Bits Stored."""
    component_transform: bool = False
    """RGB is transformed reversibly, and named YBR_RCT."""
    planar: int = 0


def _jpeg_ls(pixels: Pixels, layout: PixelFormat) -> bytes:
    # JPEG-LS knows no sign: the cells are given as they are, without what is left of Bits Stored.
    bits = layout.bits_stored
    cells = (pixels.astype(np.int32) & ((1 << bits) - 1)).astype("<u2" if bits > 8 else "u1")
    stream = jpeg_ls.encode_buffer(
        cells.tobytes(), layout.rows, layout.columns, layout.samples, bits, interleave_mode=2
    )
    return bytes(stream)


def _jpeg_2000(pixels: Pixels, layout: PixelFormat) -> bytes:
    bits = layout.bits_stored
    kind = f"{'i' if layout.signed else 'u'}{1 if bits <= 8 else 2}"
    return bytes(
        jpeg2k_encode(
            _with_sign(pixels, layout).astype(kind),
            level=0,
            codecformat="j2k",
            bitspersample=bits,
            reversible=True,
            mct=layout.photometric == _RGB,
            planar=False,
        )
    )


def _htj2k(pixels: Pixels, layout: PixelFormat) -> bytes:
    """Encode centred on zero, then name the precision in the SIZ segment.

    OpenJPH is not told of a precision below that of the array. The level shift that a decoder makes of unsigned
    samples (ITU-T T.800 G.1) follows from the precision, so it is made here, and the stream is that of `bits` bits.
    """
    bits, colour = layout.bits_stored, layout.samples > 1
    centred = _with_sign(pixels, layout).astype(np.int32) - (0 if layout.signed else 1 << (bits - 1))
    stream = bytearray(
        htj2k_encode(
            centred.astype(np.int8 if bits <= 8 else np.int16),
            reversible=True,
            rgb=layout.photometric == _RGB,
            planar=False if colour else None,
        )
    )
    for component in range(layout.samples):  # Ssiz (T.800 A.5.1): SOC, then 38 bytes of SIZ, then three a component
        stream[42 + 3 * component] = bits - 1 | (0x80 if layout.signed else 0)
    return bytes(stream)


def _rle(pixels: Pixels, layout: PixelFormat) -> bytes:
    return bytes(
        rle_encode(
            np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<")).tobytes(),
            rows=layout.rows,
            columns=layout.columns,
            samples_per_pixel=layout.samples,
            bits_allocated=layout.bits_allocated,
            byteorder="<",
        )
    )


LOSSLESS: Final[dict[str, Codec]] = {
    # pyjpegls gives CharLS room for twice the pixels, which for a few pixels is less than the headers take.
    JPEG_LS_LOSSLESS: Codec(_jpeg_ls, fewest_bits=2, fewest_bytes=256),
    JPEG_2000_LOSSLESS: Codec(_jpeg_2000, ybr_bits=16, component_transform=True),
    HTJ2K_LOSSLESS: Codec(_htj2k, ybr_bits=16, component_transform=True),
    RLE_LOSSLESS: Codec(_rle, whole_cells=True, planar=1),
}
"""By transfer syntax, the best first where a receiver leaves the choice."""


def refusal(layout: PixelFormat, high_bit: int, target: str) -> str:
    """Why the transfer syntax cannot hold such pixels (PS3.5 Tables 8.2.2-1, 8.2.3-1, 8.2.4-1); empty if it can."""
    codec, bits = LOSSLESS[target], layout.bits_stored
    kind = _DECODED_AS.get(layout.photometric, layout.photometric)
    if layout.keyword != "PixelData":
        return "floating point pixels"
    if layout.bits_allocated not in (8, 16):
        return f"pixels of {layout.bits_allocated} bits"
    if bits < codec.fewest_bits:
        return f"{bits} bits stored"
    if layout.decoded_bytes < codec.fewest_bytes:
        return f"frames of {layout.decoded_bytes} bytes"
    if not codec.whole_cells and (layout.keep_unused_bits or high_bit != bits - 1):
        return "pixels with other bits beside them"
    fits = kind in _ONE_SAMPLE if layout.samples == 1 else layout.samples == 3 and kind in (_RGB, _YBR)
    if not fits or (kind == _YBR and layout.bits_allocated > codec.ybr_bits):
        return f"{layout.samples} samples of {layout.bits_allocated} bits in {layout.photometric}"
    return f"signed {kind}" if layout.signed and kind in ("PALETTE COLOR", _RGB, _YBR) else ""


def encode_frame(frame: bytes, layout: PixelFormat, source: str, target: str, limit: int) -> tuple[bytes, PixelFormat]:
    """Decode a frame and encode it losslessly.

    Parameters
    ----------
    frame : bytes
        As `archive.retrieve.read_frames` gives it, in the transfer syntax `source`.
    target : str
        One of `LOSSLESS`, for which `refusal` said nothing.
    limit : int
        Most bytes of the decoded frame.

    Returns
    -------
    tuple[bytes, PixelFormat]
        The code stream, of even length, and how the header is to describe it.

    Raises
    ------
    NotAcceptable
        The frame cannot be decoded, or holds more than the target can keep.
    """
    codec = LOSSLESS[target]
    syntax = transfer_syntax(source)
    if syntax is None or not syntax.encapsulated:
        layout = replace(layout, keep_unused_bits=True)  # what is beside the pixels is to be seen, not to be removed
    with _ENCODING:
        pixels, found = decode_frame(frame, layout, source, limit, to_rgb=source in _DECODED_TO_RGB)
        found = replace(found, photometric=_DECODED_AS.get(found.photometric, found.photometric))
        reason = refusal(replace(found, keep_unused_bits=False), found.bits_stored - 1, target)
        if reason or (not codec.whole_cells and not _fits(pixels, found)):
            raise NotAcceptable(f"{reason or 'values beyond Bits Stored'} cannot be given in the transfer syntax")
        try:
            stream = codec.encode(pixels, found)
        except Exception as error:  # encoders raise whatever they like
            raise NotAcceptable(f"the frame cannot be encoded: {type(error).__name__}") from error
    if codec.component_transform and found.photometric == _RGB:
        found = replace(found, photometric="YBR_RCT")
    return stream + b"\0" * (len(stream) % 2), replace(found, planar=codec.planar if found.samples > 1 else 0)


def _fits(pixels: Pixels, layout: PixelFormat) -> bool:
    """Whether the bits above Bits Stored are but zeros, or the sign."""
    least = -(1 << (layout.bits_stored - 1)) if layout.signed else 0
    return bool(pixels.min() >= least and pixels.max() < 1 << layout.bits_stored)


def _with_sign(pixels: Pixels, layout: PixelFormat) -> Pixels:
    """The values of cells in which the sign may stop at High Bit (PS3.5 8.1.1)."""
    if not layout.signed:
        return pixels
    half = 1 << (layout.bits_stored - 1)
    return ((pixels.astype(np.int32) + half) & (2 * half - 1)) - half
