"""Another model's answers, over real HTTP from a server on this machine."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from transformers import AutoTokenizer

from algorithms.retry.attempts import Request
from algorithms.runtime import endpoint
from recipes.demo_model import ensure_demo_model

MESSAGES = ({"role": "user", "content": "3*4?"},)


def completion(text: str, reason: str = "stop") -> tuple[int, str]:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": reason}
    return 200, json.dumps({"choices": [choice]})


class Server(ThreadingHTTPServer):
    """Sends the given replies one after the other; keeps what it was asked."""

    def __init__(self, *replies: tuple[int, str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies, self.asked = list(replies), []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers.get("Authorization")
        self.server.asked.append((self.path, key, json.loads(body)))
        status, reply = self.server.replies.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(len(reply.encode())))
        self.end_headers()
        self.wfile.write(reply.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_PAUSE_SECONDS", 0.01)
    servers: list[Server] = []

    def start(*replies: tuple[int, str]) -> Server:
        servers.append(Server(*replies))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(ensure_demo_model())


def ask(server: Server, tokenizer, max_tokens: int = 20):
    request = Request(1, (1, 2), MESSAGES, max_tokens, 0.7)
    return asyncio.run(endpoint.answer(server.url, "big", request, tokenizer, top_p=0.9, seed=5))


def test_the_whole_conversation_is_sent_and_the_answer_ends_as_ours_would(
    serve, tokenizer, monkeypatch
):
    monkeypatch.setenv(endpoint.KEY_VARIABLE, "secret")
    server = serve(completion("3*4=12"))
    answer = ask(server, tokenizer)
    path, key, body = server.asked[0]
    assert (path, key) == ("/v1/chat/completions", "Bearer secret")
    assert body == {
        "model": "big", "messages": list(MESSAGES), "max_tokens": 20, "temperature": 0.7,
        "top_p": 0.9, "seed": 5,
    }  # fmt: skip
    assert answer.complete and answer.text == "3*4=12"
    assert answer.token_ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(answer.token_ids[:-1]) == "3*4=12"


@pytest.mark.parametrize(
    ("reply", "limit"), [(completion("3*4=", "length"), 20), (completion("3*4=12 " * 9), 6)]
)
def test_an_answer_that_a_limit_cut_is_not_complete(serve, tokenizer, reply, limit):
    answer = ask(serve(reply), tokenizer, limit)
    assert not answer.complete and len(answer.token_ids) <= limit


def test_a_busy_server_is_asked_again(serve, tokenizer):
    server = serve((503, "busy"), (429, "slow down"), completion("12"))
    assert ask(server, tokenizer).text == "12" and len(server.asked) == 3


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((401, "no key"), r"status 401: no key\. Check the address.*OPENAI_API_KEY"),
        ((200, "<html>"), r"sent no JSON"),
        ((200, '{"error": "x"}'), r"sent no chat completion"),
        ((200, '{"choices": []}'), r"sent no chat completion"),
    ],
)
def test_what_is_no_answer_is_an_error_that_names_the_endpoint(serve, tokenizer, reply, message):
    server = serve(reply)
    with pytest.raises(endpoint.EndpointError, match=message) as error:
        ask(server, tokenizer)
    assert server.url in str(error.value) and len(server.asked) == 1


def test_nobody_there_is_said_after_some_tries(serve, tokenizer):
    server = serve()
    server.server_close()
    with pytest.raises(endpoint.EndpointError, match="Connect"):
        ask(server, tokenizer)
