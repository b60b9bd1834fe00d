"""Names that a research project gives to patients and objects: the same at each export, of no meaning to anybody else.

All are made by HMAC-SHA256 with the key of the project. Whoever has the key can find out by trying whose pseudonym it
is, so that a finding can be told to the patient; when it is deleted nobody can.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
import uuid
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from archive.errors import NotFound, NotPermitted

NAME: Final = re.compile(r"[A-Z][A-Z0-9]{1,11}")
_KEY_BYTES: Final = 32
# Ten years back at most, and never less than a year: a date of the same year would be too good a guess.
_LEAST_SHIFT: Final = 366
_MOST_SHIFT: Final = 3653


@dataclass(frozen=True, slots=True)
class Project:
    """A project and its key."""

    name: str
    key: bytes = field(repr=False)

    @classmethod
    def open(cls, name: str, path: Path) -> Project:
        """The project whose key is in this file. Raises `NotFound`, `NotPermitted` for a bad name or file."""
        _check_name(name)
        try:
            key = base64.b64decode(path.read_bytes().strip(), validate=True)
        except FileNotFoundError:
            raise NotFound(f"there is no project {name}: its key {path} does not exist; --new makes one") from None
        except (OSError, binascii.Error) as error:
            raise NotPermitted(f"the key of the project {name} cannot be read: {error}") from None
        if len(key) != _KEY_BYTES:
            raise NotPermitted(f"{path} is no key of a project")
        return cls(name, key)

    def patient(self, issuer: str, patient_id: str) -> Patient:
        """The pseudonym of a patient, who is known by number and its issuer."""
        digest = self._digest("patient", issuer, patient_id)
        pseudonym = f"{self.name}-{base64.b32encode(digest[:10]).decode()}"
        span = _MOST_SHIFT - _LEAST_SHIFT + 1
        return Patient(pseudonym, -(_LEAST_SHIFT + int.from_bytes(digest[16:24], "big") % span))

    def uid(self, uid: str) -> str:
        """The UID in the place of another (PS3.5 B.2); those of the standard itself stay."""
        uid = uid.strip(" \0")
        if not uid or uid.startswith("1.2.840.10008."):
            return uid
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', uid)[:16], version=4).int}"

    def _digest(self, *parts: str) -> bytes:
        # Lengths first, so that no two lists of parts are the same message.
        message = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
        return hmac.digest(self.key, message, "sha256")


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient as a project sees them."""

    pseudonym: str
    shift: int
    """Days by which all dates of the patient are moved, so that what lies between them stays."""

    def moved(self, value: str) -> str:
        """A DA or DT value moved; empty if it is none, or none that can be moved."""
        match = re.fullmatch(r"(\d{4})\.?(\d{2})\.?(\d{2})(.*)", value.strip(" \0"), re.DOTALL)
        if match is None:
            return ""
        try:
            day = date(int(match[1]), int(match[2]), int(match[3])) + timedelta(days=self.shift)
        except (ValueError, OverflowError):
            return ""
        rest = match[4] if re.fullmatch(r"[\d.+-]*", match[4]) else ""
        return f"{day:%Y%m%d}".rjust(8, "0") + rest


def new_key(name: str, path: Path) -> None:
    """Make the key of a new project, for its owner alone. Raises `NotPermitted` if there is a file already."""
    _check_name(name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise NotPermitted(f"the project {name} has a key already: {path}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(os.urandom(_KEY_BYTES)) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise NotPermitted(f"{name!r} is no name of a project: 2 to 12 capital letters and digits, a letter first")
