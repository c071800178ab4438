from __future__ import annotations

import asyncio
import pickle
import threading

import pytest

import rewards
from rewards import (
    UnknownDataSourceError,
    UnknownVerifierError,
    Verdict,
    VerifierClashError,
    VerifierContractError,
)
from rewards import registry as registry_module
from rewards import sources as sources_module


@pytest.fixture
def registry(monkeypatch):
    """The registry with nothing but what a test adds."""
    monkeypatch.setattr(registry_module, "_targets", dict(registry_module._BUILT_IN))
    monkeypatch.setattr(registry_module, "_loaded", {})
    monkeypatch.setattr(registry_module, "_described", {})
    monkeypatch.setattr(registry_module, "_entry_points_read", True)
    return registry_module


def _equal(response, ground_truth, **extra):
    same = response == ground_truth
    return Verdict.ok() if same else Verdict.failed("wrong_answer", extra.get("note", ""))


class _Batched:
    ISOLATION = "own"
    CACHEABLE = False
    made = 0

    def __init__(self):
        type(self).made += 1
        self.sizes = []

    def __call__(self, response, ground_truth, **extra):
        raise AssertionError("a verifier with verify_batch is not called one by one")

    def verify_batch(self, items):
        self.sizes.append(len(items))
        return [Verdict.ok(feedback=response) for response, _, _ in items]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((True, 1.0, "fine", "", 0.0), "unknown reason"),
        ((True, 1.0, "timeout", "", 0.0), "does not go with"),
        ((False, 0.0, "ok", "", 0.0), "does not go with"),
        ((False, 1.5, "timeout", "", 0.0), "not in"),
        ((False, float("nan"), "timeout", "", 0.0), "not in"),
        ((False, 0.0, "timeout", "", -1.0), "negative"),
    ],
)
def test_an_inconsistent_verdict_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Verdict(*arguments)


def test_verdicts_and_errors_pickle():
    verdict = Verdict.failed("compile_error", "1:2: no", 0.5)
    assert pickle.loads(pickle.dumps(verdict)) == verdict
    for kind in (UnknownVerifierError, VerifierClashError, VerifierContractError):
        error = pickle.loads(pickle.dumps(kind("what, where, how to mend")))
        assert type(error) is kind and str(error) == "what, where, how to mend"


def test_order_is_kept_across_verifiers_and_batches_arrive_whole(registry):
    rewards.register_verifier("equal")(_equal)
    rewards.register_verifier("batched")(_Batched)
    items = [
        ("batched", "a", "", {}),
        ("equal", "1", "1", {}),
        ("batched", "b", "", {}),
        ("equal", "1", "2", {"note": "n"}),
    ]
    verdicts = rewards.verify_batch(items)
    assert [v.feedback for v in verdicts] == ["a", "", "b", "n"]
    assert [v.passed for v in verdicts] == [True, True, True, False]
    assert rewards.get_verifier("batched").sizes == [2]  # pyright: ignore
    again = asyncio.run(rewards.averify_batch(items))
    assert [v.feedback for v in again] == ["a", "", "b", "n"]
    assert _Batched.made == 1
    assert rewards.verify_batch([]) == []


def test_a_clash_is_an_error_and_the_same_again_is_not(registry):
    rewards.register_verifier("equal")(_equal)
    rewards.register_verifier("equal")(_equal)
    with pytest.raises(VerifierClashError, match="'equal' is already"):
        rewards.register_verifier("equal", "elsewhere:equal")
    with pytest.raises(VerifierClashError, match="'lean' is already"):
        rewards.register_verifier("lean", "elsewhere:lean")


def test_an_unknown_name_names_the_nearest(registry):
    with pytest.raises(UnknownVerifierError, match=r"Did you mean 'lean'\? Known: code, exact"):
        rewards.verify("laen", "", "")


