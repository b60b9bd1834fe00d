"""What the operating system says when a disk does not take or give bytes, as errors of the store."""

from __future__ import annotations

import errno
import os

from storage.errors import StorageUnavailable

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file size limit is reached",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "operation not permitted",
    errno.EIO: "the disk reported an input/output error",
    errno.EMFILE: "too many open files in this process",
    errno.ENFILE: "too many open files on this machine",
    errno.ESTALE: "the network file system lost the file",
}


def unavailable(doing: str, error: OSError) -> StorageUnavailable:
    """The error to raise (``from`` the cause) for `error` met while `doing` something, with the reason in words."""
    number = error.errno or 0
    reason = _REASONS.get(number) or error.strerror or os.strerror(number)
    return StorageUnavailable(f"{doing}: {reason} ({errno.errorcode.get(number, 'unknown error')})")
