"""The words that cells print, in the language of the site that is built: those of `docs/<language>/words.toml`."""

from __future__ import annotations

import functools
import os
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
LANGUAGE = "TOISE_SITE_LANGUAGE"  # hooks.py sets it to the name of the folder whose pages are built


def say(key: str, **parts: object) -> str:
    """Return the words of a key, `table.name`, with the parts in their places.  Raises KeyError if there are none."""
    table, _, name = key.partition(".")
    return _words(os.environ.get(LANGUAGE, "en"))[table][name].format(**parts)


@functools.cache
def _words(language: str) -> dict[str, dict[str, str]]:
    return tomllib.loads((HERE / language / "words.toml").read_text(encoding="utf-8"))
