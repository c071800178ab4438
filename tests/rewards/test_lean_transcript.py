"""The Kimina protocol against a real HTTP server, and the reading of Lean's messages."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rewards.lean import kimina, local
from rewards.lean.backend import Check, choose
from rewards.lean.errors import LeanUnavailableError
from rewards.lean.transcript import outcome_of, text_of
from rewards.lean.verifier import LeanVerifier

TRUTH = "import Mathlib\nopen Nat\n\ntheorem t (a b : Nat) : a + b = b + a := by sorry"


def _message(severity, data, line=1):
    place = {"line": line, "column": 2}
    return {"severity": severity, "pos": place, "endPos": place, "data": data}


def _lean(code: str) -> dict:
    """What a REPL answers to the few proofs that the tests send."""
    if "slow" in code:
        return {"error": "Lean REPL command timed out in 30 seconds"}
    if "broken" in code:
        return {"error": "no REPL could be started"}
    if "wrong" in code:
        line = next(i for i, text in enumerate(code.splitlines(), 1) if "wrong" in text)
        return {"response": {"env": 0, "messages": [_message("error", "unknown tactic", line)]}}
    if "cut" in code:
        return {"response": {"env": 0, "messages": []}}
    if "hidden" in code:
        text = "'t' depends on axioms: [propext, sorryAx]"
    elif "classical" in code:
        text = "'t' depends on axioms: [propext,\n Classical.choice,\n Quot.sound]"
    else:
        text = "'t' does not depend on any axioms"
    return {"response": {"env": 0, "messages": [_message("info", text)]}}


class _Server(BaseHTTPRequestHandler):
    requests: list[dict] = []  # noqa: RUF012

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).requests.append({"path": self.path, **body})
        results = [
            {"id": s["id"], "time": 0.25, **_lean(s["code"])} for s in reversed(body["snippets"])
        ]
        answer = json.dumps({"results": results}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    _Server.requests = []
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv(kimina.URL_VARIABLE, f"http://127.0.0.1:{http.server_port}")
    yield http
    http.shutdown()
    http.server_close()
    thread.join()


def test_a_kimina_server_judges_a_batch(server):
    proofs = {
        "omega": "ok", "wrong": "compile_error", "hidden": "forbidden", "classical": "ok",
        "slow": "timeout", "broken": "verifier_error", "cut": "forbidden", "sorry": "forbidden",
        "x1": "ok", "x2": "ok", "x3": "ok",
    }  # fmt: skip
    verifier = LeanVerifier()
    verdicts = verifier.verify_batch([(p, TRUTH, {"backend": "kimina"}) for p in proofs])
    assert [v.reason for v in verdicts] == list(proofs.values())
    assert verdicts[1].feedback == "2:2: unknown tactic"
    assert "sorryAx" in verdicts[2].feedback
    assert verdicts[0].seconds == 0.25
    assert "Kimina" in verifier.describe("kimina")
    sent = [s["code"] for r in _Server.requests for s in r["snippets"]]
    assert len(sent) == 10 and all(r["path"] == "/api/check" for r in _Server.requests)
    assert {r["timeout"] for r in _Server.requests} == {30}
    assert sent[0].startswith("import Mathlib\nset_option maxHeartbeats 200000\nopen Nat\n")
    assert sent[0].endswith("#print axioms t\n")


def test_a_server_that_is_away_is_not_the_proofs_fault(monkeypatch):
    monkeypatch.setattr(kimina, "_SECONDS_BETWEEN_TRIES", 0.0)
    backend = kimina.KiminaBackend("http://127.0.0.1:9")
    outcome = backend.check([Check("", "theorem t : True := trivial\n", "t")])[0]
    assert outcome.status == "failed" and "the server" in outcome.refused


def test_lines_count_from_the_theorem():
    check = Check("import A\nopen B", "theorem t : True := by\n  foo\n", "t")
    line = text_of(check).splitlines().index("  foo") + 1
    outcome = outcome_of(check, [_message("error", "unexpected token", line)], 0, 0.0)
    assert outcome.errors == ("2:2: unexpected token",) and not outcome.parsed


def test_axioms_of_another_theorem_do_not_count():
    check = Check("", "theorem t : True := trivial\n", "t")
    message = _message("info", "'other' does not depend on any axioms")
    assert outcome_of(check, [message], 0, 0.0).refused
    assert outcome_of(check, [message], 1, 0.0).axioms == ("sorryAx",)


def test_without_a_backend_the_commands_are_named(monkeypatch):
    monkeypatch.delenv(kimina.URL_VARIABLE, raising=False)
    monkeypatch.setattr("rewards.lean.wasm.missing", lambda: "Run: python -m rewards.lean.install")
    monkeypatch.setattr("rewards.lean.local.missing", lambda: "install lake")
    with pytest.raises(
        LeanUnavailableError, match=r"(?s)local: .*kimina: .*rewards\.lean\.install"
    ):
        choose()
    with pytest.raises(ValueError, match="known: auto, local, kimina, wasm"):
        choose("coq")


@pytest.mark.lean
def test_the_local_backend():
    if local.missing():
        pytest.skip(f"no local Lean: {local.missing()}")
    backend = local.LocalBackend()
    good = Check("", "theorem t (a b : Nat) : a + b = b + a := by\n  omega\n", "t")
    bad = Check("", "theorem t : 2 + 2 = 5 := by\n  decide\n", "t")
    try:
        fine, wrong = backend.check([good, bad])
    finally:
        backend.close()
    assert fine.status == "checked" and not fine.errors and not fine.refused
    assert wrong.errors
