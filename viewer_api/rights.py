"""Who may do what over HTTP. Until users sign in, the settings say it for all who reach the port."""

from __future__ import annotations

from fastapi import Request

from archive.errors import NotPermitted
from viewer_api.deps import get_archive


def may_reject(request: Request) -> None:
    """Let through who may hide instances by DICOMweb. Raises `NotPermitted` (403)."""
    if not get_archive(request).settings.web.rejects:
        raise NotPermitted(
            "nothing can be deleted or rejected here: web.rejects opens that, for all who reach this address; "
            "`python -m archive rejections reject` does it by hand"
        )
