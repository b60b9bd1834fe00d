"""The build of OHIF as a server of files gives it: with the same settings as ours, at the same address."""

from __future__ import annotations

from pathlib import Path

from benchmarks.viewer import _copy


def test_a_server_of_files_gives_the_viewer_with_our_settings(tmp_path: Path) -> None:
    build = tmp_path / "build"
    (build / "assets").mkdir(parents=True)
    (build / "index.html").write_text("<!doctype html><html lang='en'><head></head><body></body></html>")
    (build / "assets" / "app.js").write_text("run()")
    (build / "assets" / "app.css").write_text("body { color: black }")
    served = _copy(build, tmp_path / "served")
    assert "history.replaceState({}, '', '/viewer/viewer'" in (served / "index.html").read_text()
    settings = (served / "app-config.js").read_text()
    assert '"wadoRoot":"/dicom-web"' in settings
    # Orthanc's plugin makes no thumbnails.
    assert '"thumbnailRendering":"wadors"' in settings
    assert (served / "assets" / "app.js").exists()
    assert (served / "assets" / "app.css").exists()
