"""Serves the OHIF build under its path, with our configuration."""

from __future__ import annotations

import gzip
import mimetypes
import re
from functools import lru_cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from archive.errors import NotFound
from archive.people.roles import Right
from viewer_api.addresses import mount_of
from viewer_api.deps import ArchiveDep
from viewer_api.gate import ASKED, admit, known_caller
from viewer_api.pages.language import language_of, texts
from viewer_api.viewer_config import (
    CONFIG,
    MOUNT,
    app_config,
    content_security_policy,
    rewrite_index,
    rewrite_script,
    rewrite_style,
)
from viewer_api.viewer_setup import is_installed

router = APIRouter(prefix=MOUNT, include_in_schema=False, dependencies=[ASKED])

_FOREVER: Final = "public, max-age=31536000, immutable"
_A_DAY: Final = "public, max-age=86400"
_ASK_AGAIN: Final = "no-cache"
# File names with a hash of their content never change.
_HASHED = re.compile(r"(^|\.)[0-9a-f]{16}\.")
_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".jsonc": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
    ".ico": "image/x-icon",
}
_COMPRESSED: Final = frozenset({".js", ".mjs", ".css", ".svg", ".wasm", ".json", ".jsonc"})
# Would load code from another host.
_WITHHELD: Final = frozenset({"sw.js", "init-service-worker.js", "google.js", "_headers", "_redirects", "serve.json"})


@router.get("")
@router.get("/{path:path}")
def viewer(request: Request, archive: ArchiveDep, path: str = "") -> Response:
    """A file of the build; its page for every path that is a place inside of it."""
    root = archive.settings.viewer_dir
    # The build is on the npm registry for everybody to read; its page is for those who may see images.
    if path != CONFIG and (file := _file(root, path)) is not None:
        return _asset(file, "gzip" in request.headers.get("accept-encoding", ""))
    admit(known_caller(request), Right.VIEW)
    if not is_installed(root):
        raise NotFound("the viewer is not installed: run `python -m viewer_api.viewer_setup`")
    language, below = language_of(request), mount_of(request)
    if path == CONFIG:
        script = app_config(texts(language), below)
        return Response(script, headers={"Cache-Control": _ASK_AGAIN}, media_type=_TYPES[".js"])
    if path != "index.html" and "." in path.rsplit("/", 1)[-1]:
        raise NotFound("the viewer has no such file")
    return _page(root, language, below)


def _file(root: Path, path: str) -> Path | None:
    """The file that the path names, or None: also for what is outside of the build or not to be given out."""
    parts = path.split("/")
    if not path or path == "index.html" or path in _WITHHELD or any(part in ("", ".", "..") for part in parts):
        return None
    if "\0" in path or "\\" in path:
        return None
    file = root.joinpath(*parts)
    return file if file.is_file() and file.resolve().is_relative_to(root.resolve()) else None


def _page(root: Path, language: str, below: str) -> Response:
    html = rewrite_index((root / "index.html").read_text(encoding="utf-8"), language, below)
    headers = {"Cache-Control": _ASK_AGAIN, "Content-Security-Policy": content_security_policy(html)}
    return Response(html, headers=headers, media_type=_TYPES[".html"])


def _asset(file: Path, may_compress: bool) -> Response:
    suffix = file.suffix.lower()
    media_type = _TYPES.get(suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    headers = {"Cache-Control": _FOREVER if _HASHED.search(file.name) else _A_DAY}
    if suffix == ".js":
        # A worker is bound by the policy of its own script.
        headers["Content-Security-Policy"] = content_security_policy("")
    if suffix not in _COMPRESSED:
        return FileResponse(file, headers=headers, media_type=media_type)
    stat = file.stat()
    content = _compressed(file, stat.st_mtime_ns, stat.st_size)
    headers["Vary"] = "Accept-Encoding"
    if may_compress:
        headers["Content-Encoding"] = "gzip"
    else:
        content = gzip.decompress(content)
    return Response(content, headers=headers, media_type=media_type)


@lru_cache(maxsize=256)
def _compressed(file: Path, modified: int, size: int) -> bytes:
    """The file as served: rewritten, and compressed once for all. Kept by name, time and size.

    About 12 MB for the whole build; the first of its bundles takes half a second.
    """
    del modified, size
    content = file.read_bytes()
    if file.suffix == ".js":
        content = rewrite_script(content)
    elif file.suffix == ".css":
        content = rewrite_style(content)
    return gzip.compress(content, 6)
