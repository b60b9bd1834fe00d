"""User identity (PS3.7 D.3.3.7): usernames with passcodes, and JSON Web Tokens.

A passcode is checked against its Argon2 hash, which costs time and memory on purpose. So that this cannot be turned
against the node, few are checked at once, a peer that fails several times is not listened to for a while, and what
proved right is remembered for some minutes as a keyed digest. Passcodes and tokens are never logged.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import Any, Final

import argon2
import jwt
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from config.logs import fields
from config.node import SYMMETRIC_ALGORITHMS, JWTSettings, NodeSettings
from config.watched import Watched
from dicom_node.negotiation import Identity, Rejection

log = logging.getLogger(__name__)

USERNAME, PASSCODE, JSON_WEB_TOKEN = 1, 2, 5
CHECKED_AT_ONCE: Final = 2
LONGEST_WAIT: Final = 5.0
"""Seconds that a request waits for its turn to be checked."""
REMEMBERED: Final = 600.0
"""Seconds for which a passcode that proved right is not hashed again."""
FREE_FAILURES: Final = 3
"""Failures in a row of one peer that cost it nothing but the rejection."""
LONGEST_BAN: Final = 300.0
"""Seconds; the ban doubles with each failure more, from one second."""
_MOST_KEPT: Final = 1000
_LONGEST_PASSCODE: Final = 1024
_LONGEST_TOKEN: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Identified:
    """Who uses the peer, and what is answered to that."""

    user: str = ""
    response: bytes | None = None


class Failures:
    """Failed attempts of each peer, and until when it is not listened to."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._of: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def banned(self, who: tuple[str, str]) -> bool:
        with self._lock:
            return self._of.get(who, (0, 0.0))[1] > self._clock()

    def add(self, who: tuple[str, str]) -> int:
        """Count one more; give how many it are in a row."""
        with self._lock:
            count = self._of.pop(who, (0, 0.0))[0] + 1
            ban = min(2.0 ** min(count - FREE_FAILURES, 16), LONGEST_BAN) if count >= FREE_FAILURES else 0.0
            self._of[who] = count, self._clock() + ban
            if len(self._of) > _MOST_KEPT:
                self._of.popitem(last=False)
            return count

    def forgive(self, who: tuple[str, str]) -> None:
        with self._lock:
            self._of.pop(who, None)


class Identities:
    """Checks user identities. For all threads."""

    def __init__(self, settings: NodeSettings) -> None:
        """Raises `ValueError` when the key file for tokens cannot be used."""
        self._hashes = {user.name: user.passcode_hash for user in settings.users}
        self._tokens = Tokens(settings.jwt) if settings.jwt.key_file is not None else None
        self._failures = Failures()
        self._proved = Proved()

    def check(self, identity: Identity | None, rule: str, address: str, ae_title: str) -> Identified | Rejection:
        """What to make of the identity in a request of an admitted peer, under the rule for it.

        Types that we do not support count as none (PS3.7 D.3.3.7): they get no positive response.
        """
        if rule == "ignore":
            return Identified()
        if identity is None or not self._supports(identity):
            if rule == "optional":
                return Identified()
            missing = "no identity" if identity is None else "a type that we do not support"
            return self._refused(ae_title, address, identity, missing)
        who = (address, ae_title)
        if self._failures.banned(who):
            return Rejection.TOO_MANY_FAILURES
        try:
            user = self._user(identity)
        except Wrong as error:
            count = self._failures.add(who)
            return self._refused(ae_title, address, identity, str(error), failures=count)
        except Busy:
            return Rejection.IDENTITY_CONGESTION
        self._failures.forgive(who)
        return Identified(user, b"" if identity.wants_response else None)

    def _refused(self, ae_title: str, address: str, identity: Identity | None, reason: str, **more: int) -> Rejection:
        facts = {"calling": ae_title, "address": address, "type": identity and identity.kind, "reason": reason, **more}
        log.warning("user identity refused", extra=fields(**facts))
        return Rejection.USER_IDENTITY

    def _supports(self, identity: Identity) -> bool:
        return identity.kind in (USERNAME, PASSCODE) or (identity.kind == JSON_WEB_TOKEN and self._tokens is not None)

    def _user(self, identity: Identity) -> str:
        """The name of the user. Raises `Wrong`, `Busy`."""
        if identity.kind == JSON_WEB_TOKEN:
            assert self._tokens is not None
            return printable(self._tokens.user(identity.primary))
        try:
            name = identity.primary.decode("utf-8")
        except UnicodeDecodeError:
            raise Wrong("the name is not UTF-8") from None
        expected = self._hashes.get(name)
        passcode = identity.secondary if identity.kind == PASSCODE else b""
        if expected == "":
            return printable(name)
        if identity.kind == USERNAME or not 0 < len(passcode) <= _LONGEST_PASSCODE:
            raise Wrong("no passcode")
        # Who is no user takes as long, so that names cannot be tried out.
        if not self._proved.right(name, expected or _nobody(), passcode) or expected is None:
            raise Wrong("wrong name or passcode")
        return printable(name)