def test_targets_are_lazy(registry):
    rewards.register_verifier("later", "no.such.module:thing")
    assert "later" in rewards.known_verifiers()
    with pytest.raises(ModuleNotFoundError):
        rewards.verify("later", "", "")
    with pytest.raises(ValueError, match="module:object"):
        rewards.register_verifier("broken", "no_colon")


def test_entry_points_register_and_clash(registry, monkeypatch):
    from importlib.metadata import EntryPoint

    points = [EntryPoint("theirs", f"{__name__}:_equal", registry.ENTRY_POINT_GROUP)]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    monkeypatch.setattr(registry, "_entry_points_read", False)
    assert rewards.verify("theirs", "x", "x").passed
    points.append(EntryPoint("lean", "theirs:Lean", registry.ENTRY_POINT_GROUP))
    monkeypatch.setattr(registry, "_entry_points_read", False)
    with pytest.raises(VerifierClashError):
        rewards.known_verifiers()


def test_a_verifier_that_breaks_the_contract_is_named(registry):
    rewards.register_verifier("bad")(lambda response, ground_truth, **extra: True)
    with pytest.raises(VerifierContractError, match=r"'bad' returned 1 × \['bool'\]"):
        rewards.verify("bad", "", "")


@pytest.mark.parametrize(
    ("source", "verifier"),
    [
        ("openai/gsm8k", "math"),
        ("HuggingFaceH4/MATH-500", "math"),
        ("aime2025", "math"),
        ("openai/openai_humaneval", "code"),
        ("core_lean", "lean"),
        ("small_programs", "code"),
        ("worked_arithmetic", "exact"),
        ("tau_bench_airline", "tool_use"),
        ("reasoning_gym/countdown", "reasoning_gym"),
    ],
)
def test_a_data_source_has_its_verifier(source, verifier):
    assert rewards.verifier_for(source) == verifier
    assert rewards.row_verifier("rule", source) == verifier
    assert rewards.row_verifier(None, source) == verifier
    assert rewards.row_verifier("exact", source) == "exact"


def test_a_data_source_is_registered_and_clashes(monkeypatch):
    monkeypatch.setattr(sources_module, "_table", dict(sources_module._BUILT_IN))
    rewards.register_data_source("theirs/*", "regex")
    rewards.register_data_source("theirs/exact/*", "exact")
    rewards.register_data_source("theirs/lean", "lean")
    found = [rewards.verifier_for(f"theirs/{name}") for name in ("a", "exact/a", "lean")]
    assert found == ["regex", "exact", "lean"]
    rewards.register_data_source("theirs/lean", "lean")
    with pytest.raises(VerifierClashError, match="'theirs/lean' is already judged by 'lean'"):
        rewards.register_data_source("theirs/lean", "math")
    with pytest.raises(ValueError, match="are needed"):
        rewards.register_data_source("", "math")


def test_an_unknown_data_source_names_the_nearest():
    with pytest.raises(UnknownDataSourceError, match=r"Did you mean 'openai/gsm8k'\?"):
        rewards.verifier_for("openai/gsm8")


def test_a_verifier_that_no_worker_can_import_runs_here_with_one_warning(registry, caplog):
    here = threading.get_ident()
    rewards.register_verifier("local")(
        lambda response, ground_truth, **extra: Verdict.ok(feedback=str(threading.get_ident()))
    )
    for _ in range(2):
        assert rewards.verify("local", "", "").feedback == str(here)
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1 and "neither its time nor its memory is bounded" in warnings[0]


def test_an_unknown_isolation_is_refused(registry):
    class Odd:
        ISOLATION = "thread"

    rewards.register_verifier("odd")(Odd)
    with pytest.raises(ValueError, match="ISOLATION='thread'"):
        rewards.verify("odd", "", "")


@pytest.mark.parametrize("name", sorted(registry_module._BUILT_IN))
def test_an_option_that_a_verifier_has_not_is_the_callers_error(name):
    with pytest.raises(ValueError, match=f"{name} has no option .'no_such_option'.; it has .'"):
        rewards.verify(name, "5", "5", no_such_option=1)
