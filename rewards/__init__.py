"""How an answer is judged: `verify(verifier, response, ground_truth) -> Verdict`."""

from rewards.dispatch import averify_batch, verify, verify_batch
from rewards.errors import (
    RewardsError,
    UnknownDataSourceError,
    UnknownVerifierError,
    VerifierClashError,
    VerifierContractError,
)
from rewards.noise import noisy
from rewards.registry import get_verifier, known_verifiers, register_verifier
from rewards.sources import register_data_source, row_verifier, verifier_for
from rewards.verdict import REASONS, Verdict

__all__ = [
    "REASONS",
    "RewardsError",
    "UnknownDataSourceError",
    "UnknownVerifierError",
    "Verdict",
    "VerifierClashError",
    "VerifierContractError",
    "averify_batch",
    "get_verifier",
    "known_verifiers",
    "noisy",
    "register_data_source",
    "register_verifier",
    "row_verifier",
    "verifier_for",
    "verify",
    "verify_batch",
]
