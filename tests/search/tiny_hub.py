"""A model hub on a loopback port: as much of the protocol as a download of one repository needs."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMITS = {"main": "a" * 40, "refs/pr/7": "b" * 40}


class TinyHub:
    """Serves `folder`; weights are listed only at the revision `weights_at`, with the checksum `announced`."""

    def __init__(self, folder: Path, weights_at: str = "main", announced: str = "") -> None:
        self.folder, self.weights_at, self.announced = folder, weights_at, announced
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def do_GET(self) -> None:
                hub.answer(self, body=True)

            def log_message(self, *args) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, body: bool) -> None:
        path = unquote(urlsplit(request.path).path)
        for word, reply in (("/revision/", self.info), ("/tree/", self.tree)):
            if path.startswith("/api/") and word in path:
                return self.send_json(request, reply(path.split(word, 1)[1]), body)
        if path.endswith("/discussions"):
            return self.send_json(request, self.discussions(), body)
        return self.send_file(request, path.split("/resolve/", 1)[-1], body)

    def names(self, revision: str) -> list[str]:
        commit = COMMITS[self.weights_at]
        with_weights = revision in (self.weights_at, commit)
        names = sorted(path.name for path in self.folder.iterdir())
        return [name for name in names if with_weights or not name.endswith(".safetensors")]

    def entry(self, name: str) -> tuple[int, str]:
        data = (self.folder / name).read_bytes()
        return len(data), self.announced or hashlib.sha256(data).hexdigest()

    def info(self, revision: str) -> dict:
        siblings = []
        for name in self.names(revision):
            size, sha256 = self.entry(name)
            lfs = {"lfs": {"size": size, "sha256": sha256, "pointerSize": 1}} if "model." in name else {}
            siblings.append({"rfilename": name, "size": size, "blobId": "0" * 40, **lfs})
        name = "openai/clip-vit-base-patch32"
        return {"id": name, "modelId": name, "sha": COMMITS.get(revision, revision), "siblings": siblings}

    def tree(self, revision: str) -> list[dict]:
        return [
            {"type": "file", "path": name, "size": self.entry(name)[0], "oid": "0" * 40}
            for name in self.names(revision)
        ]

    def discussions(self) -> dict:
        pull = {
            "num": 7,
            "title": "Adding safetensors",
            "status": "open",
            "isPullRequest": True,
            "author": {"name": "SFconvertbot"},
            "repo": {"name": "openai/clip-vit-base-patch32", "type": "model"},
            "repoOwner": {"name": "openai"},
            "createdAt": "2023-01-01T00:00:00.000Z",
        }
        found = [pull] if self.weights_at == "refs/pr/7" else []
        return {"discussions": found, "count": len(found), "start": 0, "numClosedDiscussions": 0}

    def send_json(self, request: BaseHTTPRequestHandler, value: object, body: bool) -> None:
        self.send(request, 200, json.dumps(value).encode(), {"Content-Type": "application/json"}, body)

    def send_file(self, request: BaseHTTPRequestHandler, rest: str, body: bool) -> None:
        name = rest.rsplit("/", 1)[-1]
        if name not in self.names(rest.rsplit("/", 1)[0]):
            return self.send(request, 404, b"", {"X-Error-Code": "EntryNotFound"}, body)
        data = (self.folder / name).read_bytes()
        revision = rest.rsplit("/", 1)[0]
        headers = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": COMMITS.get(revision, revision),
        }
        return self.send(request, 200, data, headers, body)

    def send(
        self, request: BaseHTTPRequestHandler, status: int, data: bytes, headers: dict, body: bool
    ) -> None:
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            request.send_header(name, value)
        request.end_headers()
        if body:
            request.wfile.write(data)
