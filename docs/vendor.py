"""Fetch what the site carries along: Python for its pages, and the shim for a search in a page that was opened from a disk.

    python docs/vendor.py .cache/vendored
    TOISE_SITE_VENDORED=.cache/vendored mkdocs build

What is fetched is pinned: by docs/package-lock.json, by the hashes in docs/vendored.txt, and, for NumPy, by Pyodide's own
list.  NumPy has no wheel for this platform on PyPI, but one beside Pyodide's releases; where that cannot be had the site does
without, and says so.  A second call fetches what lacks, and nothing if nothing does.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PINS = ("package.json", "package-lock.json", "vendored.txt", "vendor.py")
FROM_NPM = {
    "pyodide/pyodide.mjs": "assets/python/pyodide.mjs",
    "pyodide/pyodide.asm.mjs": "assets/python/pyodide.asm.mjs",
    "pyodide/pyodide.asm.wasm": "assets/python/pyodide.asm.wasm",
    "pyodide/python_stdlib.zip": "assets/python/python_stdlib.zip",
    "pyodide/pyodide-lock.json": "everything.json",
    "pyodide/package.json": "pyodide.json",
    "iframe-worker/shim/index.js": "assets/iframe-worker.js",
    "iframe-worker/LICENSE": "assets/licences/iframe-worker.txt",
}
PLATFORM = ("--platform", "pyemscripten_2026_0_wasm32", "--python-version", "3.14", "--implementation", "cp", "--abi", "cp314")
NEEDS = {"hypothesis": ["sortedcontainers"]}
RELEASES = "https://cdn.jsdelivr.net/pyodide/v{version}/full/{file}"


def fetch(folder: Path) -> None:
    """Fill a folder, whose `assets` the site publishes.  Raises where anything but NumPy cannot be had, or is not as pinned."""
    python, stamp = folder / "assets" / "python", folder / "pins.txt"
    pins = hashlib.sha256(b"\0".join((HERE / name).read_bytes() for name in PINS)).hexdigest()
    if not stamp.exists() or stamp.read_text() != pins:
        shutil.rmtree(folder / "assets", ignore_errors=True)
        python.mkdir(parents=True)
        shutil.copytree(HERE / "licences", folder / "assets" / "licences")
        _fetch_from_npm(folder)
        download = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes")
        subprocess.run([*download, *PLATFORM, "-r", HERE / "vendored.txt", "-d", python], check=True)  # noqa: S603
        stamp.write_text(pins)
    everything = json.loads((folder / "everything.json").read_text())
    numpy = everything["packages"]["numpy"]
    if not (python / numpy["file_name"]).exists():
        fetch_numpy(python, numpy, json.loads((folder / "pyodide.json").read_text())["version"])
    write_index(folder)


def _fetch_from_npm(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as room:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, room)
        npm = shutil.which("npm") or "npm"
        subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=room, check=True)  # noqa: S603
        for theirs, ours in FROM_NPM.items():
            shutil.copyfile(Path(room) / "node_modules" / theirs, folder / ours)


def fetch_numpy(python: Path, numpy: dict[str, Any], version: str) -> None:
    """Fetch the one wheel that is not on PyPI, if it can be had.  Raises ValueError if it is not the one that Pyodide names."""
    address = RELEASES.format(version=version, file=numpy["file_name"])
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 - https, as written above
            wheel = answer.read()
    except OSError as error:
        print(f"NumPy could not be had, and the site will say so: {address}: {error}", file=sys.stderr)  # noqa: T201
        return
    if hashlib.sha256(wheel).hexdigest() != numpy["sha256"]:
        raise ValueError(f"{address} is not the file that Pyodide names")
    (python / numpy["file_name"]).write_bytes(wheel)


def write_index(folder: Path) -> None:
    """Write the list from which Pyodide loads what a cell imports, the wheels that are there, and their licences."""
    python = folder / "assets" / "python"
    everything = json.loads((folder / "everything.json").read_text())
    packages = {}
    for wheel in sorted(python.glob("*.whl")):
        entry = _entry(wheel)
        packages[entry["name"]] = entry
        _keep_licences(wheel, folder / "assets" / "licences" / f"{entry['name']}.txt")
    (python / "pyodide-lock.json").write_text(json.dumps({**everything, "packages": packages}, indent=1), encoding="utf-8")


def _entry(wheel: Path) -> dict[str, Any]:
    name, version, *_ = wheel.name.split("-")
    with zipfile.ZipFile(wheel) as archive:
        imports = {Path(file).parts[0].removesuffix(".py") for file in archive.namelist()}
    return {
        "name": name,
        "version": version,
        "file_name": wheel.name,
        "install_dir": "site",
        "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "package_type": "package",
        "imports": sorted(each for each in imports if each.isidentifier()),
        "depends": NEEDS.get(name, []),
    }


def _keep_licences(wheel: Path, kept: Path) -> None:
    """Put what a wheel says about its licences into one file."""
    with zipfile.ZipFile(wheel) as archive:
        texts = [
            archive.read(file) for file in archive.namelist() if ".dist-info/" in file and "LICEN" in file.rpartition("/")[2]
        ]
    kept.write_bytes(b"\n".join(texts))


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
