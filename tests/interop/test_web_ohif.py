"""OHIF, as it is installed with the archive, in Chromium: what a doctor opens is there, at the right place."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, Response
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import generate_uid

from tests.e2e.browser import Complaints, chromium, install_viewer, likeness, picture
from tests.e2e.viewer import HARMLESS, PATIENCE, Samples, Viewer, rendering
from tests.interop.matrix import (
    BULK_DATA,
    FIELDS,
    FRAMES,
    FUZZY,
    INSTANCE,
    METADATA,
    OHIF,
    RENDERED,
    SEARCH,
    STOW,
    THUMBNAIL,
    case,
)
from tests.viewer_studies import (
    BONE_HU,
    CLIP_COLUMNS,
    CLIP_ROWS,
    PIXEL_MM,
    SLICE_MM,
    common,
    ct_series,
    document,
    part10,
    report,
    segmentation,
    structure_set,
    ultrasound,
    video,
)
from tests.web_server import fresh_archive, serving, store
from viewer_api.app import create_app

pytestmark = pytest.mark.browser

SLICES, SIDE = 40, 128
REPORTED_SLICE = 20
LISTED = 105
"""More studies than the list asks for at once."""
TEXT_REPORT = "1.2.840.10008.5.1.4.1.1.88.11"
SAVE = re.compile("Save|Lưu")
_SEGMENTS = """() => (services?.segmentationService.getSegmentations() ?? [])
    .flatMap(each => Object.values(each.segments).map(segment => segment.label))"""

_VOLUME_SHOWN = """([viewports, count]) => {
    const enabled = window.cornerstone?.getEnabledElements?.() ?? [];
    const volumes = window.cornerstone?.cache?.getVolumes?.() ?? [];
    return enabled.length === viewports && enabled.every(each => each.viewport.viewportStatus === 'rendered')
        && volumes.length > 0 && volumes.every(each => each.loadStatus?.loaded && each.imageIds.length === count);
}"""


@dataclass
class Shelf:
    """What there is to look at."""

    http: httpx.Client
    ct: list[FileDataset]
    ultrasound: FileDataset
    video: FileDataset
    document: FileDataset

    def path(self, made: FileDataset) -> str:
        return f"/dicom-web/studies/{made.StudyInstanceUID}/series/{made.SeriesInstanceUID}/instances/{made.SOPInstanceUID}"

    def volume(self) -> NDArray[np.int64]:
        """Hounsfield units of the CT, (slices, rows, columns)."""
        return np.stack([image.pixel_array.astype(np.int64) for image in self.ct]) - 1024

    def store(self, *made: FileDataset) -> None:
        response = store(self.http, *(part10(each) for each in made))
        assert response.status_code in (200, 202), response.text
        assert "00081198" not in response.json(), response.text


@pytest.fixture(scope="module")
def shelf(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    with (
        fresh_archive(postgres, tmp_path_factory.mktemp("ohif"), web={"viewer": install_viewer()}) as archive,
        serving(create_app(archive)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        found = Shelf(client, ct_series(SLICES, SIDE), ultrasound(), video(), document())
        found.store(*found.ct, found.ultrasound, found.video, found.document)
        found.store(segmentation(found.ct), report(found.ct, REPORTED_SLICE), structure_set(found.ct))
        found.store(*map(listed, range(LISTED)))
        yield found


def listed(number: int) -> FileDataset:
    """A study that is only in the list, older than the others."""
    said = {"PatientName": f"Danh^Sách {number}", "PatientID": f"D{number}", "AccessionNumber": f"D{number:03}"}
    return common(TEXT_REPORT, "SR", **said, StudyDate="20250101", StudyDescription=f"Phiếu {number}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as launched:
        yield launched


@pytest.fixture
def viewer(browser: Browser, shelf: Shelf) -> Iterator[Viewer]:
    """The viewer in a window of its own; nothing in it may fail."""
    with browser.new_context(viewport={"width": 1400, "height": 900}, base_url=str(shelf.http.base_url)) as context:
        page = context.new_page()
        with Complaints(page) as complaints:
            yield Viewer(page)
        assert [text for text in complaints.found if not HARMLESS.search(text)] == []


def open_derived(viewer: Viewer, shelf: Shelf, modality: str) -> None:
    """Open the CT, then by a double click what was derived from it."""
    study = shelf.ct[0].StudyInstanceUID
    viewer.load(study)
    viewer.wait_for_image(study)
    row = viewer.page.locator("[data-cy=study-browser-thumbnail-no-image]")
    row.filter(has=viewer.page.get_by_text(modality, exact=True)).dblclick(timeout=PATIENCE)


@case(OHIF, "stack", FRAMES, "each of 40 slices is asked for once; the wheel shows the next ones, as we render them")
def test_ohif_scrolls_a_stack(shelf: Shelf, viewer: Viewer) -> None:
    study = shelf.ct[0].StudyInstanceUID
    asked: Counter[str] = Counter()
    viewer.page.on("response", lambda response: asked.update([response.url] if "/frames/" in response.url else []))
    viewer.load(study)
    pictures = []
    for index in range(4):
        viewer.wait_for_image(study, index)
        pictures.append(viewer.shown())
        path = viewer.image_id().split(":", 1)[1].partition("/frames/")[0]
        assert likeness(pictures[-1], rendering(shelf.http, path)) > 0.98
        viewer.scroll()
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    viewer.wait_for("count => cornerstone.cache.getCacheSize() >= count", SLICES * SIDE * SIDE * 2)
    assert len(asked) == SLICES
    assert set(asked.values()) == {1}
    viewer.keep("stack")


@case(
    OHIF,
    "stack",
    FRAMES,
    "opened again, the study comes from the browser's cache: each frame is only asked whether it changed",
)
def test_ohif_opens_a_study_again(shelf: Shelf, viewer: Viewer) -> None:
    study = shelf.ct[0].StudyInstanceUID
    kept = """() => performance.getEntriesByType('resource').filter(each => each.name.includes('/frames/'))
        .map(each => [each.encodedBodySize, each.transferSize])"""
    for already in (False, True):
        viewer.load(study)
        viewer.wait_for_image(study)
        viewer.wait_for("count => cornerstone.cache.getCacheSize() >= count", SLICES * SIDE * SIDE * 2)
        sizes = viewer.page.evaluate(kept)
        assert len(sizes) == SLICES
        # Resource Timing 2: what is found unchanged counts for headers alone.
        assert {(size > SIDE * SIDE * 2, transferred < 1000) for size, transferred in sizes} == {(True, already)}


@case(OHIF, "list of series", THUMBNAIL, "the picture beside the series is the one that we make")
def test_ohif_shows_thumbnails(shelf: Shelf, viewer: Viewer) -> None:
    image = shelf.ultrasound
    viewer.load(image.StudyInstanceUID)
    drawn = """() => {
        const image = document.querySelector('[data-cy=study-browser-thumbnail] img');
        if (!image?.complete || !image.naturalWidth) { return false; }
        const canvas = document.createElement('canvas');
        canvas.width = image.naturalWidth;
        canvas.height = image.naturalHeight;
        canvas.getContext('2d').drawImage(image, 0, 0);
        return canvas.toDataURL('image/png');
    }"""
    shown = viewer.page.wait_for_function(drawn, timeout=PATIENCE).json_value()
    assert likeness(picture(shown), rendering(shelf.http, shelf.path(image), image.NumberOfFrames // 2)) > 0.98


@case(OHIF, "MPR", FRAMES, "three planes of the volume; what is at a point is what the slices have there")
def test_ohif_reconstructs_planes(shelf: Shelf, viewer: Viewer) -> None:
    viewer.load(shelf.ct[0].StudyInstanceUID, hangingprotocolId="mpr")
    viewer.wait_for(_VOLUME_SHOWN, [3, SLICES])
    volume = shelf.volume()

    def agreement(viewport: int) -> float:
        samples = viewer.samples(viewport)
        return likeness_of_values(samples, *at_points(volume, samples.world))

    wait_until(viewer.page, lambda: all(agreement(each) > 0.97 for each in range(3)))
    normals = np.abs(np.round(viewer.planes())).tolist()
    assert sorted(normals) == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    viewer.keep("mpr")


@case(OHIF, "MIP", FRAMES, "three projections; each point shows the brightest voxel that lies behind it")
def test_ohif_projects_the_brightest(shelf: Shelf, viewer: Viewer) -> None:
    viewer.load(shelf.ct[0].StudyInstanceUID, hangingprotocolId="mip")
    viewer.wait_for(_VOLUME_SHOWN, [3, SLICES])
    volume = shelf.volume()

    def agreement(viewport: int) -> float:
        samples = viewer.samples(viewport)
        there, found = brightest(volume, samples.world, np.array(viewer.planes()[viewport]))
        return likeness_of_values(samples, there, np.clip(found, *window_of(viewer, viewport)))

    wait_until(viewer.page, lambda: all(agreement(each) > 0.95 for each in range(3)))
    viewer.keep("mip")


def likeness_of_values(samples: Samples, there: NDArray[np.bool_], values: NDArray[np.int64]) -> float:
    """How the grey of points goes with values of the volume, of those that are within it."""
    assert there.sum() > 200
    return float(np.corrcoef(values[there], samples.grey[there])[0, 1])


def window_of(viewer: Viewer, viewport: int) -> tuple[float, float]:
    """The values that a viewport shows as black and as white."""
    found = viewer.page.evaluate(
        "index => cornerstone.getEnabledElements()[index].viewport.getProperties().voiRange", viewport
    )
    return found["lower"], found["upper"]


def brightest(
    volume: NDArray[np.int64], world: NDArray[np.float64], normal: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Of the lines through points along a normal: which cross the volume, and the highest value on each."""
    crossed = np.zeros(len(world), dtype=bool)
    highest = np.full(len(world), volume.min())
    for distance in np.arange(-150, 150, 0.5):
        there, values = at_points(volume, world + distance * normal)
        crossed |= there
        highest = np.where(there, np.maximum(highest, values), highest)
    return crossed, highest


