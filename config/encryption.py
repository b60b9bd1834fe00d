"""How what lies on disks is encrypted."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Self

from pydantic import Field, model_validator

from config.section import Section

LOCAL_KEY: Final = "local"
"""The id of the key in ``data_dir/keys/local.key``, which `make run` makes."""


class EncryptionKey(Section):
    """A key that encrypts the keys of objects: in a file, or kept by a key management system behind a command."""

    id: str = Field(pattern=r"^[a-z0-9]{1,32}$")
    file: Path | None = None
    """32 random bytes in Base64."""
    command: tuple[str, ...] = ()
    """Program and arguments that wrap and unwrap; see `storage.encryption.key_encryption`."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.file is None) == (not self.command):
            raise ValueError(f"the encryption key {self.id!r} needs a file or a command, and not both")
        return self


class EncryptionSettings(Section):
    """Encryption of objects at rest."""

    active: str = LOCAL_KEY
    """The id of the key for new objects; empty: they are not encrypted."""
    keys: tuple[EncryptionKey, ...] = ()
    """All keys by which something is still encrypted, beside ``local``."""

    @model_validator(mode="after")
    def _active_is_listed(self) -> Self:
        ids = [key.id for key in self.keys]
        if len({*ids, LOCAL_KEY}) <= len(ids):
            raise ValueError(f"two encryption keys have the same id ({LOCAL_KEY!r} is the one in data_dir/keys)")
        if self.active and self.active not in (*ids, LOCAL_KEY):
            raise ValueError(f"active names the encryption key {self.active!r}, which is not listed under keys")
        return self
