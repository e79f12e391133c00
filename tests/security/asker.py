"""Another web process, as far as questions go: `python -m tests.security.asker`.

Reads one JSON line a question, {"path", "headers", "body"}, and answers it with one line, {"status", "text"}. It has
its own caches, frozen lists, samples and open indexes, all of which it keeps from question to question.
"""

# ruff: noqa: E402
from __future__ import annotations

import json
import sys

import django

django.setup()

from django.test import Client

from search import encoders
from tests.search.axes import NAME, AxesEncoder


def main() -> None:
    encoders.REGISTRY[NAME] = encoders.replace(encoders.DEMO, name=NAME)
    encoders._encoders[NAME] = AxesEncoder()
    client = Client(raise_request_exception=False)
    for line in sys.stdin:
        print(json.dumps(answer(client, json.loads(line))), flush=True)


def answer(client: Client, asked: dict) -> dict:
    headers = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in asked["headers"].items()}
    if asked["body"] is None:
        found = client.get(asked["path"], **headers)
    else:
        found = client.post(asked["path"], asked["body"], content_type="application/json", **headers)
    content = b"".join(found) if found.streaming else found.content
    return {"status": found.status_code, "text": content.decode("utf-8", "replace")}


if __name__ == "__main__":
    main()
