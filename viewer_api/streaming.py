"""Responses whose body is made by a plain generator, in a worker thread, while it is sent.

A client never takes a cut response for a whole one: an error in the middle aborts the connection, so that the
promised length or the last chunk is missing (RFC 9112 8).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from itertools import islice
from typing import Final

import anyio
from anyio import to_thread
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from archive.errors import ArchiveError
from config.logs import fields

log = logging.getLogger(__name__)

# Each piece costs a change of threads: small ones are joined, and a slow client holds a few of them at most.
PIECE: Final = 1 << 20
# What is made while it is sent has no parts to ask for (RFC 9110 14.3).
NO_PARTS: Final = {"Accept-Ranges": "none"}


class ResponseAborted(Exception):
    """The body could not be finished. The server drops the connection; the reason is in the log."""


def pieces(chunks: Generator[bytes, None, None], size: int = PIECE) -> Generator[bytes, None, None]:
    """Join small chunks to pieces of about `size` bytes. Closes `chunks` when it is itself closed."""
    held: list[bytes] = []
    count = 0
    try:
        for chunk in chunks:
            held.append(chunk)
            count += len(chunk)
            if count >= size:
                yield held[0] if len(held) == 1 else b"".join(held)
                held, count = [], 0
        if held:
            yield b"".join(held)
    finally:
        chunks.close()


class GeneratorResponse(StreamingResponse):
    """Sends what a plain generator yields and closes the generator in every case, also if it never starts."""

    def __init__(
        self,
        first: Sequence[bytes],
        body: Generator[bytes, None, None],
        length: int | None,
        status: int,
        headers: dict[str, str],
    ) -> None:
        super().__init__(self._pieces(first, length), status_code=status, headers=headers)
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Readers of the store are closed with the generator; a client that left must not keep that from happening.
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._body.close)

    async def _pieces(self, first: Sequence[bytes], length: int | None) -> AsyncGenerator[bytes, None]:
        sent = 0
        try:
            for made in first:
                sent += len(made)
                yield made
            while (piece := await to_thread.run_sync(next, self._body, None)) is not None:
                sent += len(piece)
                yield piece
        except ArchiveError as error:
            log.error("response aborted", extra=fields(sent=sent, error=type(error).__name__, reason=str(error)))
            raise ResponseAborted(type(error).__name__) from error
        except Exception as error:
            # Its message may quote the dataset; the outermost middleware logs type and place.
            raise ResponseAborted(type(error).__name__) from error
        if length is not None and sent != length:
            log.error("response aborted", extra=fields(sent=sent, announced=length))
            raise ResponseAborted(f"{sent} bytes were made of {length} announced")


def stream(
    chunks: Generator[bytes, None, None],
    media_type: str,
    *,
    length: int | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Send the chunks as they come.

    The first pieces are made before this returns, in the thread of the handler: an error up to there becomes a
    proper problem response, and what is small is sent in one go with its length.
    """
    body = pieces(chunks)
    first = list(islice(body, 2))
    sent = {**NO_PARTS, **(headers or {}), "Content-Type": media_type}
    if len(first) < 2 and (length is None or length == sum(map(len, first))):
        return Response(b"".join(first), status_code=status, headers=sent)
    if length is not None:
        sent["Content-Length"] = str(length)
    return GeneratorResponse(first, body, length, status, sent)
