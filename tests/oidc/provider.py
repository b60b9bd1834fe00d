"""The npm package oidc-provider on loopback: a real provider, configured by a test."""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.interop.npm import PROVIDER_LOCKED, install_provider

SECRET: Final = "a secret that only the two of us know"
CLIENT: Final = "pacs"


def key_pair(algorithm: str = "RS256") -> dict[str, Any]:
    """A private JWK with a name of its own."""
    private: Any
    if algorithm == "RS256":
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        made = jwt.algorithms.RSAAlgorithm.to_jwk(private, as_dict=True)
    else:
        private = ec.generate_private_key(ec.SECP256R1())
        made = jwt.algorithms.ECAlgorithm.to_jwk(private, as_dict=True)
    made.pop("key_ops", None)
    return {**made, "kid": uuid.uuid4().hex, "use": "sig", "alg": algorithm}


class RealProvider:
    """The server, and what it is told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self.issuer = self._out.readline().strip()
        self.users: dict[str, dict[str, Any]] = {}
        self.keys = [key_pair()]
        self.client: dict[str, Any] = {"client_id": CLIENT, "client_secret": SECRET}

    def configure(self, url: str = "", **client: Any) -> None:
        """With the archive at this address as its client."""
        if url:
            back = f"{url}/sign-in/oidc/real/back"
            self.client |= {"redirect_uris": [back], "post_logout_redirect_uris": [f"{url}/sign-in"]}
            self.client |= {"backchannel_logout_uri": f"{url}/sign-in/oidc/real/logout"}
            self.client |= {"backchannel_logout_session_required": True}
        self.client |= client
        self._in.write(json.dumps({"clients": [self.client], "keys": self.keys, "users": self.users}) + "\n")
        self._in.flush()
        # It has warnings of its own, such as that it keeps all in memory.
        line = self._out.readline()
        while line.strip() != "ready":
            assert line, "the provider has stopped"
            line = self._out.readline()


@contextmanager
def real_provider() -> Iterator[RealProvider]:
    """Run it for as long as the context lasts."""
    packages = install_provider()
    script = packages.parent / "server.mjs"
    shutil.copy(PROVIDER_LOCKED / "server.mjs", script)
    process = subprocess.Popen(
        ["node", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield RealProvider(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(120)
        assert process.stdout is not None
        process.stdout.close()


def sign_in_there(address: str, login: str, amr: str = "", *, there: httpx.Client | None = None) -> str:
    """What a person does at the provider, without a browser. Gives the address to which it sends them back."""
    with nullcontext(there) if there is not None else httpx.Client(timeout=30) as client:
        answer = client.get(address)
        while answer.status_code in (302, 303):
            target = str(answer.url.join(answer.headers["location"]))
            if "/sign-in/oidc/" in target:
                return target
            answer = client.get(target)
            if answer.status_code == 200 and "<form" in answer.text:
                answer = client.post(target, data={"login": login, "amr": amr})
        raise AssertionError(f"{answer.status_code}: {answer.text[:300]}")
