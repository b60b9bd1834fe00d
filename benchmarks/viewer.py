"""``python -m benchmarks viewer``: a large CT in OHIF, served by us and by Orthanc, interleaved.

The same build of OHIF with the same settings (but for thumbnails, which Orthanc's plugin does not make) is in Chromium
on the origin of each server, without anything between them. Orthanc has its DICOMweb plugin, its index in PostgreSQL as
ours, and serves the build by its plugin for folders; that it compresses all answers by default costs it time, so it is
measured without that, too. *Link*: the viewer itself is loaded, too, by a browser that was never here. *Open*: from
within the running viewer, by a browser that has nothing of the study. *Again*: the viewer is loaded again by the same
browser, and the study opened from within. Prints a Markdown table; writes ``build/benchmarks/viewer.json`` and
``viewer.md``.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from playwright.sync_api import BrowserContext, Page, Playwright, sync_playwright
from pydicom.dataset import FileDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from archive.embedded import EmbeddedPostgres
from benchmarks.command import Parser, say, scratch
from benchmarks.results import OURS, Report
from benchmarks.sender import Object, send
from benchmarks.servers import orthanc_web, service
from tests.e2e.browser import ARGUMENTS, CHROMIUM, install_viewer
from tests.viewer_studies import ct_series
from viewer_api.pages.language import texts
from viewer_api.viewer_config import app_config, rewrite_index, rewrite_script, rewrite_style

_OTHERS: Final = {"Orthanc": True, "Orthanc, not compressing": False}
"""Whether it compresses answers, as it does by default."""
_CASES: Final = ("link", "open", "again")
_PATIENCE: Final = 240_000
_WATCH: Final = """
performance.setResourceTimingBufferSize(100000);
window.until = condition => new Promise((resolve, reject) => {
    const end = performance.now() + PATIENCE;
    const look = () => {
        if (condition()) resolve(performance.now());
        else if (performance.now() > end) reject(new Error('the viewer did not show it in time'));
        else setTimeout(look, 10);
    };
    look();
});
window.stack = study => {
    const viewport = window.cornerstone?.getEnabledElements?.()[0]?.viewport;
    const image = viewport?.viewportStatus === 'rendered' && viewport.getCornerstoneImage?.();
    return image && image.imageId.includes(`/studies/${study}/`) && viewport.getImageIds();
};
window.shown = study => until(() => stack(study));
window.loaded = (study, count) => until(() => {
    const images = stack(study);
    return images && images.length === count && images.every(image => cornerstone.cache.isLoaded(image));
});
""".replace("PATIENCE", str(_PATIENCE))
_GO: Final = """async ([address, study, count]) => {
    const started = performance.now();
    history.pushState({}, '', address);
    dispatchEvent(new PopStateEvent('popstate', { state: {} }));
    const first = await shown(study);
    const all = await loaded(study, count);
    return { first: first - started, all: all - started, started };
}"""
_LOADED: Final = """async ([study, count]) => {
    const first = await shown(study);
    return { first, all: await loaded(study, count), started: 0 };
}"""
_REQUESTS: Final = """started => performance.getEntriesByType('resource').filter(each => each.startTime >= started)
    .map(each => [each.name, each.startTime - started, each.responseStart - started, each.responseEnd - started,
        each.transferSize])"""


class Run(NamedTuple):
    """One opening: milliseconds until the first image is on the screen, and until all are in the viewer."""

    first: float
    all: float
    metadata: float
    """Until the metadata of the series are there."""
    frame: float
    """Median of what a frame took, from its request to its last byte."""
    requests: int
    """For DICOMweb."""
    received: int
    """Bytes of DICOMweb, with headers."""


class Site(NamedTuple):
    """A server with the viewer."""

    url: str
    place: str
    """Path of the viewer's page for studies."""


