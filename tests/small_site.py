"""The site with bare titles for pages, to be built with something planted into it, or with few pages that are whole."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("docs", "spec", "reference", "conformance", "benchmarks")


def lay_out(room, whole=()):
    """Copy what the site is built from into a folder; the pages of these names stay as they are."""
    shutil.copy(ROOT / "mkdocs.yml", room)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, room / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for page in room.glob("docs/en/**/*.md"):
        if page.name not in whole:
            page.write_text("# Title\n", encoding="utf-8")
