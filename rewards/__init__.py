"""How an answer is judged: `verify(verifier, response, ground_truth) -> Verdict`."""

from rewards.errors import (
    RewardsError,
    UnknownVerifierError,
    VerifierClashError,
    VerifierContractError,
)
from rewards.registry import (
    averify_batch,
    get_verifier,
    known_verifiers,
    register_verifier,
    verify,
    verify_batch,
)
from rewards.verdict import REASONS, Verdict

__all__ = [
    "REASONS",
    "RewardsError",
    "UnknownVerifierError",
    "Verdict",
    "VerifierClashError",
    "VerifierContractError",
    "averify_batch",
    "get_verifier",
    "known_verifiers",
    "register_verifier",
    "verify",
    "verify_batch",
]
