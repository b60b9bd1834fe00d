"""A provider that can lie: real HTTP on loopback, and tokens as a test wants them."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt

from tests.oidc.provider import CLIENT, key_pair

Change = Callable[[dict[str, Any]], Any]


class LyingProvider:
    """Answers as it should, unless a test changes what it says."""

    def __init__(self) -> None:
        self.issuer = ""
        self.keys = [key_pair()]
        self.metadata: dict[str, Any] = {}
        self.claims: dict[str, Any] = {"sub": "s-1", "preferred_username": "lan", "name": "Trần Thị Lan"}
        self.user: dict[str, Any] = {}
        self.head: dict[str, Any] = {}
        self.asked: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.raw: str | None = None
        """The identity token, in place of one that is made."""
        self.status = 200
        self.nonce = ""

    @property
    def public(self) -> list[dict[str, Any]]:
        hidden = {"d", "p", "q", "dp", "dq", "qi", "oth"}
        return [{name: value for name, value in key.items() if name not in hidden} for key in self.keys]

    def token(self, key: dict[str, Any] | None = None, algorithm: str = "RS256", **changes: Any) -> str:
        """A token with these changes; what is None is left out."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": self.nonce}
        claims = {name: value for name, value in {**claims, **self.claims, **changes}.items() if value is not None}
        used = key or self.keys[0]
        head = {"kid": used["kid"], **self.head}
        return jwt.encode(claims, jwt.PyJWK(used, algorithm=algorithm).key, algorithm, headers=head)

    def logout_token(self, **changes: Any) -> str:
        """One for back-channel logout."""
        event = {"http://schemas.openid.net/event/backchannel-logout": {}}
        claims = {"nonce": None, "events": event, "jti": uuid.uuid4().hex, "preferred_username": None, "name": None}
        return self.token(**{**claims, **changes})

    def answer(self, path: str) -> tuple[int, Any]:
        if path == "/.well-known/openid-configuration":
            addresses = {"authorization_endpoint": "/auth", "token_endpoint": "/token", "jwks_uri": "/jwks"}
            found: dict[str, Any] = {name: self.issuer + place for name, place in addresses.items()}
            found |= {"issuer": self.issuer, "userinfo_endpoint": f"{self.issuer}/me"}
            return 200, found | self.metadata
        if path == "/jwks":
            return 200, {"keys": self.public}
        if path == "/token":
            raw = self.raw if self.raw is not None else self.token()
            return self.status, {"id_token": raw, "access_token": "access", "token_type": "Bearer"}
        return 200, self.user


@contextmanager
def lying_provider() -> Iterator[LyingProvider]:
    """Run it for as long as the context lasts."""
    provider = LyingProvider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            provider.forms.append({name: values[0] for name, values in parse_qs(body).items()})
            self._answer()

        def _answer(self) -> None:
            provider.asked.append(self.path)
            status, content = provider.answer(urlsplit(self.path).path)
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.issuer = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, name="lying provider")
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
