"""Chromium, the viewer and an archive with something of everything to look at."""

from __future__ import annotations

import base64
import fcntl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Self

import httpx
import numpy as np
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response, expect, sync_playwright
from pydicom import dcmread
from pydicom.uid import generate_uid

from tests.corpus import storage_objects
from tests.web_server import store
from viewer_api.viewer_setup import install

BUILD = Path(__file__).parents[2] / "build"
VIEWER = BUILD / "viewer"
SCREENSHOTS = BUILD / "screenshots"
CHROMIUM = "/usr/bin/chromium"
PATIENCE: Final = 120_000
"""Milliseconds."""
ARGUMENTS = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]


@dataclass(frozen=True)
class Sample:
    """A file of the corpus, sent as a study of its own."""

    file: str
    what: str
    frames: int = 1
    study: str = field(default_factory=generate_uid)
    series: str = field(default_factory=generate_uid)
    instance: str = field(default_factory=generate_uid)

    def content(self) -> bytes:
        """The file under UIDs of its own; pixel data and transfer syntax are those of the corpus."""
        (path,) = (path for path in storage_objects() if path.name == self.file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = dcmread(path)
            made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID = self.study, self.series, self.instance
            made.file_meta.MediaStorageSOPInstanceUID = self.instance
            made.PatientName, made.PatientID, made.StudyDescription = f"THỬ^{self.what.upper()}", self.file, self.what
            made.SpecificCharacterSet = "ISO_IR 192"
            made.StudyDate = "20250301"
            buffer = BytesIO()
            made.save_as(buffer)
        return buffer.getvalue()

    @property
    def path(self) -> str:
        return f"/dicom-web/studies/{self.study}/series/{self.series}/instances/{self.instance}"


def _patient(browser: Browser) -> Browser:
    """The same browser, whose waits last as long as a busy machine may need."""
    make_context, make_page = browser.new_context, browser.new_page

    def new_context(**how: Any) -> BrowserContext:
        context = make_context(**how)
        context.set_default_timeout(PATIENCE)
        return context

    def new_page(**how: Any) -> Page:
        page = make_page(**how)
        page.set_default_timeout(PATIENCE)
        return page

    browser.new_context, browser.new_page = new_context, new_page  # type: ignore[method-assign]
    expect.set_options(timeout=PATIENCE)
    return browser


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser of the system."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield _patient(browser)
        finally:
            browser.close()


def install_viewer() -> Path:
    """Fetch the viewer once for this machine. Fails where it cannot be had: nothing could be said about it then."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "viewer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        install(VIEWER, print)
    return VIEWER


def send(client: httpx.Client, samples: list[Sample]) -> None:
    """Store the samples."""
    for sample in samples:
        response = store(client, sample.content())
        assert response.status_code in (200, 202), f"{sample.file}: {response.text}"


class Complaints:
    """What went wrong in a page inside the block: errors on its console, uncaught exceptions, failed requests."""

    def __init__(self, page: Page) -> None:
        self.found: list[str] = []
        self._page = page
        self._handlers = {"console": self._on_console, "pageerror": self._on_error, "response": self._on_response}

    def __enter__(self) -> Self:
        for event, handler in self._handlers.items():
            self._page.on(event, handler)  # type: ignore[call-overload]
        return self

    def __exit__(self, *_: object) -> None:
        for event, handler in self._handlers.items():
            self._page.remove_listener(event, handler)

    def _on_error(self, error: object) -> None:
        self.found.append(f"exception: {error}")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.found.append(f"console: {message.text[:300]}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self.found.append(f"{response.status}: {response.url}")


def picture(data_url: str) -> Image.Image:
    """The image of a ``data:`` URL."""
    return Image.open(BytesIO(base64.b64decode(data_url.partition(",")[2]))).convert("RGB")


def likeness(one: Image.Image, other: Image.Image, size: int = 64) -> float:
    """Correlation of two pictures of the same thing, made small so that interpolation does not count."""
    first, second = (
        np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BOX), dtype=float).ravel()
        for image in (one, other)
    )
    return float(np.corrcoef(first, second)[0, 1])
