"""S12: the lock file names every package by version and hash, and one altered hash installs nothing."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.integration.emulators import ROOT

LOCK = ROOT / "requirements.lock"


def entries() -> dict[str, str]:
    """By package, its whole entry."""
    text = re.sub(r"#.*", "", LOCK.read_text()).replace("\\\n", " ")
    found = [line.strip() for line in text.splitlines() if line.strip()]
    return {re.split(r"[=\[ ;]", line)[0].lower().replace("_", "-"): line for line in found}


def test_every_entry_is_one_version_with_its_hashes() -> None:
    for name, entry in entries().items():
        assert re.match(rf"{re.escape(name)}(\[[a-z,]+\])?==[0-9][\w.!+]* ", entry.replace("_", "-").lower()), entry[
            :80
        ]
        hashes = re.findall(r"--hash=(\S+)", entry)
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), name
        assert "@" not in entry.split("--hash")[0] and "://" not in entry


def test_every_direct_need_is_locked_and_nothing_comes_from_elsewhere() -> None:
    locked = entries()
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        line = line.partition("#")[0].strip()
        if line:
            assert re.split(r"[><=!~;\[ ]", line)[0].lower() in locked, line
            assert not line.startswith("-") and "@" not in line and "://" not in line
    assert "--index-url" not in LOCK.read_text() and "--trusted-host" not in LOCK.read_text()


def _wheel(folder: Path) -> Path:
    """The smallest package there can be."""
    path = folder / "lakestub-1.0-py3-none-any.whl"
    files = {
        "lakestub.py": "",
        "lakestub-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: lakestub\nVersion: 1.0\n",
        "lakestub-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(text)}\n"
    files["lakestub-1.0.dist-info/RECORD"] = record + "lakestub-1.0.dist-info/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return path


def _install(folder: Path, digest: str) -> subprocess.CompletedProcess[str]:
    lock = folder / "requirements.lock"
    lock.write_text(f"lakestub==1.0 --hash=sha256:{digest}\n")
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-index", "--find-links"]
    command += [str(folder), "--require-hashes", "--target", str(folder / "site"), "-r", str(lock)]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


def test_one_altered_hash_installs_nothing(tmp_path: Path) -> None:
    digest = hashlib.sha256(_wheel(tmp_path).read_bytes()).hexdigest()
    altered = ("0" if digest[0] != "0" else "1") + digest[1:]
    refused = _install(tmp_path, altered)
    assert refused.returncode and "THESE PACKAGES DO NOT MATCH THE HASHES" in refused.stderr
    assert not (tmp_path / "site" / "lakestub.py").exists()
    done = _install(tmp_path, digest)
    assert done.returncode == 0 and (tmp_path / "site" / "lakestub.py").exists(), done.stderr
