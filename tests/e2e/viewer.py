"""OHIF as a person uses it: opened, scrolled, and what is on its canvases."""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page

from tests.e2e.browser import SCREENSHOTS, picture

# What OHIF itself complains about, whatever it is given.
HARMLESS = re.compile(r"third-party cookie|Download the React DevTools", re.IGNORECASE)
PATIENCE = 120_000

_RENDERED = """([study, index]) => {
    const enabled = window.cornerstone?.getEnabledElements?.() ?? [];
    const viewport = enabled[0]?.viewport;
    if (!viewport || viewport.viewportStatus !== 'rendered' || !viewport.getCornerstoneImage) { return false; }
    const image = viewport.getCornerstoneImage();
    return Boolean(image) && viewport.getCurrentImageIdIndex() === index
        && image.imageId === viewport.getImageIds()[index] && image.imageId.includes(`/studies/${study}/`);
}"""
# Loading the program takes longer than all the rest; between studies its own router is used, as its own list does.
_GO = """address => {
    history.pushState({}, '', address);
    dispatchEvent(new PopStateEvent('popstate', { state: {} }));
}"""
# The part of the canvas that the image takes, by the corners of its pixels in the world of the viewport.
_CANVAS = """() => {
    const viewport = window.cornerstone.getEnabledElements()[0].viewport;
    const { imageData, dimensions } = viewport.getImageData();
    const corners = [[-0.5, -0.5, 0], [dimensions[0] - 0.5, dimensions[1] - 0.5, 0]]
        .map(corner => viewport.worldToCanvas(imageData.indexToWorld(corner)));
    const canvas = viewport.getCanvas();
    const scale = canvas.width / canvas.clientWidth;
    return { url: canvas.toDataURL('image/png'), box: corners.flat().map(value => value * scale) };
}"""
# Where points of the canvas are in the patient.
_SAMPLED = """([index, count]) => {
    const viewport = window.cornerstone.getEnabledElements()[index].viewport;
    const canvas = viewport.getCanvas();
    const { clientWidth: width, clientHeight: height } = canvas;
    const scale = canvas.width / width;
    const points = [];
    for (let row = 0; row < count; row++) {
        for (let column = 0; column < count; column++) {
            const at = [Math.round((column + 0.5) * width / count), Math.round((row + 0.5) * height / count)];
            points.push([...viewport.canvasToWorld(at), at[0] * scale, at[1] * scale]);
        }
    }
    return { url: canvas.toDataURL('image/png'), points };
}"""
_PLANES = "() => window.cornerstone.getEnabledElements().map(each => each.viewport.getCamera().viewPlaneNormal)"


def address(study: str, **more: str) -> str:
    """Where the viewer shows a study."""
    return f"/viewer/viewer?StudyInstanceUIDs={study}" + "".join(f"&{name}={value}" for name, value in more.items())


@dataclass
class Samples:
    """Points of a viewport."""

    world: NDArray[np.float64]
    """Coordinates in the patient, in millimetres; (points, 3)."""
    colours: NDArray[np.int64]
    """(points, 3)."""

    @property
    def grey(self) -> NDArray[np.float64]:
        return np.asarray(self.colours.mean(axis=1))

    @property
    def is_coloured(self) -> NDArray[np.bool_]:
        return np.asarray(np.ptp(self.colours, axis=1) > 20)


class Viewer:
    """The viewer in a page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def load(self, study: str, **more: str) -> None:
        """Load the program, as by a link."""
        self.page.goto(address(study, **more))

    def go(self, study: str) -> None:
        """To another study within the program."""
        self.page.evaluate(_GO, address(study))

    def wait_for_image(self, study: str, index: int = 0) -> None:
        """Until the first viewport shows the image of this place in its stack."""
        self.wait_for(_RENDERED, [study, index])

    def wait_for(self, condition: str, argument: Any = None) -> None:
        """Until a function of JavaScript gives something true."""
        self.page.wait_for_function(condition, arg=argument, timeout=PATIENCE)

    def scroll(self, steps: int = 1) -> None:
        """Turn the wheel over the first viewport."""
        self.page.locator("canvas.cornerstone-canvas").first.hover()
        for _ in range(abs(steps)):
            self.page.mouse.wheel(0, 100 if steps > 0 else -100)

    def shown(self) -> Image.Image:
        """The image as the first viewport shows it."""
        canvas = self.page.evaluate(_CANVAS)
        left, top, right, bottom = canvas["box"]
        box = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
        return picture(canvas["url"]).crop(tuple(round(value) for value in box))

    def canvas(self) -> NDArray[np.int64]:
        """All of the first canvas in RGB."""
        url = self.page.evaluate("() => document.querySelector('canvas.cornerstone-canvas').toDataURL('image/png')")
        return np.asarray(picture(url), dtype=np.int64)

    def image_id(self) -> str:
        """The address of the frame that the first viewport shows."""
        found: str = self.page.evaluate("() => cornerstone.getEnabledElements()[0].viewport.getCurrentImageId()")
        return found

    def planes(self) -> list[list[float]]:
        """The normal of what each viewport shows."""
        found: list[list[float]] = self.page.evaluate(_PLANES)
        return found

    def samples(self, viewport: int = 0, count: int = 60) -> Samples:
        """A grid of `count` x `count` points of a viewport."""
        got = self.page.evaluate(_SAMPLED, [viewport, count])
        pixels = np.asarray(picture(got["url"]), dtype=np.int64)
        points = np.array(got["points"])
        at = points[:, 3:].round().astype(int)
        return Samples(points[:, :3], pixels[at[:, 1], at[:, 0]])

    def keep(self, name: str) -> None:
        """A picture of the page, for people."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"viewer_{name}.png")


def rendering(site: httpx.Client, path: str, frame: int = 1) -> Image.Image:
    """What the archive makes of a frame. `path` is that of the instance."""
    response = site.get(f"{path}/frames/{frame}/rendered", headers={"Accept": "image/png"})
    assert response.status_code == 200, response.text
    return Image.open(BytesIO(response.content))
