"""The second factor: codes by time (TOTP, RFC 6238), and recovery codes for who has lost the telephone."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import struct
from base64 import b32encode
from typing import Final
from urllib.parse import quote, urlencode

STEP_SECONDS: Final = 30
DIGITS: Final = 6
SECRET_BYTES: Final = 20
"""As long as the digest of HMAC-SHA-1 (RFC 4226 4)."""
RECOVERY_CODES: Final = 10
_STEPS_OFF: Final = 1
"""Steps by which a clock may differ (RFC 6238 5.2)."""
_RECOVERY_BYTES: Final = 10


def new_secret() -> bytes:
    return secrets.token_bytes(SECRET_BYTES)


def code_at(secret: bytes, step: int) -> str:
    """The code of a time step (RFC 4226 5.3)."""
    # SHA-1 is what every authenticator understands; HMAC does not need it to be free of collisions.
    digest = hmac.new(secret, struct.pack(">Q", step), hashlib.sha1).digest()
    offset = digest[-1] & 0xF
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def step_at(seconds: float) -> int:
    """The time step of a time in seconds since 1970."""
    return int(seconds) // STEP_SECONDS


def matching_step(secret: bytes, code: str, seconds: float, after: int) -> int | None:
    """The step that the code belongs to, if it is near now and later than `after`: no code is taken twice."""
    typed = re.sub(r"[\s-]", "", code)
    if not re.fullmatch(r"[0-9]{6}", typed):
        return None
    now = step_at(seconds)
    found = None
    for step in range(now - _STEPS_OFF, now + _STEPS_OFF + 1):
        if hmac.compare_digest(code_at(secret, step), typed) and step > after:
            found = step
    return found


def address(secret: bytes, name: str, issuer: str) -> str:
    """What the QR code says to an authenticator (the key URI format)."""
    label = quote(f"{issuer}:{name}", safe="")
    return f"otpauth://totp/{label}?{urlencode({'secret': text(secret), 'issuer': issuer}, quote_via=quote)}"


def text(secret: bytes) -> str:
    """The secret as it is typed where no QR code can be read."""
    return b32encode(secret).decode().rstrip("=")


def new_recovery_codes() -> list[str]:
    """Codes of 80 bits, each good for one sign-in; in groups, to be written down."""
    return [_grouped(b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode().lower()) for _ in range(RECOVERY_CODES)]


def recovery_digest(code: str) -> str:
    """What is kept of a recovery code. They are random and long, so that a plain digest tells nothing."""
    return hashlib.sha256(re.sub(r"[\s-]", "", code).lower().encode()).hexdigest()


def _grouped(code: str) -> str:
    return "-".join(code[at : at + 4] for at in range(0, len(code), 4))
