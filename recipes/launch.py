"""The process that runs verl: ``python -m recipes.launch RUN_FOLDER``.

Reads what the recipe prepared in the run folder (``verl.yaml``), composes verl's configuration
under it and hands over to verl's own ``run_ppo``. All its output belongs into the run's log.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SETTINGS_FILE = "verl.yaml"


def environment(profile: str) -> dict[str, str]:
    """Environment variables that have to be set before verl is imported."""
    variables = {
        "TOKENIZERS_PARALLELISM": "false",
        "HYDRA_FULL_ERROR": "1",
        "RAY_DEDUP_LOGS": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    if profile == "cpu":
        variables |= {
            "VERL_PLATFORM": "cpu",
            # Many processes share few cores; those that compute set their own thread count.
            "OMP_NUM_THREADS": "1",
            # Threads that spin for long would starve Lean and the other processes; those that never
            # do wake up late for the many short operations of a step.
            "GOMP_SPINCOUNT": "20000",
            # No idle worker for each of the logical cores.
            "RAY_prestart_worker_first_driver": "0",
            "RAY_enable_worker_prestart": "0",
        }
        variables |= _allocator()
    return variables


def _allocator() -> dict[str, str]:
    """Activations come and go by the gigabyte: an allocator that keeps them, so that a step does
    not fault every page in anew. jemalloc comes with Ray; without it the C library's is tuned."""
    ray = find_spec("ray")
    library = Path(ray.origin).parent / "core" / "libjemalloc.so" if ray and ray.origin else None
    if sys.platform == "linux" and library is not None and library.exists():
        preload = [str(library), *filter(None, [os.environ.get("LD_PRELOAD")])]
        # Kept for a step, not for ever: trainer and rollout take turns with the memory.
        keep = "dirty_decay_ms:10000,muzzy_decay_ms:0,background_thread:true"
        reuse = "narenas:2,oversize_threshold:0"
        return {"LD_PRELOAD": ":".join(preload), "MALLOC_CONF": f"{keep},{reuse}"}
    return {
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
        "MALLOC_TRIM_THRESHOLD_": str(2**33),
    }


def _die_with_parent() -> None:
    """Linux: be killed when the recipe's process dies, also by SIGKILL."""
    if sys.platform == "linux" and os.environ.get("VERL_PI_PARENT"):
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != int(os.environ["VERL_PI_PARENT"]):
            raise SystemExit("the recipe that started this process is gone")


def task_runner() -> Any:
    """verl's task runner, checking first that our registrations reached its process."""
    import ray
    from verl.trainer.main_ppo import TaskRunnerV1

    @ray.remote(num_cpus=1)
    class PrivilegedTaskRunner(TaskRunnerV1.__ray_actor_class__):  # type: ignore[misc]
        def run(self, config: Any) -> None:
            from algorithms.runtime import plugin

            plugin.register_trainer()
            plugin.assert_registered()
            super().run(config)

    return PrivilegedTaskRunner


def run(folder: Path) -> None:
    """Run verl on a prepared folder; returns when every stage is finished."""
    from omegaconf import OmegaConf
    from verl.trainer.main_ppo import run_ppo
    from verl.utils.config import validate_config

    from recipes.config import verl_config

    settings: Any = OmegaConf.to_container(OmegaConf.load(folder / SETTINGS_FILE))
    config = verl_config(settings)
    validate_config(config=config, use_reference_policy=False, use_critic=False)
    run_ppo(config, task_runner_class=task_runner())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run_folder", type=Path, help="a folder that a recipe prepared")
    arguments = parser.parse_args()
    if not (arguments.run_folder / SETTINGS_FILE).exists():
        parser.error(
            f"{arguments.run_folder} holds no {SETTINGS_FILE}: start a recipe, for example "
            "python -m recipes.opsd_skeleton"
        )
    _die_with_parent()
    run(arguments.run_folder.resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
