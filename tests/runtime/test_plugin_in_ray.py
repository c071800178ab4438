"""What a Ray worker sees: registration through the installed entry point, and the verifiers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def ray_with_cpu_platform():
    import ray

    variables = {"VERL_PLATFORM": "cpu", "OMP_NUM_THREADS": "1"}
    ray.init(
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        namespace=f"plugin-test-{os.getpid()}",
        runtime_env={"env_vars": variables},
    )
    yield ray
    ray.shutdown()


def question() -> Callable[[], dict[str, Any]]:
    """What the worker runs; local, so that Ray sends it by value."""

    def in_worker() -> dict[str, Any]:
        """Only verl is imported before the question is asked."""
        import sys

        import verl  # noqa: F401

        loaded = "algorithms.runtime.plugin" in sys.modules
        from algorithms.runtime import plugin

        found: dict[str, Any] = {"loaded_by_verl": loaded, "registered": plugin.registered()}
        try:
            plugin.assert_registered()
        except plugin.NotRegistered as error:
            found["without_trainer"] = str(error)
        plugin.register_trainer()
        plugin.assert_registered()
        from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY

        found["trainer"] = TRAINER_REGISTRY[plugin.TRAINER].__name__
        return found

    return in_worker


def test_a_ray_worker_that_imports_verl_has_our_registrations(ray_with_cpu_platform):
    ray = ray_with_cpu_platform
    found = ray.get(ray.remote(num_cpus=1)(question()).remote(), timeout=120)
    assert found["loaded_by_verl"], "verl did not load the verl.plugins entry point"
    names = {"platform.cpu", "rollout.transformers", "replica.transformers"}
    assert names <= found["registered"].keys()
    assert all(found["registered"].values()), found["registered"]
    sentence = found["without_trainer"]
    assert sentence.startswith("verl does not see trainer.privileged in this process. Install")
    assert "verl.plugins" in sentence and "VERL_USE_EXTERNAL_PLUGINS" in sentence
    assert found["trainer"] == "PrivilegedTrainer"


def judging() -> Callable[[], list[str]]:
    """Verifiers of every isolation in one batch, awaited as verl's reward loop does."""

    def in_worker() -> list[str]:
        import asyncio

        import rewards

        truth = '{"kind": "asserts", "tests": ["assert f(1) == 2"]}'
        verdicts = asyncio.run(
            rewards.averify_batch(
                [
                    ("math", r"\boxed{\frac{2}{4}}", "0.5", {}),
                    ("math", r"\boxed{9^{9^{9^{9^9}}}}", "7", {"seconds": 0.5}),
                    ("code", "def f(x): return x + 1", truth, {}),
                    ("code", "import os\nos.kill(os.getppid(), 9)", truth, {}),
                    ("exact", "yes", "yes", {}),
                ]
            )
        )
        return [verdict.reason for verdict in verdicts]

    return in_worker


def test_verifiers_judge_inside_a_ray_worker(ray_with_cpu_platform):
    ray = ray_with_cpu_platform
    first, tower, right, kills, same = ray.get(
        ray.remote(num_cpus=1)(judging()).remote(), timeout=120
    )
    assert [first, right, same] == ["ok", "ok", "ok"]
    assert tower != "ok" and kills != "ok"
