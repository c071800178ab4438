"""verl's own trainer on the CPU backend: two ranks, weight sync, checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_model import save_model

from . import verl_runs

pytestmark = pytest.mark.e2e


@pytest.fixture
def model(tmp_path: Path) -> str:
    return save_model(tmp_path / "model", tied=False)


def test_two_ranks_stay_in_sync_and_a_lost_update_shows(tmp_path, model):
    """The reference policy is built too. Resuming is tested in test_recipe.py."""
    prompts = [f"w{2 + i} w{3 + i} w{20 + i}" for i in range(32)]
    verl_runs.prepare(tmp_path, "transformers", dropped_step=2, prompts=prompts)
    reference = "actor_rollout_ref.actor.use_kl_loss=True"
    options = (reference, "actor_rollout_ref.ref.fsdp_config.strategy=fsdp2")
    output = verl_runs.train(tmp_path, model, "transformers", 2, 4, *options, "trainer.save_freq=4")
    differences = verl_runs.differences(output)
    assert sorted(differences) == [1, 2, 3, 4]
    assert max(differences[step] for step in (1, 2, 4)) < 1e-5
    assert differences[3] > 1e-3
    shards = (tmp_path / "checkpoints" / "global_step_4" / "actor").glob("model_world_size_2_*")
    assert len(list(shards)) == 2
