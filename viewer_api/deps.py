"""What route handlers ask for."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from archive.core import Archive


def get_archive(request: Request) -> Archive:
    """The archive that this process serves."""
    return cast(Archive, request.app.state.archive)


ArchiveDep = Annotated[Archive, Depends(get_archive)]
