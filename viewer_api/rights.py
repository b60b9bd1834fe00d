"""What a right alone does not decide."""

from __future__ import annotations

from fastapi import Request

from archive.errors import NotPermitted
from archive.people.caller import Kind
from viewer_api.deps import get_archive
from viewer_api.gate import known_caller


def may_reject(request: Request) -> None:
    """Let through who may hide instances by DICOMweb: whoever has signed in and has the right (`gate.needs`).

    Where nobody is asked who they are, the settings must open it. Raises `NotPermitted` (403).
    """
    if known_caller(request).kind is Kind.ANYBODY and not get_archive(request).settings.web.rejects:
        raise NotPermitted(
            "nothing can be deleted or rejected here: web.rejects opens that, for all who reach this address; "
            "`python -m archive rejections reject` does it by hand"
        )
