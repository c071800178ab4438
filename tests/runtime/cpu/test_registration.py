"""What the plugin registers with verl, seen from fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))


def run(code: str, **env: str) -> str:
    """Run Python code in a new process with the plugin named to verl."""
    environment = {
        **os.environ,
        "PYTHONPATH": ROOT,
        "VERL_USE_EXTERNAL_MODULES": "algorithms.runtime.plugin",
        "OMP_NUM_THREADS": "1",
        **env,
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.e2e
def test_everything_is_registered_on_the_cpu_and_installs_once():
    out = run(
        """
        import sys
        import algorithms.runtime.cpu.external
        assert "algorithms.runtime.cpu.engine" not in sys.modules, "installed before verl's engines"
        import verl
        from algorithms.runtime import plugin
        assert "verl.workers.engine" not in sys.modules, "the plugin must not import the engines"
        assert all(plugin.registered().values()), plugin.registered()
        plugin.register()

        from verl.plugin.platform import get_platform
        from verl.utils import device
        platform = get_platform()
        assert type(platform).__name__ == "CpuPlatform"
        assert device.get_device_name() == device.get_device_id() == "cpu"
        assert not device.is_support_ipc()
        accelerator = device.get_torch_device()
        accelerator.empty_cache()
        accelerator.synchronize()
        accelerator.set_rng_state(accelerator.get_rng_state())
        assert accelerator.max_memory_allocated() >= accelerator.memory_allocated() * 0.5 > 1e7
        blocks = [bytearray(100_000) for _ in range(3000)]
        held = accelerator.memory_allocated()
        del blocks[:-1]  # the last one keeps the heap from shrinking by itself
        accelerator.empty_cache()
        assert held - accelerator.memory_allocated() > 2e8
        free, total = accelerator.mem_get_info()
        assert 0 < free <= total

        del sys.modules["algorithms.runtime.cpu.external"]
        import verl.workers.engine_workers as workers
        import algorithms.runtime.cpu.external
        from algorithms.runtime.cpu import engine
        engine.install_training_backend()
        from verl.workers.engine import EngineRegistry
        for strategy in ("fsdp", "fsdp2"):
            assert EngineRegistry.get_engine_cls("language_model", strategy) is engine.CpuFSDPEngine
        print(workers.ActorRolloutRefWorker.actor_worker_cls.__name__)
        print(workers.ActorRolloutRefWorker.ref_worker_cls.__name__)

        from verl.workers.rollout.base import get_rollout_class
        from verl.workers.rollout.replica import get_rollout_replica_class
        print(get_rollout_class("transformers").__name__)
        print(get_rollout_replica_class("transformers").__name__)
        """,
        VERL_PLATFORM="cpu",
    )
    workers = ["CpuTrainingWorker", "CpuTrainingWorker"]
    assert out.split() == [*workers, "TransformersRollout", "TransformersReplica"]


@pytest.mark.e2e
def test_elsewhere_only_the_platform_is_registered():
    out = run(
        """
        import sys, verl
        from algorithms.runtime import plugin
        assert plugin.registered() == {"platform.cpu": True}
        assert "verl.workers.rollout.replica" not in sys.modules
        print("ok")
        """,
        VERL_PLATFORM="nvidia",
    )
    assert out == "ok"


@pytest.mark.parametrize(("override", "processes", "expected"), [("3", 2, 3), ("", 10**6, 1)])
def test_threads(monkeypatch, override, processes, expected):
    from algorithms.runtime.cpu.threads import threads_per_process

    monkeypatch.setenv("VERL_PI_CPU_THREADS", override)
    assert threads_per_process(processes) == expected


def test_threads_override_must_be_a_number(monkeypatch):
    from algorithms.runtime.cpu.threads import threads_per_process

    monkeypatch.setenv("VERL_PI_CPU_THREADS", "many")
    with pytest.raises(ValueError, match="VERL_PI_CPU_THREADS"):
        threads_per_process(1)
