"""The verifier `judge`: a language model behind an OpenAI-compatible endpoint."""

from rewards.judge.errors import JudgeError
from rewards.judge.settings import Settings
from rewards.judge.verifier import JudgeVerifier

__all__ = ["JudgeError", "JudgeVerifier", "Settings"]
