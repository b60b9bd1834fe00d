"""Text that is burned in (PS3.18 8.3.5.1.1), and ICC profiles (8.3.5.1.5)."""

from __future__ import annotations

import io
import unicodedata

import numpy as np
import pytest
from PIL import Image, ImageCms
from pydicom.dataset import Dataset

from archive.errors import InvalidQuery, NotAcceptable
from archive.imaging.colour import srgb, with_profile
from archive.imaging.render import encode
from archive.imaging.text import annotate, font, printable
from viewer_api.render_params import rendering

GREY = Image.new("L", (512, 512), 100)


def patient(name: str = "Nguyễn^Thị Hường") -> Dataset:
    ds = Dataset()
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = name, "BN-0001", "19700131", "F"
    ds.Modality, ds.StudyDate, ds.InstanceNumber, ds.KVP = "CT", "20261122", 7, "120"
    return ds


def changed(image: Image.Image, original: Image.Image = GREY) -> np.ndarray:
    return np.asarray(image.convert("L")).astype(int) != np.asarray(original.convert("L"))


@pytest.mark.parametrize("letter", "ăâđêôơưĂÂĐÊÔƠƯằẳẵặấầẩẫậếềểễệốồổỗộớờởỡợứừửữựỵỹ")
def test_every_vietnamese_letter_is_in_the_font(letter: str) -> None:
    base = {"đ": "d", "Đ": "D"}.get(letter, unicodedata.normalize("NFD", letter)[0])
    drawn, others = bytes(font(40).getmask(letter)), [bytes(font(40).getmask(each)) for each in ("\uffff", base)]
    assert drawn not in others


def test_the_patient_is_on_the_left_and_the_technique_on_the_right() -> None:
    left, right = (changed(annotate(GREY, patient(), [each])) for each in ("patient", "technique"))  # type: ignore[list-item]
    assert left[:, :256].any() and not left[:, 256:].any() and not left[256:].any()
    assert right[:, 256:].any() and not right[:, :256].any() and not right[256:].any()
    both = changed(annotate(GREY, patient(), ["patient", "technique"]))
    assert both[:, :256].any() and both[:, 256:].any()
    assert not changed(GREY).any()


def test_nothing_is_written_where_nothing_is_known_or_wanted() -> None:
    assert annotate(GREY, Dataset(), ["patient", "technique"]) is GREY
    assert annotate(GREY, patient(), []) is GREY


def test_letters_and_accents_that_are_apart_are_joined() -> None:
    apart = unicodedata.normalize("NFD", "Nguyễn^Thị Hường")
    assert not changed(annotate(GREY, patient(apart), ["patient"]), annotate(GREY, patient(), ["patient"])).any()


@pytest.mark.parametrize("size", [(1, 1), (16, 9), (64, 64), (3000, 40), (40, 3000)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_any_size_and_colour(size: tuple[int, int], mode: str) -> None:
    image = annotate(Image.new(mode, size), patient("X" * 64), ["patient", "technique"])
    assert (image.size, image.mode) == (size, mode)


def test_values_are_made_fit_for_one_line() -> None:
    assert printable("a\nb\x1b[0m") == "a b [0m"
    assert len(printable("x" * 1000)) == 64 and printable(None) == ""


def test_parameters() -> None:
    assert rendering({"annotation": "technique, patient"}, "PNG").annotations == ("patient", "technique")
    assert rendering({"iccprofile": "sRGB"}, "PNG").icc_profile == "srgb"
    for wrong in ({"annotation": "all"}, {"iccprofile": "adobergb"}):
        with pytest.raises(InvalidQuery):
            rendering(wrong, "PNG")
    with pytest.raises(InvalidQuery, match="gif"):
        rendering({"iccprofile": "yes"}, "GIF")


def colours(profile: bytes | None = None) -> tuple[Image.Image, Dataset]:
    ds = Dataset()
    if profile is not None:
        ds.ICCProfile = profile
    return Image.new("RGB", (4, 4), (10, 200, 90)), ds


@pytest.mark.parametrize("to", ["JPEG", "PNG", "WEBP"])
def test_the_profile_of_the_object_is_embedded(to: str) -> None:
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + b"own"
    image = with_profile(*colours(own), "yes")
    assert Image.open(io.BytesIO(encode(image, to))).info["icc_profile"] == own  # type: ignore[arg-type]
    assert with_profile(*colours(), "yes").info["icc_profile"] == srgb()
    assert "icc_profile" not in Image.open(io.BytesIO(encode(with_profile(*colours(own), "no"), "PNG"))).info
    assert "icc_profile" not in with_profile(GREY.copy(), colours(own)[1], "yes").info


def test_colours_are_converted_to_srgb() -> None:
    same = with_profile(*colours(srgb()), "srgb")
    assert same.getpixel((0, 0)) == pytest.approx((10, 200, 90), abs=1)
    assert same.info["icc_profile"] == srgb()
    with pytest.raises(NotAcceptable, match="ICC"):
        with_profile(*colours(b"no profile"), "srgb")
