"""The judge's server: its errors, the budget, many calls at once, the cache."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from judge_server import (
    Answer,
    Server,
    honest,
    refused,
)

from rewards import register_verifier
from rewards.judge import JudgeError, JudgeVerifier, Settings

pytest.importorskip("openai", reason="pip install 'verl-pi[judge]'")
register_verifier("judge", "rewards.judge:JudgeVerifier")


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


@pytest.fixture
def judge(server: Server, tmp_path: Path) -> JudgeVerifier:
    return JudgeVerifier(Settings(server.url, "m", "secret", retries=2, folder=tmp_path))


def test_too_many_requests_and_server_errors_are_tried_again(
    judge: JudgeVerifier, server: Server
) -> None:
    server.replies(refused(429, "slow down", retry_after="0.2"), honest)
    started = time.monotonic()
    assert judge("a", "a").passed
    assert time.monotonic() - started >= 0.2
    broken = [refused(status, "x", retry_after="0.01") for status in (500, 503)]
    server.replies(*broken, honest)
    assert judge("b", "b").passed
    assert judge.spent()["calls"] == 2


def test_a_server_that_stays_down_is_a_verifier_error(judge: JudgeVerifier, server: Server) -> None:
    server.replies(refused(500, "out of order", retry_after="0.01"))
    verdict = judge("a", "a")
    assert verdict.reason == "verifier_error"
    assert "out of order" in verdict.feedback
    assert len(server.requests) == 3
    server.replies((200, {}, "not a completion"))
    assert judge("a", "a").reason == "verifier_error"


def test_a_slow_server_is_a_verifier_error(server: Server, tmp_path: Path) -> None:
    judge = JudgeVerifier(Settings(server.url, "m", retries=0, folder=tmp_path))

    def slow(request: dict[str, Any]) -> Answer:
        time.sleep(5.0)
        return honest(request)

    server.script = slow
    started = time.monotonic()
    verdict = judge("a", "a", seconds=0.2)
    assert verdict.reason == "verifier_error"
    assert "Timeout" in verdict.feedback
    assert 0.2 <= verdict.seconds <= time.monotonic() - started < 5.0


def test_no_server_is_a_verifier_error(tmp_path: Path) -> None:
    judge = JudgeVerifier(Settings("http://127.0.0.1:9/v1", "m", retries=0, folder=tmp_path))
    assert judge("a", "a").reason == "verifier_error"


@pytest.mark.parametrize(
    ("status", "words"), [(401, "VERL_PI_JUDGE_KEY"), (403, "VERL_PI_JUDGE_KEY"), (404, "'m'")]
)
def test_what_no_other_answer_would_avoid_is_raised(
    judge: JudgeVerifier, server: Server, status: int, words: str
) -> None:
    server.replies(refused(status, "no"))
    with pytest.raises(JudgeError, match=words):
        judge("a", "a")


def test_a_server_without_json_mode(judge: JudgeVerifier, server: Server) -> None:
    def plain(request: dict[str, Any]) -> Answer:
        if "response_format" in request:
            return refused(400, "unknown field response_format")
        return honest(request)

    server.script = plain
    assert judge("a", "a").passed
    assert judge("b", "b").passed
    assert ["response_format" in request for request in server.requests] == [True, False, False]
    server.replies(refused(400, "context too long"))
    assert judge("c", "c").reason == "verifier_error"


def test_the_budget_of_calls(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    judge = JudgeVerifier(Settings(server.url, "m", max_calls=2, folder=tmp_path))
    assert judge("a", "a").passed
    assert judge("b", "b").passed
    with caplog.at_level(logging.WARNING, logger="rewards"):
        over = [judge(text, text) for text in "cde"]
    assert {verdict.reason for verdict in over} == {"verifier_error"}
    assert "budget of 2 calls is used up: raise VERL_PI_JUDGE_MAX_CALLS" in over[0].feedback
    assert len([r for r in caplog.records if "VERL_PI_JUDGE_MAX_CALLS" in r.getMessage()]) == 1
    assert judge("a", "a").passed  # from the cache
    assert len(server.requests) == 2


def test_the_budget_of_tokens_as_the_server_counts_them(server: Server, tmp_path: Path) -> None:
    judge = JudgeVerifier(Settings(server.url, "m", max_tokens=150, folder=tmp_path))
    assert [judge(text, text).reason for text in "abc"] == ["ok", "ok", "verifier_error"]
    assert judge.spent() == {"calls": 2, "tokens": 200}
    assert "VERL_PI_JUDGE_MAX_TOKENS" in judge("d", "d").feedback


def test_a_batch_is_judged_side_by_side_within_its_bound(server: Server, tmp_path: Path) -> None:
    judge = JudgeVerifier(Settings(server.url, "m", workers=4, folder=tmp_path))

    def slow(request: dict[str, Any]) -> Answer:
        time.sleep(0.1)
        return honest(request)

    server.script = slow
    items = [(str(i % 12), str(i % 3), {}) for i in range(36)]
    batches = [[], []]
    threads = [
        threading.Thread(target=lambda n=n: batches[n].extend(judge.verify_batch(items)))
        for n in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [a == b for a, b, _ in items]
    assert [[v.passed for v in batch] for batch in batches] == [expected, expected]
    assert server.most_busy == 4
    assert len(server.requests) <= 24


def test_the_cache_serves_another_instance(server: Server, tmp_path: Path) -> None:
    settings = Settings(server.url, "m", folder=tmp_path)
    first = JudgeVerifier(settings)
    assert [first("a", "a", question="q").passed, first("b", "a").passed] == [True, False]
    second = JudgeVerifier(settings)
    again = second("b", "a", show_answer=True)
    assert (again.reason, again.feedback) == ("wrong_answer", "they differ")
    assert second("b", "a").feedback == ""  # a judge quotes the reference
    assert second.spent() == {"calls": 0, "tokens": 0}
    assert len(server.requests) == 2
    for change in ({"question": "q"}, {"rubric": "r"}, {"judge_model": "n"}):
        second("b", "a", **change)
    second("ba", "")
    second("a", "b")
    assert len(server.requests) == 6


_OTHER_PROCESS = """
import sys
from pathlib import Path
from rewards.judge import JudgeVerifier, Settings
judge = JudgeVerifier(Settings(sys.argv[1], "m", folder=Path(sys.argv[2])))
verdicts = judge.verify_batch([(str(i), str(i), {}) for i in range(40)])
print(sum(v.passed for v in verdicts), judge.spent()["calls"])
"""


def test_several_processes_share_the_cache(server: Server, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", _OTHER_PROCESS, server.url, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    assert [process.communicate()[0].split()[0] for process in started] == ["40", "40"]
    judge = JudgeVerifier(Settings(server.url, "m", folder=tmp_path))
    assert all(judge(str(i), str(i)).passed for i in range(40))
    assert judge.spent()["calls"] == 0


def test_a_broken_cache_costs_money_and_no_verdict(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "verdicts.sqlite").write_bytes(b"no database " * 1000)
    judge = JudgeVerifier(Settings(server.url, "m", folder=tmp_path))
    with caplog.at_level(logging.WARNING, logger="rewards"):
        assert [judge("a", "a").passed, judge("a", "a").passed] == [True, True]
    assert len(server.requests) == 2
    assert len([r for r in caplog.records if "verdicts.sqlite" in r.getMessage()]) == 1
