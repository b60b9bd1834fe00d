"""ICC profiles of colour images (PS3.3 C.11.15; PS3.18 8.3.5.1.5)."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Final, Literal

from PIL import Image, ImageCms
from pydicom.dataset import Dataset

from archive.errors import NotAcceptable

IccProfile = Literal["no", "yes", "srgb"]
ICC_PROFILES: Final[tuple[IccProfile, ...]] = ("no", "yes", "srgb")


@lru_cache(maxsize=1)
def srgb() -> bytes:
    """The sRGB profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def with_profile(image: Image.Image, ds: Dataset, wanted: IccProfile) -> Image.Image:
    """The picture with the profile to be embedded in ``info["icc_profile"]``; grey pictures have none.

    ``yes`` keeps the colours and gives the profile of the object, of which sRGB is the default; ``srgb`` converts.
    Raises `NotAcceptable` if the profile of the object cannot be used for the conversion.
    """
    if wanted == "no" or image.mode != "RGB":
        return image
    profile = _profile_of(ds)
    if wanted == "srgb" and profile is not None:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            raise NotAcceptable("the ICC profile of the object cannot be used") from error
        image, profile = converted or image, None
    image.info["icc_profile"] = profile or srgb()
    return image


def _profile_of(ds: Dataset) -> bytes | None:
    """PS3.3 C.11.15; of whole slide images in the optical path (C.8.12.5)."""
    paths = ds.get("OpticalPathSequence")
    value = ds.get("ICCProfile") or (paths[0].get("ICCProfile") if paths else None)
    return bytes(value) if value else None
