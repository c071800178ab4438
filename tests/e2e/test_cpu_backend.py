"""verl's own trainer on the CPU backend: two ranks, weight sync, checkpoint and resume."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_model import save_model

from . import verl_runs

pytestmark = pytest.mark.e2e


@pytest.fixture
def model(tmp_path: Path) -> str:
    return save_model(tmp_path / "model", tied=False)


def test_two_ranks_stay_in_sync_and_resume_and_a_lost_update_shows(tmp_path, model):
    prompts = [f"w{2 + i} w{3 + i} w{20 + i}" for i in range(32)]
    verl_runs.prepare(tmp_path, "transformers", dropped_step=4, prompts=prompts)
    reference = "actor_rollout_ref.actor.use_kl_loss=True"  # builds the reference policy
    options = (reference, "actor_rollout_ref.ref.fsdp_config.strategy=fsdp2")

    output = verl_runs.train(tmp_path, model, "transformers", 2, 2, *options, "trainer.save_freq=2")
    first = verl_runs.differences(output)
    assert sorted(first) == [1, 2]

    output = verl_runs.train(tmp_path, model, "transformers", 2, 6, *options)
    resumed = verl_runs.differences(output)
    assert sorted(resumed) == [3, 4, 5, 6]
    assert max(*first.values(), *(resumed[step] for step in (3, 4, 6))) < 1e-5
    assert resumed[5] > 1e-3
