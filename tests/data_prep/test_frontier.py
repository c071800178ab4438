"""Frontier selection, with a real model and a real server: rates, bands, what a stop leaves."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import word_verifier  # noqa: F401 - registers it
from tiny_model import save_model

from data_prep import frontier, generate
from data_prep.attempts import AttemptsFile
from data_prep.errors import DataError
from data_prep.family import make_row
from data_prep.schema import read_rows, write_rows

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


def write_words(path, truths, levels="aabb"):
    rows = [
        make_row(
            data_source="own", prompt=f"w{7 + i} w3", ability="words", verifier="says_a_word",
            ground_truth=truth, split="train", index=i, privileged={}, level=levels[i % 4],
        )
        for i, truth in enumerate(truths)
    ]  # fmt: skip
    write_rows(path, rows, source="own")
    return read_rows(path)


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "rows.parquet"
    write_words(path, [f"w{9 + i}" for i in range(10)])
    return path


def run(path, out, model, *options):
    options = ("n=6", "max_tokens=20", "batch=4", "temperature=1", *options)
    assert frontier.main([str(path), f"model={model}", f"out={out}", *options]) == 0


def journal_of(out):
    return out.with_name(f"{out.name}.attempts.jsonl")


def test_rows_in_the_band_are_kept_with_their_rate(words, model, tmp_path, capsys):
    out = tmp_path / "kept.parquet"
    run(words, out, model, "band=[0.2,0.9]", "seed=3")
    attempts = AttemptsFile(journal_of(out))
    kept = read_rows(out)
    rates = {uid: sum(a.passed for a in tries) / 6 for uid, tries in attempts.items()}
    assert len(attempts) == 10 and all(len(tries) == 6 for tries in attempts.values())
    assert {r["uid"] for r in kept} == {u for u, rate in rates.items() if 0.2 <= rate <= 0.9}
    assert 0 < len(kept) < 10
    for row in kept:
        assert row["extra_info"]["pass_rate"] == pytest.approx(rates[row["uid"]])
        assert row["extra_info"]["samples"] == 6
    for tries in attempts.values():
        assert len({attempt.response for attempt in tries}) > 1
        assert all(a.passed == (a.reason == "ok") for a in tries)
    assert f"{len(kept)} of 10 rows" in capsys.readouterr().out


def test_a_stop_in_the_middle_changes_nothing(words, model, tmp_path):
    whole, stopped = tmp_path / "a" / "out.jsonl", tmp_path / "b" / "out.jsonl"
    run(words, whole, model, "band=[0,1]")
    lines = journal_of(whole).read_bytes().splitlines(keepends=True)
    stopped.parent.mkdir()
    journal_of(stopped).write_bytes(b"".join(lines[:7]) + lines[7][:40])  # in the second batch
    run(words, stopped, model, "band=[0,1]")
    assert journal_of(stopped).read_bytes() == journal_of(whole).read_bytes()
    assert stopped.read_bytes() == whole.read_bytes()


def test_a_finished_sampling_is_not_done_again_for_another_band(words, model, tmp_path):
    out = tmp_path / "out.jsonl"
    run(words, out, model, "band=[0,1]")
    before = journal_of(out).read_bytes()
    assert len(read_rows(out)) == 10
    run(words, out, model, "band=[0,0.2]")
    assert journal_of(out).read_bytes() == before
    assert len(read_rows(out)) < 10


def test_other_settings_are_refused(words, model, tmp_path):
    out = tmp_path / "out.jsonl"
    run(words, out, model)
    with pytest.raises(DataError, match=r"begun with seed=0 \(now 1\)"):
        run(words, out, model, "seed=1")


def test_greedy_responses_are_equal(model):
    sample = generate.LocalModel(model, generate.Sampling(n=3, temperature=0, max_new_tokens=4))
    ((first, second, third),) = sample([[{"role": "user", "content": "w5 w6"}]], 0)
    assert first == second == third


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot be loaded .* To mend it: give a folder"):
        generate.LocalModel(str(tmp_path), generate.Sampling())


class Server(ThreadingHTTPServer):
    """Speaks the chat-completions protocol; `refusals` are the statuses of the first answers.
    After `answers` of them it answers no more, until `released`."""

    def __init__(self, refusals=(), most=99, answers=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.refusals, self.most, self.asked = list(refusals), most, []
        self.answers, self.released = answers, threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server: Server = self.server  # type: ignore[assignment]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.asked.append((self.path, body, self.headers.get("Authorization")))
        if server.answers is not None and len(server.asked) > server.answers:
            server.released.wait(60)
        status = server.refusals.pop(0) if server.refusals else 200
        word = body["messages"][-1]["content"].split()[0]
        choices = [
            {"index": i, "message": {"role": "assistant", "content": f"{word} {body['seed']}"}}
            for i in range(min(body["n"], server.most))
        ]
        text = {"choices": choices} if status == 200 else {"error": {"message": "busy"}}
        payload = json.dumps(text).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # whoever asked is gone
            self.wfile.write(payload)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def serve():
    servers = []

    def start(**settings):
        servers.append(Server(**settings))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_an_endpoint_is_asked_by_the_protocol(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    path, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows = write_words(path, ["w7", "w8", "nothing", "w10"])
    server = serve(most=4)  # n=6 needs two requests a row
    run(path, out, "served", f"endpoint={server.url}", "band=[1,1]")
    assert [row["uid"] for row in read_rows(out)] == [rows[i]["uid"] for i in (0, 1, 3)]
    assert len(server.asked) == 8
    address, body, key = server.asked[0]
    assert address == "/v1/chat/completions" and key == "Bearer k"
    assert body["model"] == "served" and body["n"] == 6 and body["max_tokens"] == 20
    assert sorted(b["n"] for _, b, _ in server.asked) == [2] * 4 + [6] * 4
    assert len({b["seed"] for _, b, _ in server.asked}) == 8


def test_a_killed_run_goes_on_where_it_was(serve, tmp_path):
    """Killed while it waits for an answer; the same command ends as if it had not been."""
    path = tmp_path / "rows.jsonl"
    rows = [
        make_row(
            data_source="own", prompt=f"w{i}", ability="words", verifier="regex",
            ground_truth=".*[02468]", split="train", index=i, privileged={},
        )
        for i in range(10)
    ]  # fmt: skip
    write_rows(path, rows, source="own")
    server = serve(answers=5)
    common = [str(path), "model=served", f"endpoint={server.url}", "n=4", "batch=2", "band=[0,1]"]
    killed, whole = tmp_path / "killed" / "out.parquet", tmp_path / "whole" / "out.parquet"
    command = [sys.executable, "-m", "data_prep", "frontier", *common, f"out={killed}"]
    with subprocess.Popen(command) as process:
        while len(server.asked) < 6:
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    assert len(AttemptsFile(journal_of(killed))) == 4 and not killed.exists()
    server.released.set()
    for out in (killed, whole):
        assert frontier.main([*common, f"out={out}"]) == 0
    assert journal_of(killed).read_bytes() == journal_of(whole).read_bytes()
    assert killed.read_bytes() == whole.read_bytes()
    assert len({row["extra_info"]["pass_rate"] for row in read_rows(whole)}) > 1


def test_levels_and_rows_that_cannot_be_judged(serve, tmp_path, capsys):
    path, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows = write_words(path, ["w7", "unreadable", "w9", "never"])
    server = serve()
    run(path, out, "served", f"endpoint={server.url}", "by=level", "band=[0.4,0.6]")
    assert [row["uid"] for row in read_rows(out)] == [rows[2]["uid"], rows[3]["uid"]]
    shown = capsys.readouterr().out
    assert "a          1      1.000      0\nb          2      0.500      2" in shown
    assert "1 rows could not be judged" in shown


def test_a_busy_endpoint_is_asked_again(serve, monkeypatch):
    server = serve(refusals=[503, 429])
    endpoint = generate.Endpoint(server.url, "served", generate.Sampling(n=2))
    monkeypatch.setattr(endpoint, "_pause", 0.01)
    assert len(endpoint([[{"role": "user", "content": "w1"}]], 0)[0]) == 2
    assert len(server.asked) == 3


def test_a_refusal_is_one_clear_error(serve):
    server = serve(refusals=[401])
    endpoint = generate.Endpoint(server.url, "served", generate.Sampling())
    with pytest.raises(DataError, match=r"status 401.*check the address, the model's name"):
        endpoint([[{"role": "user", "content": "w1"}]], 0)
    assert len(server.asked) == 1
