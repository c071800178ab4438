"""Errors of the registry. They pickle, since Ray carries them between processes."""

from __future__ import annotations


class RewardsError(Exception):
    """Base of the errors of this package that are not about one answer."""


class UnknownVerifierError(RewardsError, KeyError):
    """No verifier has this name. The message lists the known ones and the nearest."""

    def __str__(self) -> str:  # KeyError would show the message in quotes
        return str(self.args[0])


class UnknownDataSourceError(UnknownVerifierError):
    """No verifier is known for this data source. The message lists the known ones."""


class VerifierClashError(RewardsError, ValueError):
    """Two verifiers claim one name, or two names one data source."""


class VerifierContractError(RewardsError, TypeError):
    """A verifier returned something other than one verdict per answer."""
