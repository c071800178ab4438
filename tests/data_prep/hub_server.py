"""The part of the Hugging Face hub's protocol that reading a data set needs, on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "c0ffee" * 6 + "c0ff"


class HubServer(ThreadingHTTPServer):
    """Serves `files` (content by path) as the data set `name`; `asked` are the requests."""

    def __init__(self, name: str, files: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name, self.files, self.asked = name, dict(files), []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def tree(self, folder: str) -> list[dict]:
        """Files and folders below `folder`, at any depth."""
        paths = [p for p in self.files if p.startswith(f"{folder}/" if folder else "")]
        folders = {p.rpartition("/")[0] for p in paths} - {folder, ""}
        found = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": p} for p in folders]
        for path in paths:
            size = len(self.files[path])
            found.append({"type": "file", "oid": _digest(path), "size": size, "path": path})
        return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server: HubServer = self.server  # type: ignore[assignment]
        path = unquote(self.path.partition("?")[0])
        server.asked.append((self.command, path))
        info, files = f"/api/datasets/{server.name}", f"/datasets/{server.name}/resolve/"
        if path.startswith(f"{info}/tree/"):
            found = server.tree(path.removeprefix(f"{info}/tree/").partition("/")[2])
            self._json(found) if found else self._missing("EntryNotFound")
        elif path == info or path.startswith(f"{info}/revision/"):
            siblings = [{"rfilename": p} for p in server.files]
            self._json({"id": server.name, "sha": COMMIT, "siblings": siblings, "gated": False})
        elif path.startswith(files):
            self._file(path.removeprefix(files).partition("/")[2])
        else:
            self._missing("RepoNotFound")

    do_HEAD = do_GET

    def _file(self, name: str) -> None:
        server: HubServer = self.server  # type: ignore[assignment]
        if name not in server.files:
            self._missing("EntryNotFound")
            return
        data, headers = server.files[name], {"ETag": f'"{_digest(name)}"'}
        asked = self.headers.get("Range")
        if asked is None:
            self._reply(200, data, headers)
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(data)), len(data) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        self._reply(206, data[start : end + 1], headers)

    def _json(self, value: object) -> None:
        self._reply(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _missing(self, code: str) -> None:
        self._reply(404, b"{}", {"X-Error-Code": code})

    def _reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        lengths = {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT}
        for name, value in {**headers, **lengths, "Accept-Ranges": "bytes"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _digest(path: str) -> str:
    return hashlib.sha1(path.encode()).hexdigest()
