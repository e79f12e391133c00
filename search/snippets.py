"""A question as a program would ask it: the same `POST search/`, for curl and for Python. Pure."""

from __future__ import annotations

import json
from pprint import pformat
from typing import Any

from search.query import Query, UploadedImagePart, to_json

PATH = "/api/v1/search/"
LINE = 88
SCRIPT = """\
{imports}

import requests

question = {question}
answer = requests.post(
    "{address}",
    headers={{"Authorization": "Bearer " + os.environ["LOUPE_KEY"]}},
{body}
    timeout=30,
)
answer.raise_for_status()
for hit in answer.json()["results"]:
    print(f"{{hit['match']:.0%}}  {{hit['band']:9}} {{hit['image']['title']}}")
"""


def curl(query: Query, base: str) -> str:
    """A command for a POSIX shell; the key comes from the variable LOUPE_KEY, a picture from a file beside it."""
    body = to_json(query.question())
    if names := _uploads(query):
        payload = _quoted(json.dumps(body, ensure_ascii=False))
        sent = [f"-F payload={payload}", *(f"-F {name}=@picture.jpg" for name in names)]
    else:
        sent = ["-H 'Content-Type: application/json'", f"-d {_quoted(_readable(body))}"]
    parts = ["curl -sS", '-H "Authorization: Bearer $LOUPE_KEY"', *sent, f'"{base}{PATH}"']
    return " \\\n  ".join(parts)


def python(query: Query, base: str) -> str:
    """A script that needs nothing but `requests`; key and picture as for `curl`."""
    names = _uploads(query)
    question = pformat(to_json(query.question()), width=LINE, sort_dicts=False)
    return SCRIPT.format(
        imports="import json\nimport os" if names else "import os",
        question=question,
        address=f"{base}{PATH}",
        body=_files(names) if names else "    json=question,",
    )


def _readable(body: Any) -> str:
    """JSON in one line where it is short."""
    line = json.dumps(body, ensure_ascii=False)
    return line if len(line) <= LINE else json.dumps(body, indent=2, ensure_ascii=False)


def _files(names: list[str]) -> str:
    files = ", ".join(f'"{name}": open("picture.jpg", "rb")' for name in names)
    return f'    data={{"payload": json.dumps(question)}},\n    files={{{files}}},'


def _uploads(query: Query) -> list[str]:
    parts = (*query.parts, *query.negatives)
    return list(dict.fromkeys(part.name for part in parts if isinstance(part, UploadedImagePart)))


def _quoted(text: str) -> str:
    """In single quotes, in which a shell reads everything as it stands."""
    return "'" + text.replace("'", "'\\''") + "'"
