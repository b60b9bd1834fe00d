"""Addresses as clients put them together: with slashes too many, and UIDs padded as they stand in files (PS3.5 9.1).

Answered as what they mean, at once: not every client follows a redirection, and none likes to send its images twice.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from viewer_api.addresses import DICOMWEB


def tidied(path: str) -> str:
    """The path without empty segments, and without spaces and NULs behind the others; what is not ours stays."""
    segments = [segment.rstrip(" \0") for segment in path.split("/")]
    tidy = "/" + "/".join(segment for segment in segments if segment)
    return tidy if tidy == DICOMWEB or tidy.startswith(DICOMWEB + "/") else path


class TidyPaths:
    """Has everything behind it see the tidy path. The outermost, so that all agree on which resource it is."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = tidied(scope["path"]) if "path" in scope else ""
        await self.app({**scope, "path": path} if path else scope, receive, send)
