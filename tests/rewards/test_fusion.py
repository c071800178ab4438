"""SandboxFusion's protocol, against a server on this machine that really runs the scripts."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hostile_forgeries import FORGERIES
from hostile_tasks import HONEST, HONEST_IO, PROGRAM, TASK, truth_of

import rewards

FUSION = {"sandbox": "fusion", "seconds": 10}
#: One of each way to forge; all of them would take long without bubblewrap's parallel slots.
SOME = (
    "eq_always_true",
    "int_subclass_eq",
    "builtins_eq_patch",
    "frame_hunt",
    "argv_hunt",
    "fd_hunt",
    "memory_hunt",
    "os_exit_at_load",
    "link_forged_ok",
    "link_forged_verdict",
    "asks_for_type",
    "nonce_guess",
    "printed_pass_io",
    "exit_zero_io",
)


class _Handler(BaseHTTPRequestHandler):
    """POST /run_code as the service documents it."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/run_code" or asked["language"] != "python":
            self.send_error(404)
            return
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        answer = self.server.fault or _run(asked)  # type: ignore[attr-defined]
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def _run(asked: dict) -> dict:
    try:
        done = subprocess.run(
            [sys.executable, "-c", asked["code"]],
            input=asked["stdin"].encode(),
            capture_output=True,
            timeout=asked["run_timeout"],
        )
    except subprocess.TimeoutExpired:
        result = {"status": "TimeLimitExceeded", "return_code": None, "stdout": "", "stderr": ""}
        return {"status": "Failed", "run_result": result}
    result = {
        "status": "Finished",
        "return_code": done.returncode,
        "stdout": done.stdout.decode("utf-8", "replace"),
        "stderr": done.stderr.decode("utf-8", "replace"),
    }
    return {"status": "Success" if done.returncode == 0 else "Failed", "run_result": result}


@pytest.fixture
def service(monkeypatch):
    """A running service; `fault` is answered instead of a result."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.asked, server.fault = [], None  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("VERL_PI_SANDBOX_FUSION_URL", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()


def _reason(response: str, truth: str) -> str:
    return rewards.verify("code", response, truth, **FUSION).reason


def test_right_and_wrong_answers(service) -> None:
    assert _reason(HONEST, TASK) == "ok"
    assert _reason(HONEST_IO, PROGRAM) == "ok"
    verdict = rewards.verify("code", "def f(n): return n", TASK, **FUSION)
    assert verdict.reason == "wrong_answer"
    assert "f(1) == 11" in verdict.feedback and "got:      1" in verdict.feedback
    assert _reason("print(1)", PROGRAM) == "wrong_answer"


def test_every_other_reason(service) -> None:
    assert _reason("def f(n) return 1", TASK) == "compile_error"
    assert _reason("def f(n): return 1 / 0", TASK) == "runtime_error"
    assert _reason("1 / 0", PROGRAM) == "runtime_error"
    assert _reason("def (", PROGRAM) == "compile_error"
    assert _reason("x = bytearray(10 << 30)", PROGRAM) == "memory"
    assert rewards.verify(
        "code", "while True: pass", PROGRAM, sandbox="fusion", seconds=0.5
    ).reason in ("timeout",)


def test_the_request_is_the_services_own_form(service) -> None:
    _reason(HONEST, TASK)
    (asked,) = service.asked
    assert set(asked) >= {"code", "language", "stdin", "compile_timeout", "run_timeout"}
    assert asked["memory_limit_MB"] == 1024 and asked["run_timeout"] == 40
    assert "3071" not in asked["code"]  # the tests are not in a file that the program can read


def test_forgeries_do_not_pass_there(service) -> None:
    items = [("code", FORGERIES[name], truth_of(name), FUSION) for name in SOME]
    assert [
        name for name, v in zip(SOME, rewards.verify_batch(items), strict=True) if v.passed
    ] == []


def test_a_service_that_fails_is_not_a_wrong_answer(service) -> None:
    service.fault = {"status": "SandboxError", "message": "no pod left", "run_result": None}
    verdict = rewards.verify("code", HONEST, TASK, **FUSION)
    assert verdict.reason == "verifier_error" and "no pod left" in verdict.feedback


@pytest.mark.parametrize(("truth", "status"), [(TASK, 137), (TASK, None), (PROGRAM, 1)])
def test_a_service_that_dies_in_the_middle_is_not_a_wrong_answer(
    service, truth: str, status: int | None
) -> None:
    result = {"status": "Finished", "return_code": status, "stdout": "", "stderr": "Killed"}
    service.fault = {"status": "Failed", "run_result": result}
    assert _reason(HONEST if truth == TASK else HONEST_IO, truth) == "verifier_error"


def test_a_service_that_is_away_is_not_a_wrong_answer(monkeypatch) -> None:
    monkeypatch.setenv("VERL_PI_SANDBOX_FUSION_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("rewards.code.fusion._SECONDS_BETWEEN_TRIES", 0.01)
    assert _reason(HONEST, TASK) == "verifier_error"


def test_without_an_address_the_error_names_the_variable(monkeypatch) -> None:
    monkeypatch.delenv("VERL_PI_SANDBOX_FUSION_URL", raising=False)
    with pytest.raises(rewards.RewardsError, match="VERL_PI_SANDBOX_FUSION_URL"):
        _reason(HONEST, TASK)
