"""The verifier `reasoning_gym`: the scorers of reasoning-gym's 105 procedural task families."""

from rewards.reasoning_gym.tasks import ReasoningGymMissingError, ground_truth
from rewards.reasoning_gym.verifier import ReasoningGymVerifier

__all__ = ["ReasoningGymMissingError", "ReasoningGymVerifier", "ground_truth"]
