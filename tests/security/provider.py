"""A small OpenID Connect provider that speaks the real protocol over HTTP: discovery, code with PKCE, signed identity
token, userinfo. Whoever comes to its sign-in page is the person that `claims` says."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT, SECRET = "loupe", "a secret of the two servers"


class Provider(BaseHTTPRequestHandler):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    claims: dict[str, Any] = {}
    codes: dict[str, dict[str, str]] = {}

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        asked = dict(parse_qsl(parts.query))
        if parts.path == "/authorize":
            return self._authorize(asked)
        pages = {
            "/.well-known/openid-configuration": self._configuration,
            "/jwks": lambda: {
                "keys": [jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)]
            },
            "/userinfo": lambda: self.claims,
        }
        self._say(pages[parts.path]())

    def do_POST(self) -> None:
        sent = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        asked = self.codes.pop(sent["code"], None)
        proof = base64.urlsafe_b64encode(hashlib.sha256(sent.get("code_verifier", "").encode()).digest())
        sound = asked is not None and asked["code_challenge"] == proof.decode().rstrip("=")
        if not sound or (sent["client_id"], sent["client_secret"]) != (CLIENT, SECRET):
            return self._say({"error": "invalid_grant"}, 400)
        now = int(time.time())
        told = {**self.claims, "iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 60}
        token = jwt.encode(told, self.key, "RS256")
        self._say({"access_token": "opaque", "token_type": "Bearer", "expires_in": 60, "id_token": token})

    @property
    def issuer(self) -> str:
        return "http://{}:{}".format(*self.server.server_address[:2])

    def _authorize(self, asked: dict[str, str]) -> None:
        code = secrets.token_urlsafe(8)
        self.codes[code] = asked
        self.send_response(302)
        self.send_header(
            "Location", f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"
        )
        self.end_headers()

    def _configuration(self) -> dict[str, Any]:
        places = {"authorization": "authorize", "token": "token", "userinfo": "userinfo"}
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/jwks",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            **{f"{name}_endpoint": f"{self.issuer}/{path}" for name, path in places.items()},
        }

    def _say(self, answer: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Tests are quiet."""


@contextmanager
def providing() -> Iterator[str]:
    """The issuer's address while it runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
