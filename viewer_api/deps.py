"""What route handlers ask for."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from archive.core import Archive


def get_archive(request: Request) -> Archive:
    """The archive that this process serves."""
    return cast(Archive, request.app.state.archive)


async def archive_dependency(request: Request) -> Archive:
    """The same as a coroutine: a dependency that is a plain function is called in a thread, which takes longer than
    what a frame needs of the index."""
    return get_archive(request)


ArchiveDep = Annotated[Archive, Depends(archive_dependency)]
