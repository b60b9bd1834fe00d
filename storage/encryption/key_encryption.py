"""Keys that encrypt keys (KEK). They never leave the file, or the key management system (KMS), in which they are.

A KMS is reached by a command, which need know nothing of this archive. It is called as ::

    COMMAND... wrap|unwrap KEY_ID LABEL

gets on its standard input a line of Base64 (32 random bytes to be wrapped; or what it gave for them), and prints the
result as a line of Base64 with exit code 0. LABEL is hexadecimal, and the same for both calls: a KMS that can should
bind it as encryption context. Any other exit code means that it cannot be done now; what it says on its standard error
is quoted in ours. It is called a few times in the life of a process, not for each object.
"""

from __future__ import annotations

import base64
import binascii
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.encryption.sealed import KEY_BYTES
from storage.errors import KeyUnavailable
from storage.flushing import flush_folder

COMMAND_SECONDS: Final = 30
_NONCE: Final = 12
_LONGEST: Final = 64 * 1024


class KeyEncryptionKey(Protocol):
    """Wraps volume keys. `label` must be the same for `unwrap` as it was for `wrap`."""

    id: str

    def wrap(self, key: bytes, label: bytes) -> bytes:
        """Encrypt a volume key. Raises `KeyUnavailable`."""

    def unwrap(self, wrapped: bytes, label: bytes) -> bytes:
        """Decrypt a volume key. Raises `KeyUnavailable`, also if it was wrapped by another key."""


class FileKey:
    """A key that stands in a file: 32 random bytes in Base64."""

    def __init__(self, key_id: str, path: Path) -> None:
        """Read the key. Raises `KeyUnavailable`."""
        self.id = key_id
        self._path = path
        try:
            text = path.read_bytes()
        except OSError as error:
            raise KeyUnavailable(f"the encryption key {key_id!r} cannot be read: {path}: {error.strerror}") from None
        try:
            secret = base64.b64decode(text.strip(), validate=True)
        except binascii.Error:
            secret = b""
        if len(secret) != KEY_BYTES:
            raise KeyUnavailable(f"{path} is no encryption key: it must hold {KEY_BYTES} bytes in Base64")
        self._aes = AESGCM(secret)

    def wrap(self, key: bytes, label: bytes) -> bytes:
        """Encrypt a volume key by AES-256-GCM."""
        nonce = os.urandom(_NONCE)
        return nonce + self._aes.encrypt(nonce, key, label)

    def unwrap(self, wrapped: bytes, label: bytes) -> bytes:
        """Decrypt a volume key. Raises `KeyUnavailable` if it is not of this key."""
        try:
            return self._aes.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], label)
        except (InvalidTag, ValueError):
            raise KeyUnavailable(
                f"{self._path} holds another key than the one of the name {self.id!r} by which was encrypted"
            ) from None


class CommandKey:
    """A key of which only a command knows; see the module."""

    def __init__(self, key_id: str, command: Sequence[str]) -> None:
        self.id = key_id
        self._command = tuple(command)

    def wrap(self, key: bytes, label: bytes) -> bytes:
        """Have a volume key encrypted. Raises `KeyUnavailable`."""
        return self._call("wrap", key, label)

    def unwrap(self, wrapped: bytes, label: bytes) -> bytes:
        """Have a volume key decrypted. Raises `KeyUnavailable`."""
        return self._call("unwrap", wrapped, label)

    def _call(self, verb: str, data: bytes, label: bytes) -> bytes:
        doing = f"the command of the encryption key {self.id!r} cannot {verb}"
        try:
            done = subprocess.run(
                [*self._command, verb, self.id, label.hex()],
                input=base64.b64encode(data) + b"\n",
                capture_output=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KeyUnavailable(f"{doing}: {type(error).__name__}") from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip()[-200:]
            raise KeyUnavailable(f"{doing}: exit code {done.returncode}: {said}")
        try:
            result = base64.b64decode(done.stdout.strip(), validate=True)
        except binascii.Error:
            result = b""
        if not result or len(result) > _LONGEST:
            raise KeyUnavailable(f"{doing}: what it printed is no Base64")
        return result


def write_new_key(path: Path) -> bool:
    """Make a key file that only its owner can read, durably; False if there is a file already. Raises `OSError`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            # Fails if the name is taken, unlike a rename: a key must never be overwritten.
            os.link(unfinished, path)
        except FileExistsError:
            return False
    finally:
        unfinished.unlink(missing_ok=True)
    for folder in (path.parent, path.parent.parent):
        flush_folder(folder)
    return True