def at_points(volume: NDArray[np.int64], world: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which points are within the volume, and the value of the voxel there."""
    side = volume.shape[-1]
    half = PIXEL_MM * (side - 1) / 2
    place = np.stack([world[:, 2] / SLICE_MM, (world[:, 1] + half) / PIXEL_MM, (world[:, 0] + half) / PIXEL_MM], axis=1)
    index = np.round(place).astype(int)
    there = np.all((index >= 0) & (index < volume.shape), axis=1)
    index[~there] = 0
    return there, volume[index[:, 0], index[:, 1], index[:, 2]]


@case(OHIF, "SEG", INSTANCE, "the segments lie where the voxels are that they were made from")
def test_ohif_shows_a_segmentation(shelf: Shelf, viewer: Viewer) -> None:
    open_derived(viewer, shelf, "SEG")
    viewer.wait_for(f"() => ({_SEGMENTS})().length === 2")
    assert viewer.page.evaluate(_SEGMENTS) == ["Xương", "Nang"]
    volume = shelf.volume()

    def agreement() -> float:
        samples = viewer.samples()
        there, found = at_points(volume, samples.world)
        masked = (found >= BONE_HU) | ((found >= 0) & (found < 40))
        if not (there & masked).sum() > 50:
            return 0
        return float((masked == samples.is_coloured)[there].mean())

    wait_until(viewer.page, lambda: agreement() > 0.97)
    viewer.keep("seg")


@case(OHIF, "SR", METADATA, "the measurement of a report is drawn in the slice that it refers to")
def test_ohif_shows_a_report(shelf: Shelf, viewer: Viewer) -> None:
    open_derived(viewer, shelf, "SR")
    viewer.page.locator("svg.svg-layer text", has_text="3600").wait_for(timeout=PATIENCE)
    assert f"/instances/{shelf.ct[REPORTED_SLICE].SOPInstanceUID}/" in viewer.image_id()
    viewer.keep("sr")


@case(OHIF, "RTSTRUCT", METADATA, "the contour of a structure lies at its place in the patient")
def test_ohif_shows_a_structure_set(shelf: Shelf, viewer: Viewer) -> None:
    open_derived(viewer, shelf, "RTSTRUCT")
    corners_of = """() => {
        const viewport = cornerstone.getEnabledElements()[0].viewport;
        const { left, top } = viewport.getCanvas().getBoundingClientRect();
        const z = viewport.getCamera().focalPoint[2];
        return [[-60, -20, z], [60, 80, z]].map(point => viewport.worldToCanvas(point))
            .map(([x, y]) => [left + x, top + y]).flat();
    }"""

    def deviation() -> float:
        magenta = np.abs(screenshot(viewer.page) - (255, 0, 255)).max(axis=2) < 60
        if not magenta.any():
            return math.inf
        y, x = np.nonzero(magenta)
        box = np.array([x.min(), y.min(), x.max(), y.max()])
        return float(np.abs(box - viewer.page.evaluate(corners_of)).max())

    wait_until(viewer.page, lambda: deviation() <= 3)
    viewer.keep("rtstruct")


@case(OHIF, "PDF", BULK_DATA, "a document comes whole and as a document, and is on the screen")
def test_ohif_shows_a_document(shelf: Shelf, viewer: Viewer) -> None:
    viewer.load(shelf.document.StudyInstanceUID)
    shown = viewer.page.locator("object[type='application/pdf'][data^='blob:']")
    shown.wait_for(timeout=PATIENCE)
    got = shown.evaluate(
        """async element => {
            const answer = await fetch(element.data);
            return { type: answer.headers.get('content-type'), bytes: [...new Uint8Array(await answer.arrayBuffer())] };
        }"""
    )
    assert (got["type"], bytes(got["bytes"])) == ("application/pdf", shelf.document.EncapsulatedDocument)

    def green() -> bool:
        return bool((np.abs(screenshot(viewer.page) - (153, 230, 153)).max(axis=2) < 12).mean() > 0.05)

    wait_until(viewer.page, green)
    viewer.keep("pdf")


@case(OHIF, "video", RENDERED, "the player reads a video by Range; another time shows another frame")
def test_ohif_plays_a_video(shelf: Shelf, viewer: Viewer) -> None:
    parts: list[Response] = []
    viewer.page.on("response", lambda response: parts.append(response) if response.url.endswith("/rendered") else None)
    viewer.load(shelf.video.StudyInstanceUID)
    viewer.wait_for("() => window.cornerstone?.getEnabledElements?.()[0]?.viewport?.videoElement?.readyState === 4")
    # Told again until it is there: a player that is still being set up goes to its beginning.
    seek = """frame => {
        const viewport = cornerstone.getEnabledElements()[0].viewport;
        if (!viewport.videoElement.seeking) { viewport.setFrameNumber(frame); }
    }"""

    def shows(frame: int) -> bool:
        viewer.page.evaluate(seek, frame)
        return abs(square_in(viewer.canvas()) - (4 * (frame - 1) + 22)) < 5

    for frame in (5, 25, 12):
        wait_until(viewer.page, lambda frame=frame: shows(frame))
    assert {(part.status, part.headers["content-type"]) for part in parts} == {(206, "video/mp4")}
    viewer.keep("video")


def square_in(canvas: NDArray[np.int64]) -> float:
    """Where the yellow square of the clip is from left to right, in pixels of the clip; below 0 if it is not there."""
    rows, columns = canvas.shape[:2]
    scale = min(rows / CLIP_ROWS, columns / CLIP_COLUMNS)
    yellow = (canvas[..., 0] > 180) & (canvas[..., 1] > 180) & (canvas[..., 2] < 120)
    if not yellow.any():
        return -100
    return float((np.nonzero(yellow)[1].mean() - columns / 2) / scale + CLIP_COLUMNS / 2)


@case(OHIF, "cine", FRAMES, "an ultrasound loop in RGB: the frames are as we render them, and it plays")
def test_ohif_plays_a_loop(shelf: Shelf, viewer: Viewer) -> None:
    image = shelf.ultrasound
    viewer.load(image.StudyInstanceUID)
    viewer.wait_for_image(image.StudyInstanceUID)
    assert likeness(viewer.shown(), rendering(shelf.http, shelf.path(image))) > 0.98
    viewer.scroll()
    viewer.wait_for_image(image.StudyInstanceUID, 1)
    assert likeness(viewer.shown(), rendering(shelf.http, shelf.path(image), 2)) > 0.98
    viewer.page.evaluate("() => services.cineService.setCine({ id: 'default', isPlaying: true, frameRate: 10 })")
    for index in (5, 2):
        viewer.wait_for(
            "index => cornerstone.getEnabledElements()[0].viewport.getCurrentImageIdIndex() === index", index
        )
    viewer.keep("ultrasound")


@case(
    OHIF, "tool for lengths, Create SR", STOW, "a measurement is stored as a report, under the patient's name as it is"
)
def test_ohif_stores_a_measurement(shelf: Shelf, viewer: Viewer) -> None:
    images = ct_series(3, 64, StudyInstanceUID=generate_uid(), PatientID="BN4712")
    shelf.store(*images)
    study, page = images[0].StudyInstanceUID, viewer.page
    viewer.load(study)
    viewer.wait_for_image(study)
    page.locator("[data-cy=Length]").first.click()
    box = page.locator("canvas.cornerstone-canvas").first.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    ends = page.evaluate(
        """points => points.map(point => cornerstone.getEnabledElements()[0].viewport.canvasToWorld(point))""",
        [[x - 100 - box["x"], y - box["y"]], [x + 100 - box["x"], y - box["y"]]],
    )
    page.mouse.move(x - 100, y)
    page.mouse.down()
    page.mouse.move(x, y + 10, steps=5)
    page.mouse.move(x + 100, y, steps=5)
    page.mouse.up()
    page.locator("[data-cy=prompt-begin-tracking-yes-btn]").click(timeout=PATIENCE)
    page.locator("[data-cy=trackedMeasurements-btn]").click(timeout=PATIENCE)
    page.get_by_role("button", name="Create SR").click(timeout=PATIENCE)
    with page.expect_response(lambda answer: answer.request.method == "POST", timeout=PATIENCE) as answered:
        page.get_by_role("dialog").get_by_role("button", name=SAVE).click(timeout=PATIENCE)
    assert answered.value.status == 200
    page.locator("[data-cy=study-browser-thumbnail-no-image]").first.wait_for(timeout=PATIENCE)

    (found,) = shelf.http.get(f"/dicom-web/studies/{study}/instances", params={"Modality": "SR"}).json()
    path = (
        f"/dicom-web/studies/{study}/series/{found['0020000E']['Value'][0]}/instances/{found['00080018']['Value'][0]}"
    )
    kept = dcmread(BytesIO(shelf.http.get(path, headers={"Accept": "application/dicom; transfer-syntax=*"}).content))
    assert (kept.PatientName, kept.PatientID) == (images[0].PatientName, "BN4712")
    (length,) = (
        float(each.MeasuredValueSequence[0].NumericValue)
        for each in items(kept)
        if each.ValueType == "NUM" and each.ConceptNameCodeSequence[0].CodeMeaning == "Length"
    )
    assert length == pytest.approx(math.dist(*ends), abs=3)


def items(container: Dataset) -> Iterator[Dataset]:
    """The content items of a report, at any depth."""
    for each in container.get("ContentSequence", []):
        yield each
        yield from items(each)


@case(OHIF, "list of studies", SEARCH, "the newest 101 of more; by accession number")
def test_ohif_lists_studies(shelf: Shelf, viewer: Viewer) -> None:
    viewer.page.goto("/viewer/")
    viewer.page.get_by_text("1-50 of 101").wait_for(timeout=PATIENCE)
    assert rows(viewer.page, 1) == ["Trần, Thị Bưởi"]
    viewer.page.locator("thead input, tbody input").last.fill("D007")
    wait_until(viewer.page, lambda: rows(viewer.page) == ["Danh, Sách 7"])


@case(OHIF, "list of studies", FUZZY, "a given name without accents, as its list is set here")
def test_ohif_searches_fuzzily(shelf: Shelf, viewer: Viewer) -> None:
    viewer.page.goto("/viewer/")
    viewer.page.get_by_text("1-50 of 101").wait_for(timeout=PATIENCE)
    viewer.page.locator("input").first.fill("buoi")
    wait_until(viewer.page, lambda: set(rows(viewer.page)) == {"Trần, Thị Bưởi"})


@case(OHIF, "list of studies", FIELDS, "description, modalities and number of instances")
def test_ohif_lists_fields(shelf: Shelf, viewer: Viewer) -> None:
    viewer.page.goto("/viewer/")
    row = viewer.page.get_by_role("row", name="Siêu âm tim")
    row.wait_for(timeout=PATIENCE)
    assert [text for text in row.locator("td").all_inner_texts() if text.strip()] == [
        "Trần, Thị Bưởi", "02-Mar-2026 08:15 AM", "US", "Siêu âm tim", "V1", "1",
    ]  # fmt: skip


def rows(page: Page, most: int = 101) -> list[str]:
    """The patients of the list."""
    every = "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()).find(text => text))"
    found: list[str | None] = page.locator("tbody tr").evaluate_all(every)
    return [text for text in found if text and text not in ("Reset", "Đặt lại")][:most]


def wait_until(page: Page, condition: Callable[[], bool]) -> None:
    """Until something is so; the page goes on meanwhile."""
    for _ in range(PATIENCE // 100):
        if condition():
            return
        page.wait_for_timeout(100)
    raise AssertionError("it did not come about")


def screenshot(page: Page) -> NDArray[np.int64]:
    """All that is on the page in RGB."""
    return np.asarray(Image.open(BytesIO(page.screenshot())).convert("RGB"), dtype=np.int64)
