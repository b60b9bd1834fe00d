"""Grayscale Softcopy Presentation States (PS3.4 N.2): grey values as DCMTK's ``dcmp2pgm``, geometry by hand."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from archive.errors import NotAcceptable
from archive.imaging.presentation import present
from archive.imaging.render import Rendering, Viewport
from archive.retrieve import frames_syntax, read_frames, read_header
from storage.memory import MemoryStore
from tests.corpus import storage_objects
from tests.rendering import EXACT, LIMITS
from tests.synthetic_images import encoded, image_file, overlay
from tests.unit.imaging.stored import store_bytes
from tests.web_server import shared_web, store_files  # noqa: F401

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.skipif(shutil.which("dcmp2pgm") is None, reason="DCMTK is not installed"),
]
Change = Callable[[Dataset], None]


def state_of(image: Dataset, folder: Path, *changes: Change) -> Path:
    """A presentation state as ``dcmpsmk`` makes it, changed."""
    source, target = folder / "image.dcm", folder / "state.dcm"
    source.write_bytes(encoded(image, image.file_meta.TransferSyntaxUID))
    subprocess.run(["dcmpsmk", "--quiet", str(source), str(target)], check=True, capture_output=True)
    state = pydicom.dcmread(target)
    for change in changes:
        change(state)
    state.save_as(target, enforce_file_format=True)
    return target


def shown(image: Dataset, state: Path, how: Rendering | None = None, number: int = 1) -> NDArray[np.int16]:
    store = MemoryStore()
    inst = store_bytes(store, encoded(image, image.file_meta.TransferSyntaxUID), "image")
    header, frame = read_header(store, inst), next(read_frames(store, inst, [number]))
    syntax = frames_syntax(inst)
    picture = present(frame, header, number, syntax, pydicom.dcmread(state), how or Rendering(), LIMITS)
    return np.asarray(picture).astype(np.int16)


def window(state: Dataset) -> None:
    item = Dataset()
    item.WindowCenter, item.WindowWidth = "1000", "1500"
    state.SoftcopyVOILUTSequence = Sequence([item])


def no_window(state: Dataset) -> None:
    if "SoftcopyVOILUTSequence" in state:
        del state.SoftcopyVOILUTSequence


def inverse(state: Dataset) -> None:
    state.PresentationLUTShape = "INVERSE"


def presentation_lut(state: Dataset) -> None:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [256, 0, 12], [min(4095, each * each // 16) for each in range(256)]
    item["LUTData"].VR = "US"
    del state.PresentationLUTShape
    state.PresentationLUTSequence = Sequence([item])


@pytest.mark.parametrize("changes", [(), (window,), (no_window,), (window, inverse), (window, presentation_lut)])
@pytest.mark.parametrize("name", ["CT_small.dcm", "mlut_18.dcm", "vlut_04.dcm", "MONOCHROME1"])
def test_grey_values_are_those_of_dcmtk(name: str, changes: tuple[Change, ...], tmp_path: Path) -> None:
    if name == "MONOCHROME1":
        image = image_file(np.arange(40 * 50, dtype=np.uint16).reshape(40, 50) * 2, photometric=name)
    else:
        image = pydicom.dcmread(next(path for path in storage_objects() if path.name == name))
    state, target = state_of(image, tmp_path, *changes), tmp_path / "shown.pgm"
    command = ["dcmp2pgm", "--quiet", "-p", str(state), str(tmp_path / "image.dcm"), str(target)]
    subprocess.run(command, check=True, capture_output=True)
    with Image.open(target) as theirs:
        # The table rises by two for one: what is a step of rounding before it is two steps behind it.
        allowed = 2 * EXACT + 1 if presentation_lut in changes else EXACT
        assert np.abs(shown(image, state) - np.asarray(theirs).astype(np.int16)).max() <= allowed


GRID = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8) * 5
IMAGE = image_file(GRID, stored=8)


def plain(*changes: Change) -> Callable[[Path], NDArray[np.int16]]:
    def whole(state: Dataset) -> None:
        item = Dataset()
        item.WindowCenter, item.WindowWidth = "128", "256"
        state.SoftcopyVOILUTSequence = Sequence([item])

    return lambda folder: shown(IMAGE, state_of(IMAGE, folder, whole, *changes))


def turned(rotation: int, flip: str) -> Change:
    def change(state: Dataset) -> None:
        state.ImageRotation, state.ImageHorizontalFlip = rotation, flip

    return change


@pytest.mark.parametrize(("rotation", "turns"), [(0, 0), (90, -1), (180, -2), (270, -3)])
@pytest.mark.parametrize("flip", ["N", "Y"])
def test_rotated_to_the_right_then_flipped(rotation: int, turns: int, flip: str, tmp_path: Path) -> None:
    """PS3.3 C.10.6."""
    wanted = np.rot90(GRID, turns)
    found = plain(turned(rotation, flip))(tmp_path)
    np.testing.assert_array_equal(found, wanted[:, ::-1] if flip == "Y" else wanted)


def area(left: int, top: int, right: int, bottom: int) -> Change:
    def change(state: Dataset) -> None:
        item = state.DisplayedAreaSelectionSequence[0]
        item.DisplayedAreaTopLeftHandCorner, item.DisplayedAreaBottomRightHandCorner = [left, top], [right, bottom]

    return change


def test_the_displayed_area_is_shown_and_black_beyond_the_image(tmp_path: Path) -> None:
    """PS3.3 C.10.4."""
    np.testing.assert_array_equal(plain(area(3, 2, 6, 5))(tmp_path), GRID[1:5, 2:6])
    beyond = plain(area(-1, 1, 8, 8))(tmp_path)
    assert beyond.shape == (8, 10)
    np.testing.assert_array_equal(beyond[:6, 2:], GRID)
    assert not beyond[6:].any() and not beyond[:, :2].any()
    with pytest.raises(NotAcceptable, match="displayed area"):
        plain(area(1, 1, 2_000_000, 2_000_000))(tmp_path)


def test_the_viewport_is_filled(tmp_path: Path) -> None:
    state = state_of(IMAGE, tmp_path, turned(90, "N"))
    assert shown(IMAGE, state, Rendering(viewport=Viewport(60, 400))).shape == (80, 60)


def shutter(shape: str, **attributes: object) -> Change:
    def change(state: Dataset) -> None:
        state.ShutterShape, state.ShutterPresentationValue = shape, 0xC800
        for keyword, value in attributes.items():
            setattr(state, keyword, value)

    return change


def test_shutters_hide_what_is_outside(tmp_path: Path) -> None:
    """PS3.3 C.7.6.11: the edges are the first pixels that are hidden."""
    edges = {f"Shutter{name}Edge": value for name, value in
             (("LeftVertical", 2), ("RightVertical", 7), ("UpperHorizontal", 1), ("LowerHorizontal", 6))}  # fmt: skip
    found = plain(shutter("RECTANGULAR", **edges))(tmp_path)
    hidden = np.full_like(found, 200)
    hidden[1:5, 2:6] = GRID[1:5, 2:6]
    np.testing.assert_array_equal(found, hidden)
    circle = plain(shutter("CIRCULAR", CenterOfCircularShutter=[3, 4], RadiusOfCircularShutter=1))(tmp_path)
    assert circle[2, 3] == GRID[2, 3] and circle[0, 3] == 200 and circle[2, 6] == 200
    corners = plain(shutter("POLYGONAL", VerticesOfThePolygonalShutter=[1, 1, 1, 4, 6, 4, 6, 1]))(tmp_path)
    assert (corners[:, :4] == GRID[:, :4]).all() and (corners[:, 4:] == 200).all()
    assert (plain(shutter("CIRCULAR"))(tmp_path) == GRID).all(), "a shutter that cannot be told hides nothing"


def test_a_bitmap_shutter_and_overlays_that_are_activated(tmp_path: Path) -> None:
    """PS3.3 C.7.6.15, C.11.7."""
    bits = np.zeros((6, 8), np.uint8)
    bits[2, 3:6] = 1

    def bitmap(state: Dataset) -> None:
        state.update(overlay(0x6002, bits))
        shutter("BITMAP", ShutterOverlayGroup=0x6002)(state)

    assert (plain(bitmap)(tmp_path)[2, 3:6] == 200).all()

    def lying(layer: str | None) -> Change:
        def change(state: Dataset) -> None:
            state.update(overlay(0x6002, bits))
            if layer:
                state.add_new((0x6002, 0x1001), "CS", layer)

        return change

    assert (plain(lying("L"))(tmp_path)[2, 3:6] == 255).all()
    np.testing.assert_array_equal(plain(lying(None))(tmp_path), GRID)


def graphic(kind: str, data: list[float], units: str = "PIXEL", **more: object) -> Change:
    def change(state: Dataset) -> None:
        drawn, item = Dataset(), Dataset()
        drawn.GraphicAnnotationUnits, drawn.GraphicDimensions, drawn.GraphicData = units, 2, data
        drawn.NumberOfGraphicPoints, drawn.GraphicType, drawn.GraphicFilled = len(data) // 2, kind, "N"
        for keyword, value in more.items():
            setattr(drawn, keyword, value)
        item.GraphicLayer, item.GraphicObjectSequence = "L", Sequence([drawn])
        state.GraphicAnnotationSequence = Sequence([item])

    return change


def test_graphics_are_where_the_image_is(tmp_path: Path) -> None:
    """PS3.3 C.10.5.1.2: the first pixel is 1\\1."""
    line = plain(graphic("POLYLINE", [2, 3, 5, 3]))(tmp_path)
    assert (line[2, 1:5] == 255).all() and (line[[1, 3]] == GRID[[1, 3]]).all()
    right = plain(graphic("POLYLINE", [2, 3, 5, 3]), turned(90, "N"))(tmp_path)
    np.testing.assert_array_equal(right == 255, np.rot90(line, -1) == 255)
    for damaged in ([1.0], [], [float("nan"), 1, 2, 2], [1e30, 1, 2, 2]):
        np.testing.assert_array_equal(plain(graphic("POLYLINE", damaged))(tmp_path), GRID)
    for kind, points in (("CIRCLE", [4, 3, 6, 3]), ("ELLIPSE", [2, 3, 6, 3, 4, 1, 4, 5]), ("POINT", [4, 3])):
        assert (plain(graphic(kind, points))(tmp_path) == 255).any()  # type: ignore[arg-type]


def test_text_is_drawn_upright(tmp_path: Path) -> None:
    def text(state: Dataset) -> None:
        words, item = Dataset(), Dataset()
        words.BoundingBoxAnnotationUnits, words.UnformattedTextValue = "DISPLAY", "Tổn thương\r\n12 mm"
        words.BoundingBoxTopLeftHandCorner, words.BoundingBoxBottomRightHandCorner = [0.1, 0.1], [0.5, 0.3]
        item.GraphicLayer, item.TextObjectSequence = "L", Sequence([words])
        state.SpecificCharacterSet = "ISO_IR 192"
        state.GraphicAnnotationSequence = Sequence([item])

    image = image_file(np.zeros((200, 300), np.uint8), stored=8)
    found = shown(image, state_of(image, tmp_path, text))
    assert found[20:70, 30:200].max() > 200
    assert not found[80:].any()


def test_what_is_for_another_frame_is_not_applied(tmp_path: Path) -> None:
    frames = image_file(np.stack([GRID, GRID]), stored=8)

    def for_the_second(state: Dataset) -> None:
        graphic("POLYLINE", [2, 3, 5, 3])(state)
        named = Dataset()
        named.ReferencedSOPClassUID, named.ReferencedSOPInstanceUID = frames.SOPClassUID, frames.SOPInstanceUID
        named.ReferencedFrameNumber = 2
        state.GraphicAnnotationSequence[0].ReferencedImageSequence = Sequence([named])

    state = state_of(frames, tmp_path, for_the_second)
    assert (shown(frames, state, number=1) < 255).all() and (shown(frames, state, number=2) == 255).any()


def test_over_http(shared_web: httpx.Client, tmp_path: Path) -> None:  # noqa: F811
    """PS3.18 10.4.1.1.3: the state as a resource; 9.1.2.2.8: named beside the image."""
    image = image_file(GRID, stored=8)
    other = image_file(GRID, stored=8)
    state = state_of(image, tmp_path, turned(90, "N"))
    lonely = pydicom.dcmread(state)
    lonely.SOPInstanceUID = lonely.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    lonely.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.3.4"
    lonely.save_as(tmp_path / "lonely.dcm")
    (tmp_path / "other.dcm").write_bytes(encoded(other))
    store_files(shared_web, *(tmp_path / f"{name}.dcm" for name in ("image", "state", "lonely", "other")))

    def rendered(ds: Dataset, accept: str = "image/png") -> httpx.Response:
        path = f"studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"
        return shared_web.get(f"/dicom-web/{path}/rendered", headers={"accept": accept})

    def by_uri(of: Dataset) -> httpx.Response:
        ds = pydicom.dcmread(state)
        uids = {"studyUID": of.StudyInstanceUID, "seriesUID": of.SeriesInstanceUID, "objectUID": of.SOPInstanceUID}
        named = {"presentationUID": ds.SOPInstanceUID, "presentationSeriesUID": ds.SeriesInstanceUID}
        asked = {"requestType": "WADO", "contentType": "image/png", **uids, **named}
        return shared_web.get("/dicom-web/wado", params=asked)

    shown = rendered(pydicom.dcmread(state))
    assert Image.open(io.BytesIO(shown.content)).size == (6, 8)
    assert by_uri(image).content == shown.content
    parts = rendered(pydicom.dcmread(state), 'multipart/related; type="image/png"')
    assert parts.status_code == 200 and shown.content in parts.content
    assert rendered(lonely).status_code == 406
    assert by_uri(other).status_code == 404, "the state is of another study"
