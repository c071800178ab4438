"""Records of a data set on the Hugging Face hub, streamed (from the cache where HF_HUB_OFFLINE)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from data_prep.errors import DataError
from data_prep.family import Hub, Record
from data_prep.sources import Reading


def read_hub(hub: Hub, reading: Reading) -> Iterator[Record]:
    """All configurations and splits of `hub`, in their order. Raises DataError out of reach."""
    for config in hub.configs:
        for split in hub.splits:
            place = "/".join(filter(None, [hub.id, config, split]))
            reading.split = split
            for number, fields in enumerate(_rows(hub, config, split)):
                if record := reading.record(f"{place}, row {number}", fields):
                    yield record


def _rows(hub: Hub, config: str | None, split: str) -> Iterator[dict[str, Any]]:
    """One split. Whatever the libraries below raise (a dozen kinds, from four packages: no
    network, no such data set, a gated one, a bad file) becomes one DataError."""
    from datasets import load_dataset
    from huggingface_hub.constants import HF_HUB_OFFLINE

    try:
        rows: Any = load_dataset(hub.id, config, split=split, streaming=not HF_HUB_OFFLINE)
        yield from rows
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        problem = f"the hub does not give {hub.id}{offline}: {type(error).__name__}: {first[:200]}"
        mend = "check name and network, or fetch the files elsewhere and give source=FOLDER"
        raise DataError("hub", f"source={hub.id}", problem, mend) from error