class Wrong(Exception):
    """An identity that is not proved. The message says why, without what was shown."""


class Busy(Exception):
    """Too many passcodes are being checked."""


class Proved:
    """Passcodes against hashes, with a memory of those that were right, by a digest that only this process can make."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key = secrets.token_bytes(32)
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self._turns = threading.Semaphore(CHECKED_AT_ONCE)
        self._hasher = argon2.PasswordHasher()

    def right(self, name: str, expected: str, passcode: bytes) -> bool:
        """Whether the passcode is that of the hash. Raises `Busy`."""
        digest = hashlib.blake2b(
            b"".join(len(part).to_bytes(4, "big") + part for part in (name.encode(), expected.encode(), passcode)),
            key=self._key,
        ).digest()
        with self._lock:
            if self._until.get(digest, 0.0) > monotonic():
                return True
        if not self._turns.acquire(timeout=LONGEST_WAIT):
            raise Busy
        try:
            self._hasher.verify(expected, passcode)
        except argon2.exceptions.Argon2Error:
            return False
        finally:
            self._turns.release()
        with self._lock:
            self._until[digest] = monotonic() + REMEMBERED
            if len(self._until) > _MOST_KEPT:
                self._until.popitem(last=False)
        return True


@lru_cache(maxsize=1)
def _nobody() -> str:
    """A hash that no passcode fits."""
    return argon2.PasswordHasher().hash(secrets.token_bytes(32))


class Tokens:
    """JSON Web Tokens of one issuer for us (RFC 7519, RFC 8725)."""

    def __init__(self, settings: JWTSettings) -> None:
        """Raises `ValueError` when the key file cannot be used."""
        assert settings.key_file is not None
        path = settings.key_file
        self._settings = settings
        self._keys = Watched([path], lambda: _keys(path, symmetric=settings.algorithms[0] in SYMMETRIC_ALGORITHMS))

    def user(self, token: bytes) -> str:
        """Whom a token is about. Raises `Wrong`."""
        settings = self._settings
        if len(token) > _LONGEST_TOKEN:
            raise Wrong("a token that is too long")
        try:
            claims = jwt.decode(
                token,
                self._key(token),
                algorithms=list(settings.algorithms),
                issuer=settings.issuer,
                audience=settings.audience,
                leeway=settings.leeway,
                options={"require": ["exp", "iss", "aud"]},
            )
        except Wrong:
            raise
        except Exception as error:
            # Besides its own, PyJWT lets out what a token provokes in its libraries: TypeError, KeyError ...
            # The name of the kind says what is wrong; the message could quote the token.
            raise Wrong(f"token: {type(error).__name__}") from None
        name = claims.get(settings.name_claim)
        if not isinstance(name, str) or not name.strip():
            raise Wrong(f"a token without {settings.name_claim}")
        return name

    def _key(self, token: bytes) -> Any:
        """The key that a token names, or the only one there is."""
        keys = self._keys.get()
        named = jwt.get_unverified_header(token).get("kid")
        if named in keys:
            return keys[named]
        if len(keys) == 1 and (named is None or None in keys):
            return next(iter(keys.values()))
        raise Wrong("a token signed with a key that we do not have")


def _keys(path: Path, *, symmetric: bool) -> dict[str | None, Any]:
    """The keys of a file by their ``kid``: a JWKS, one public key in PEM, or a secret. Raises `ValueError`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"node.jwt.key_file {path}: {error.strerror}") from None
    try:
        if content.lstrip().startswith(b"{"):
            return {key.key_id: key for key in jwt.PyJWKSet.from_dict(json.loads(content)).keys}
        if symmetric:
            return {None: _secret(content)}
        if b"PRIVATE KEY" in content:
            raise ValueError("this is a private key, which the archive has no business to have")
        return {None: load_pem_public_key(content)}
    except (ValueError, jwt.PyJWTError) as error:
        raise ValueError(f"node.jwt.key_file {path}: {error}") from None


def _secret(content: bytes) -> bytes:
    secret = content.strip()
    if b"-----BEGIN" in secret:
        raise ValueError("a key in PEM is no secret")
    if len(secret) < 32:
        raise ValueError("a secret of less than 32 bytes")
    return secret


def printable(name: str) -> str:
    """A name as it may stand in a log: one line, not endless."""
    return re.sub(r"[^\w .@+=:/-]", "?", name)[:64]
