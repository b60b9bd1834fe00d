"""Compression of answers on their way out, for whoever takes it (RFC 9110 8.4, 12.5.3)."""

from __future__ import annotations

from typing import Final

from starlette.middleware.gzip import GZipMiddleware, GZipResponder, IdentityResponder
from starlette.types import ASGIApp, Receive, Scope, Send

from viewer_api.media_types import takes_gzip

# Only text gains from compression; image data are compressed or not worth the time, and streams must not be held.
_NOT_COMPRESSED: Final = (
    "application/dicom",
    "application/octet-stream",
    "application/pdf",
    "application/wasm",
    "application/zip",
    "audio/*",
    "font/*",
    "image/*",
    "multipart/*",
    "text/event-stream",
    "video/*",
)
_SMALLEST_COMPRESSED: Final = 1024
_LEVEL: Final = 5


class Compression(GZipMiddleware):
    """As Starlette's, but by what Accept-Encoding means: ``gzip;q=0`` refuses gzip, ``*`` allows it."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, _SMALLEST_COMPRESSED, _LEVEL, exclude_content_types=_NOT_COMPRESSED)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # The header may be repeated, which is the same as a list.
        given = b",".join(value for name, value in scope["headers"] if name == b"accept-encoding")
        responder = (
            GZipResponder(self.app, self.minimum_size, self.compresslevel, exclude_content_types=_NOT_COMPRESSED)
            if takes_gzip(given.decode("latin-1"))
            else IdentityResponder(self.app, self.minimum_size, exclude_content_types=_NOT_COMPRESSED)
        )
        await responder(scope, receive, send)
