"""A server of our own that speaks `/v1/chat/completions`, for the tests of the judge."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], Any]


Script = Callable[[dict[str, Any]], Answer]


def said(text: str | None, tokens: int = 100) -> Answer:
    """A chat completion with that message."""
    message = {"role": "assistant", "content": text}
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": tokens - 1, "completion_tokens": 1, "total_tokens": tokens},
    }
    return 200, {}, body


def refused(status: int, message: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, named, {"error": {"message": message, "type": "x", "code": None}}


def token_in(request: dict[str, Any]) -> str:
    found = re.search(r"<<<CANDIDATE (\w+)", request["messages"][1]["content"])
    assert found is not None
    return found[1]


def text_in(request: dict[str, Any], name: str) -> str:
    token = token_in(request)
    content = request["messages"][1]["content"]
    return content.partition(f"<<<{name} {token}\n")[2].partition(f"\n{name} {token}>>>")[0]


def ruling(request: dict[str, Any], correct: Any, reason: Any = "because") -> Answer:
    return said(json.dumps({"token": token_in(request), "correct": correct, "reason": reason}))


def honest(request: dict[str, Any]) -> Answer:
    """A judge that compares the texts."""
    same = text_in(request, "CANDIDATE") == text_in(request, "REFERENCE")
    return ruling(request, same, "the same" if same else "they differ")


class Server:
    """Answers with `script`, a function of the request, and keeps what it was asked."""

    def __init__(self) -> None:
        self.script: Script = honest
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.busy = self.most_busy = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/chat/completions"
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, headers, answer = outer._answer(body, self.headers.get("authorization"))
                data = json.dumps(answer).encode()
                try:
                    self.send_response(status)
                    for name, value in {"content-type": "application/json", **headers}.items():
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    pass  # the client's time was up

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def _answer(self, body: dict[str, Any], key: str | None) -> Answer:
        with self._lock:
            self.requests.append(body)
            self.keys.append(key)
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
        try:
            return self.script(body)
        finally:
            with self._lock:
                self.busy -= 1

    def replies(self, *answers: Script | Answer) -> None:
        """One after the other; the last one for all that follow."""
        left = list(answers)

        def script(request: dict[str, Any]) -> Answer:
            with self._lock:
                answer = left.pop(0) if len(left) > 1 else left[0]
            return answer(request) if callable(answer) else answer

        self.script = script

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
