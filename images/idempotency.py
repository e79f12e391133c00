"""`Idempotency-Key`: a POST that was answered is answered the same way again for 24 hours, and done once.

    none ──begin──▶ in flight ──keep──▶ answered (24 h)
                        └──release (the request failed: nothing was done, so it may be tried again)

The answer is kept per principal with the rights that it was given under: other rights are told nothing of it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from django.core.cache import cache
from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response

from images.access import Principal
from images.problems import Problem

HEADER = "Idempotency-Key"
KEPT_SECONDS = 24 * 3600
IN_FLIGHT_SECONDS = 300  # longer than any request may take; a process that died frees the key by then
ACCEPTED = re.compile(r"[\x21-\x7e]{1,255}\Z")
REPLAYED_HEADERS = ("Location", "ETag")


class Replay(Exception):
    """The answer that was given before."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


def begin(request: Request, principal: Principal) -> str | None:
    """Claim the request's key; returns the cache key to `keep` or `release`, None where the client sent none.

    Raises Replay with the earlier answer, or Problem: 409 in flight or other rights, 422 another request.
    """
    text = request.headers.get(HEADER)
    if text is None:
        return None
    if not ACCEPTED.match(text):
        raise Problem(400, "invalid", _("Send 1 to 255 visible ASCII characters."), f"/{HEADER}")
    who = f"key-{principal.key_id}" if principal.key_id else f"user-{principal.user_id}"
    slot = f"idempotency:{who}:{hashlib.sha256(text.encode()).hexdigest()}"
    mark = _fingerprint(request)
    if cache.add(slot, _dump({"mark": mark}), IN_FLIGHT_SECONDS):
        return slot
    _answer_again(cache.get(slot), mark, principal)
    return None


def keep(
    slot: str, request: Request, response: Response, principal: Principal, unrepeated: Iterable[str]
) -> None:
    """Remember the answer without the fields of `unrepeated`, which are told once."""
    data = response.data
    if isinstance(data, dict):
        data = {name: None if name in unrepeated else value for name, value in data.items()}
    answer = {
        "mark": _fingerprint(request),
        "rights": principal.rights_key,
        "status": response.status_code,
        "data": data,
        "headers": {name: response[name] for name in REPLAYED_HEADERS if name in response},
    }
    cache.set(slot, _dump(answer), KEPT_SECONDS)


def release(slot: str) -> None:
    cache.delete(slot)


def _answer_again(kept: str | None, mark: str, principal: Principal) -> None:
    earlier: dict[str, Any] = json.loads(kept) if kept else {"mark": mark}
    if earlier["mark"] != mark:
        message = _("This Idempotency-Key was used for another request.")
        raise Problem(422, "idempotency_key_reused", message, f"/{HEADER}")
    if "status" not in earlier:
        message = _("The first request with this Idempotency-Key is still under way.")
        raise Problem(409, "idempotency_in_flight", message, f"/{HEADER}", Retry_After="2")
    if earlier["rights"] != principal.rights_key:
        message = _("Your rights have changed since the first request with this Idempotency-Key.")
        raise Problem(409, "idempotency_rights_changed", message, f"/{HEADER}")
    headers = {**earlier["headers"], "Idempotency-Replayed": "true"}
    raise Replay(Response(earlier["data"], earlier["status"], headers=headers))


def _fingerprint(request: Request) -> str:
    """A digest of method, address and body: fields by value, files by content."""
    digest = hashlib.sha256(f"{request.method} {request.get_full_path()}\n".encode())
    data: Any = request.data
    if hasattr(data, "lists"):
        for name, values in sorted(data.lists()):
            digest.update(
                _dump([name, [v if isinstance(v, str) else _file_digest(v) for v in values]]).encode()
            )
    else:
        digest.update(_dump(data).encode())
    return digest.hexdigest()


def _file_digest(file: Any) -> str:
    file.seek(0)
    found = hashlib.file_digest(file.file, "sha256").hexdigest()
    file.seek(0)
    return found


def _dump(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
