"""Signed tokens (JWT, RFC 7519), checked by the keys of whoever must have signed them (RFC 8725).

What is accepted is a list of ours, never what a token says of itself, and has key pairs only: a token without a
signature, or one made with a public key as if it were a secret, is none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

Key = dict[str, Any]
"""A JSON Web Key (RFC 7517)."""
LONGEST: Final = 16_384
"""Characters of a token."""
LEAST_BITS: Final = 2048
"""Of an RSA key (RFC 7518 3.3)."""
_FAMILIES: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_PRIVATE: Final = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "k"))


class BadToken(Exception):
    """The token is not to be trusted. The message says why, for the audit trail."""


class BadKey(ValueError):
    """This is no public key that signatures could be checked with."""


def head(token: str, algorithms: Sequence[str]) -> tuple[str, str | None]:
    """How it is signed, and the name of the key, before anything is believed. Raises `BadToken`."""
    if len(token) > LONGEST:
        raise BadToken("the token is too long")
    try:
        found = jwt.get_unverified_header(token)
    except jwt.InvalidTokenError:
        raise BadToken("this is no token") from None
    algorithm, kid = found.get("alg"), found.get("kid")
    if algorithm not in algorithms:
        raise BadToken("the token is signed in a way that does not count (alg)")
    if "crit" in found or not (kid is None or isinstance(kid, str)):
        raise BadToken("the head of the token cannot be understood")
    return str(algorithm), kid


def claims(
    token: str,
    keys: Sequence[Key],
    algorithm: str,
    *,
    audience: str | Sequence[str],
    issuer: str,
    leeway: float,
    required: Sequence[str],
) -> dict[str, Any]:
    """What it says, if one of the keys has signed it so, for this audience, and it holds now. Raises `BadToken`."""
    fitting = [key for key in keys if _fits(key, algorithm)]
    refused = "there is no such key (kid)"
    for key in fitting:
        try:
            found: dict[str, Any] = jwt.decode(
                token,
                jwt.PyJWK(key, algorithm=algorithm),
                algorithms=[algorithm],
                audience=audience,
                issuer=issuer,
                leeway=leeway,
                options={"require": list(required)},
            )
        except (jwt.PyJWTError, UnsupportedAlgorithm) as error:
            refused = f"the token does not hold: {error}"
        else:
            return found
    raise BadToken(refused)


def public_keys(text: str) -> list[Key]:
    """The keys of a JWK set, a JWK or a PEM file. Raises `BadKey`, also for a private one."""
    if "-----BEGIN" in text:
        if "PRIVATE" in text:
            raise BadKey("this is a private key: keep it, and give the public one")
        parts = text.split("-----END PUBLIC KEY-----")
        return [_from_pem(f"{part.strip()}\n-----END PUBLIC KEY-----\n") for part in parts if "-----BEGIN" in part]
    try:
        found = json.loads(text)
    except ValueError:
        raise BadKey("this is neither PEM nor JSON") from None
    listed = found.get("keys", [found]) if isinstance(found, dict) else None
    if not isinstance(listed, list) or not listed or not all(isinstance(each, dict) for each in listed):
        raise BadKey("this is no JWK set")
    return [_checked(each) for each in listed]


def _from_pem(text: str) -> Key:
    try:
        loaded = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise BadKey("this PEM holds no public key") from None
    if isinstance(loaded, RSAPublicKey):
        made = jwt.algorithms.RSAAlgorithm.to_jwk(loaded, as_dict=True)
    elif isinstance(loaded, EllipticCurvePublicKey):
        made = jwt.algorithms.ECAlgorithm.to_jwk(loaded, as_dict=True)
    elif isinstance(loaded, Ed25519PublicKey | Ed448PublicKey):
        made = jwt.algorithms.OKPAlgorithm.to_jwk(loaded, as_dict=True)
    else:
        raise BadKey("keys are RSA, EC or Ed25519")
    return _checked({name: value for name, value in made.items() if name != "key_ops"})


def _checked(key: Key) -> Key:
    if _PRIVATE & key.keys():
        raise BadKey("this is a private or a secret key: keep it, and give the public one")
    if key.get("kty") not in _FAMILIES.values() or key.get("use", "sig") != "sig":
        raise BadKey("keys are RSA, EC or Ed25519, for signatures")
    try:
        loaded = jwt.PyJWK(key).key
    except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError):
        raise BadKey("this is no key that is whole") from None
    if isinstance(loaded, RSAPublicKey) and loaded.key_size < LEAST_BITS:
        raise BadKey(f"an RSA key has at least {LEAST_BITS} bits")
    return key


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    """Whether a key is meant for signatures of this kind."""
    return (
        key.get("kty") == _FAMILIES[algorithm[:2]]
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
    )
