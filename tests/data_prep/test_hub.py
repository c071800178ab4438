"""Data sets of the hub, through the real client libraries: from a server on this machine that
speaks the hub's protocol, and from the cache."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import HubServer

from data_prep.schema import read_rows

README = b"""---
configs:
- config_name: main
  data_files:
  - {split: train, path: main/train-*}
  - {split: test, path: main/test-*}
---
"""
# Commands one after the other in one process: importing `datasets` takes seconds. `hf` downloads.
SEVERAL = """
import sys
from data_prep.__main__ import main
for command in sys.argv[1:]:
    name, *options = command.split()
    if name == "hf":
        from huggingface_hub import snapshot_download
        snapshot_download(options[0], repo_type="dataset")
    else:
        print("status", main([name, *options]), flush=True)
"""


def parquet(numbers) -> bytes:
    rows = [{"question": f"What is {i} + 1?", "answer": f"Add.\n#### {i + 1}"} for i in numbers]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


@pytest.fixture(scope="module")
def hub():
    files = {"README.md": README, "main/train-00000-of-00001.parquet": parquet(range(3)),
             "main/test-00000-of-00001.parquet": parquet(range(20, 22))}  # fmt: skip
    server = HubServer("openai/gsm8k", files)
    yield server
    server.shutdown()
    server.server_close()


def run(home, hub, *commands, **variables):
    environment = {
        **os.environ, "HF_HOME": str(home), "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", **variables,
    }  # fmt: skip
    command = [sys.executable, "-c", SEVERAL, *commands]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


def statuses(process) -> list[str]:
    return [line for line in process.stdout.splitlines() if line.startswith("status")]


def errors(process) -> list[str]:
    return [line for line in process.stderr.splitlines() if line.startswith("data_prep: ")]


def answers(path) -> list[str]:
    return [row["reward_model"]["ground_truth"] for row in read_rows(path)]


def test_a_data_set_is_streamed_and_later_read_from_the_cache(hub, tmp_path):
    out, other, cached = tmp_path / "out", tmp_path / "x.jsonl", tmp_path / "cached"
    online = run(
        tmp_path / "home", hub,
        f"gsm8k out={out}",
        f"gsm8k source=openai/gsm8k:main:test out={other}",
        f"gsm8k source=no/such out={tmp_path / 'no'}",
        f"gsm8k source=openai/gsm8k:other out={tmp_path / 'no'}",
        "hf openai/gsm8k",
    )  # fmt: skip
    assert statuses(online) == ["status 0", "status 0", "status 2", "status 2"], online.stderr
    assert answers(out / "train.parquet") == ["1", "2", "3"]
    assert answers(out / "test.parquet") == ["21", "22"] == answers(other)
    nowhere, config = errors(online)
    assert "source=no/such: the hub does not give no/such: DatasetNotFoundError" in nowhere
    assert "'other' not found. Available: ['main']. To mend it: check name" in config
    assert "Traceback" not in online.stderr
    before = len(hub.asked)
    offline = run(tmp_path / "home", hub, f"gsm8k out={cached}", HF_HUB_OFFLINE="1")
    assert statuses(offline) == ["status 0"] and len(hub.asked) == before
    for split in ("train", "test"):
        file = f"{split}.parquet"
        assert (cached / file).read_bytes() == (out / file).read_bytes()
