"""The viewer's build: how it is installed, and how its files are served under our path."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.web_server import fresh_archive, serving
from viewer_api import viewer_setup
from viewer_api.app import create_app
from viewer_api.npm_package import SetupError, fetch, verify
from viewer_api.pages.language import texts
from viewer_api.viewer_config import app_config, content_security_policy, rewrite_index
from viewer_api.viewer_setup import STAMP, is_installed, unpack

INDEX = (
    '<!doctype html><html lang="en"><head><link rel="icon" href="/assets/a.png"><script>window.PUBLIC_URL="/"</script>'
    '<script rel="preload" as="script" type="module" src="/init-service-worker.js"></script>'
    '<script defer src="/app.bundle.0123456789abcdef.js"></script></head><body></body></html>'
)
SCRIPT = b'a();\n__webpack_require__.p = "/";\nb();'


def _build(directory: Path) -> Path:
    directory.mkdir()
    files = {
        "index.html": INDEX.encode(),
        "app.bundle.0123456789abcdef.js": SCRIPT + b"//" * 1000,
        "0123456789abcdef.wasm": b"\0asm" * 1000,
        "app.bundle.css": b"@font-face{src:url(/f.woff2)}",
        "sw.js": b"importScripts('elsewhere')",
        "assets/a.png": b"png",
        STAMP: viewer_setup._stamp().encode(),
    }
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return directory


@pytest.fixture(scope="module")
def client(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("files")
    with (
        fresh_archive(postgres, folder, web={"viewer": _build(folder / "viewer")}) as archive,
        serving(create_app(archive)) as url,
        httpx.Client(base_url=url) as opened,
    ):
        yield opened


@pytest.mark.parametrize("path", ["", "/", "/viewer?StudyInstanceUIDs=1.2.3", "/segmentation", "/index.html"])
def test_every_place_in_the_viewer_is_its_page(client: httpx.Client, path: str) -> None:
    response = client.get(f"/viewer{path}")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert 'src="/viewer/app.bundle.0123456789abcdef.js"' in response.text
    assert 'window.PUBLIC_URL="/viewer/"' in response.text
    assert "service-worker" not in response.text
    assert '<html lang="vi">' in response.text


def test_the_page_may_run_its_own_scripts_only(client: httpx.Client) -> None:
    response = client.get("/viewer/")
    policy = response.headers["content-security-policy"]
    (inline,) = re.findall(r"<script>(.*?)</script>", response.text)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy
    assert "'unsafe-inline'" not in policy.split("style-src")[0]
    assert "http" not in policy


def test_files_are_served_for_our_path_with_their_types(client: httpx.Client) -> None:
    script = client.get("/viewer/app.bundle.0123456789abcdef.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "immutable" in script.headers["cache-control"]
    assert script.headers["content-encoding"] == "gzip"
    assert script.content.startswith(SCRIPT.replace(b'"/"', b'"/viewer/"'))
    plain = client.get("/viewer/app.bundle.0123456789abcdef.js", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.content == script.content
    assert client.get("/viewer/0123456789abcdef.wasm").headers["content-type"] == "application/wasm"
    style = client.get("/viewer/app.bundle.css")
    assert (style.text, style.headers["cache-control"]) == (
        "@font-face{src:url(/viewer/f.woff2)}",
        "public, max-age=86400",
    )
    assert client.get("/viewer/assets/a.png").headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    "path",
    [
        "sw.js",
        "nothing.js",
        "../viewer_setup.py",
        "..%2f..%2fetc%2fpasswd.txt",
        "assets/..%2f.installed",
        "a%00b.js",
        ".installed/x.y",
    ],
)
def test_other_files_are_not_given(client: httpx.Client, path: str) -> None:
    assert client.get(f"/viewer/{path}").status_code == 404


def test_a_missing_viewer_is_said(postgres: str, tmp_path: Path) -> None:
    with (
        fresh_archive(postgres, tmp_path) as archive,
        serving(create_app(archive)) as url,
    ):
        response = httpx.get(f"{url}/viewer/viewer?StudyInstanceUIDs=1.2")
    assert response.status_code == 404
    assert "viewer_api.viewer_setup" in response.json()["detail"]


def test_the_configuration_points_at_us(client: httpx.Client) -> None:
    response = client.get("/viewer/app-config.js")
    assert response.headers["content-type"] == "text/javascript; charset=utf-8"
    for text in ('"qidoRoot":"/dicom-web"', '"wadoRoot":"/dicom-web"', '"routerBasename":"/viewer"', 'language = "vi"'):
        assert text in response.text
    assert "http" not in response.text
    assert "diagnos" not in response.text.lower()
    assert 'language = "en"' in app_config(texts("en"))


def test_the_viewer_leads_accounts_to_the_sign_in_and_holders_of_links_to_their_page() -> None:
    assert '"" || "/sign-in"' in app_config(texts("vi"))
    assert 'window.fetch("/profile/alive"' in app_config(texts("vi"))
    linked = app_config(texts("vi"), "/s")
    assert '"/s" || ' in linked
    # Who holds a link has no session that could be kept.
    assert "/profile" not in linked


def test_an_index_without_inline_scripts_has_a_policy_too() -> None:
    assert "script-src 'self' 'unsafe-eval' 'wasm-unsafe-eval';" in content_security_policy("<html></html>")
    assert rewrite_index('<a href="//elsewhere">', "vi") == '<a href="//elsewhere">'


# -- installation --------------------------------------------------------------------------------------------------


def _tarball(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return path


GOOD = {
    "package/dist/index.html": b"x",
    "package/dist/a/b.js": b"y",
    "package/dist/b.js.map": b"z",
    "package/README": b"",
}


def test_only_the_build_is_unpacked_without_maps_and_links(tmp_path: Path) -> None:
    tarball = _tarball(tmp_path / "p.tgz", GOOD, {"package/dist/link": "/etc/passwd"})
    assert unpack(tarball, tmp_path / "out", print) == 2
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert found == ["a/b.js", "index.html"]


@pytest.mark.parametrize("name", ["package/dist/../../evil", "package/dist/a/../../../../evil"])
def test_paths_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    tarball = _tarball(tmp_path / "p.tgz", {**GOOD, name: b"evil"})
    (tmp_path / "in").mkdir()
    with pytest.raises(SetupError, match="leads out"):
        unpack(tarball, tmp_path / "in" / "out", print)
    assert not list(tmp_path.rglob("evil"))


def test_a_package_without_a_build_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="holds no build"):
        unpack(_tarball(tmp_path / "p.tgz", {"package/README": b""}), tmp_path / "out", print)


def test_another_package_is_refused(tmp_path: Path) -> None:
    tarball = _tarball(tmp_path / "p.tgz", GOOD)
    digest = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    verify(tarball, f"sha512-{digest}")
    with pytest.raises(SetupError, match="not the package that was reviewed"):
        verify(tarball, viewer_setup.INTEGRITY)


def test_without_npm_the_reason_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert viewer_setup.main(["--to", str(tmp_path / "viewer")]) == 1
    assert "npm is not installed" in capsys.readouterr().err
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error network unreachable' >&2\nexit 1\n", encoding="utf-8")
    npm.chmod(0o755)
    assert viewer_setup.main(["--to", str(tmp_path / "viewer")]) == 1
    assert "network unreachable" in capsys.readouterr().err
    assert not is_installed(tmp_path / "viewer")
    assert [path.name for path in tmp_path.iterdir()] == ["npm"]


def test_what_is_installed_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    _build(tmp_path / "viewer")
    assert viewer_setup.main(["--to", str(tmp_path / "viewer")]) == 0


def test_a_package_is_fetched_into_a_folder_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`data_dir` may be relative, and is by default."""
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    assert fetch(Path("here"), "is-number@7.0.0").name == "is-number-7.0.0.tgz"