def main(arguments: list[str]) -> int:
    parser = Parser("viewer", __doc__)
    parser.add("--rounds", 3, 2, type=int, help="counted runs of each case and server, interleaved")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--side", type=int, default=512, help="rows and columns of each slice")
    parser.add_argument("--megabits", type=int, default=0, help="speed of the network; 0 is loopback as it is")
    given = parser.read(arguments)
    study = ct_series(given.slices, given.side, noise=1)
    # Something to begin with: the program is running and warm when the study is opened from within.
    small = ct_series(1, 64, PatientID="SMALL", PatientName="Small^Study")
    network = f"a network of {given.megabits} Mbit/s" if given.megabits else "loopback"
    title = f"CT of {given.slices} slices of {given.side} x {given.side} x 16 bit in OHIF, by {network}"
    report = Report("viewer", title, is_quick=given.quick)
    with scratch() as folder, ExitStack() as stack:
        sites = stack.enter_context(_sites(report, folder, [*study, *small]))
        playwright = stack.enter_context(sync_playwright())
        _measure(report, playwright, folder, sites, study, small, given)
    print("\n".join(report.lines()))
    return 1 if report.failures else 0


@contextmanager
def _sites(report: Report, folder: Path, images: list[FileDataset]) -> Iterator[dict[str, Site]]:
    """All servers, each with the images and the viewer."""
    build = install_viewer()
    served = _copy(build, folder / "served")
    objects = [_object(image) for image in images]
    with ExitStack() as stack:

        def ours() -> Site:
            variables: dict[str, Any] = {"PACS_WEB__VIEWER": str(build), "PACS_FEED__QUIET": "1"}
            running = stack.enter_context(service(_made(folder / "ours"), **variables))
            say(f"{OURS} runs; sending {len(objects)} objects")
            _fill(running.dicom_port, objects)
            return Site(f"http://127.0.0.1:{running.web_port}", "/viewer/viewer")

        def other(number: int, compresses: bool) -> Site:
            postgres = EmbeddedPostgres(_made(folder / f"database{number}"))
            stack.callback(postgres.stop)
            place = _made(folder / f"other{number}")
            running = stack.enter_context(orthanc_web(place, served, postgres.url, HttpCompressionEnabled=compresses))
            say(f"rival {number + 1} runs; sending {len(objects)} objects")
            _fill(running.dicom_port, objects)
            return Site(f"http://127.0.0.1:{running.web_port}", "/viewer/index.html")

        starts: dict[str, Callable[[], Site]] = {OURS: ours}
        starts |= {name: partial(other, number, on) for number, (name, on) in enumerate(_OTHERS.items())}
        found = {name: report.attempt(f"start of {name}", start) for name, start in starts.items()}
        yield {name: site for name, site in found.items() if site}


def _fill(port: int, objects: list[Object]) -> None:
    if failures := send("127.0.0.1", port, "PACS", objects, 2).failures:
        raise SystemExit(f"refused {failures} objects")


def _made(folder: Path) -> Path:
    folder.mkdir()
    folder.chmod(0o755)
    return folder


def _copy(build: Path, target: Path) -> Path:
    """The build as our service gives it, as files."""
    for file in build.rglob("*"):
        if file.is_file():
            made = target / file.relative_to(build)
            made.parent.mkdir(parents=True, exist_ok=True)
            content = file.read_bytes()
            content = rewrite_script(content) if file.suffix == ".js" else content
            made.write_bytes(rewrite_style(content) if file.suffix == ".css" else content)
    # A server of files knows no other address of the page; the viewer wants its own.
    own = "<script>history.replaceState({}, '', '/viewer/viewer' + location.search)</script>"
    page = rewrite_index((build / "index.html").read_text(encoding="utf-8"), "vi")
    (target / "index.html").write_text(page.replace("<head>", f"<head>{own}", 1), encoding="utf-8")
    config = app_config(texts("vi")).replace('"thumbnailRendering":"thumbnail"', '"thumbnailRendering":"wadors"')
    (target / "app-config.js").write_text(config, encoding="utf-8")
    return target


