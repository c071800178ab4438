"""Records of a data set on the Hugging Face hub: streamed, or from the cache (HF_HUB_OFFLINE=1)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_prep.errors import DataError
from data_prep.family import Hub, Record
from data_prep.sources import Reading

DATA = {".parquet", ".jsonl", ".json", ".csv", ".tsv", ".arrow", ".gz", ".zst"}


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
        # What `load_dataset` itself has put into the cache can be read whole, but not streamed.
        place = _downloaded(hub.id) if HF_HUB_OFFLINE else hub.id
        streaming = not HF_HUB_OFFLINE or place != hub.id
        rows: Any = load_dataset(place, config, split=split, streaming=streaming)
        yield from rows
    except Exception as error:
        raise _out_of_reach(hub.id, error, bool(HF_HUB_OFFLINE)) from error


def _downloaded(name: str) -> str:
    """The folder of the cache that `hf download` filled, or the name itself where there is none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = snapshot_download(name, repo_type="dataset", local_files_only=True)
    except LocalEntryNotFoundError:
        return name
    return folder if any(f.suffix in DATA for f in Path(folder).rglob("*")) else name


def _out_of_reach(name: str, error: Exception, offline: bool) -> DataError:
    first = (str(error).splitlines() or [""])[0][:200].rstrip(".")
    said = f"{type(error).__name__}: {first}"
    if not offline:
        mend = "check name and network, or fetch the files elsewhere and give source=FOLDER"
        return DataError("hub", f"source={name}", f"the hub does not give {name}: {said}", mend)
    problem = f"HF_HUB_OFFLINE is set, and the cache does not give {name}: {said}"
    mend = (
        f"take HF_HUB_OFFLINE away, or run `hf download {name} --repo-type dataset` where there is "
        "a network, or fetch the files elsewhere and give source=FOLDER"
    )
    return DataError("hub", f"source={name}", problem, mend)