def _object(image: FileDataset) -> Object:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, image)
    return Object(CTImageStorage, str(image.SOPInstanceUID), ExplicitVRLittleEndian, buffer.getvalue())


def _measure(
    report: Report,
    playwright: Playwright,
    folder: Path,
    sites: dict[str, Site],
    study: list[FileDataset],
    small: list[FileDataset],
    given: argparse.Namespace,
) -> None:
    runs: dict[tuple[str, str], list[Run]] = {(case, name): [] for case in _CASES for name in sites}
    wanted, before = str(study[0].StudyInstanceUID), str(small[0].StudyInstanceUID)

    def openings(name: str, site: Site, number: int) -> list[Run]:
        found = []
        with _browser(playwright, folder / f"link-{name}-{number}") as context:
            page = _page(context, given.megabits)
            page.goto(f"{site.url}{site.place}?StudyInstanceUIDs={wanted}")
            found.append(_run(page, page.evaluate(_LOADED, [wanted, len(study)])))
        with _browser(playwright, folder / f"open-{name}-{number}") as context:
            for _ in ("open", "again"):
                page = _page(context, given.megabits)
                page.goto(f"{site.url}{site.place}?StudyInstanceUIDs={before}")
                page.evaluate("study => shown(study)", before)
                address = f"/viewer/viewer?StudyInstanceUIDs={wanted}"
                found.append(_run(page, page.evaluate(_GO, [address, wanted, len(study)])))
                page.close()
        return found

    for number in range(given.rounds + 1):
        for name, site in [*sites.items()]:
            found = report.attempt(name, partial(openings, name, site, number))
            if found is None:
                del sites[name]
                continue
            for case, run in zip(_CASES, found, strict=True):
                say(f"{case}, run {number} of {given.rounds}, {name}: {run.first:.0f} ms, all {run.all:.0f} ms")
                if number:  # the first round is for warming up
                    runs[case, name].append(run)
            _report(report, runs)


@contextmanager
def _browser(playwright: Playwright, profile: Path) -> Iterator[BrowserContext]:
    """A browser of somebody who was never here, with a cache on disk."""
    browser = playwright.chromium.launch_persistent_context(
        profile, executable_path=CHROMIUM, args=ARGUMENTS, viewport={"width": 1400, "height": 900}
    )
    try:
        browser.set_default_timeout(_PATIENCE)
        yield browser
    finally:
        browser.close()


def _page(context: BrowserContext, megabits: int) -> Page:
    page = context.new_page()
    page.add_init_script(_WATCH)
    if megabits:
        speed = megabits * 1_000_000 / 8
        limits = {"offline": False, "latency": 2, "downloadThroughput": speed, "uploadThroughput": speed}
        context.new_cdp_session(page).send("Network.emulateNetworkConditions", limits)
    return page


def _run(page: Page, times: dict[str, float]) -> Run:
    asked = [each for each in page.evaluate(_REQUESTS, times["started"]) if "/dicom-web/" in each[0]]
    metadata = [each[3] for each in asked if each[0].endswith("/metadata")]
    frames = [each[3] - each[1] for each in asked if "/frames/" in each[0]]
    received = sum(each[4] for each in asked)
    frame = statistics.median(frames) if frames else 0
    return Run(times["first"], times["all"], max(metadata, default=0), frame, len(asked), received)


def _report(report: Report, runs: dict[tuple[str, str], list[Run]]) -> None:
    report.measures.clear()
    for (case, name), found in runs.items():
        if not found:
            continue
        quantities: dict[str, list[float]] = {
            "first image ms": [run.first for run in found],
            "full stack ms": [run.all for run in found],
            "metadata ms": [run.metadata for run in found],
            "one frame ms": [run.frame for run in found],
            "requests": [run.requests for run in found],
            "MB received": [run.received / 1e6 for run in found],
        }
        report.add(case, name, quantities)
    report.write()
