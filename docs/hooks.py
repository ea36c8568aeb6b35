"""What the site needs beyond MkDocs: the pages of the specification, formulas, and a check that it works offline."""

from __future__ import annotations

import os
import posixpath
import re
import sys
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

import latex2mathml.converter
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

HERE = Path(__file__).parent
SPEC = HERE.parent / "spec" / "toise_spec"

_MATH = re.compile(r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL)
_FUNCTION = re.compile(r'(<mi>(?:log|exp|max|min)</mi>)(?!<mo stretchy="false">&#x00028;)')
_LINK = re.compile(r'href="(?P<target>(?P<path>[^":#]+\.md)#?(?P<anchor>[^"]*))"')
_SHIM = '<script src="https://unpkg.com/iframe-worker/shim"></script>'  # for a search in a page that was opened from a disk
_LOADED = re.compile(r"""<(?:script|link(?!.*canonical)|img|iframe|source)\b[^>]*\b(?:src|href)=["']?((?:https?:)?//[^"'>\s]+)""")


def on_config(config: MkDocsConfig) -> None:
    """Let the cells of the pages import `cells` and its neighbours, which speak the language of the pages."""
    sys.path.insert(0, str(HERE))
    os.environ["TOISE_SITE_LANGUAGE"] = Path(config.docs_dir).name


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages of the specification, where they are, as `spec/...`."""
    for page in sorted(SPEC.glob("*.md")):
        files.append(File.generated(config, f"spec/{page.name}", abs_src_path=str(page)))
    files.append(File.generated(config, "results/power.png", abs_src_path=str(HERE / "results" / "power.png")))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn formulas into MathML, which needs no script, and the links that cells printed into addresses."""
    html = _MATH.sub(lambda match: _mathml(match, page), html)
    return _LINK.sub(lambda match: _link(match, page, files), html)


def _mathml(match: re.Match[str], page: Page) -> str:
    """Return a formula as MathML: with the space that TeX puts after a function's name, and in a box where it is displayed."""
    latex = unescape(match["latex"]).strip()
    displayed = match["tag"] == "div"
    mathml = latex2mathml.converter.convert(latex, display="block" if displayed else "inline")
    if unknown := re.search(r"\\[A-Za-z]+", mathml):
        raise PluginError(f"{page.file.src_uri}: latex2mathml does not know {unknown[0]} in the formula {latex}")
    mathml = _FUNCTION.sub(r'\1<mspace width="0.167em" />', mathml)
    return f'<div class="formula">{mathml}</div>' if displayed else mathml


def _link(match: re.Match[str], page: Page, files: Files) -> str:
    """Do for a link that a cell printed what MkDocs does for the page's own: find the file, and have the anchor checked."""
    path = posixpath.normpath(posixpath.join("/", page.file.src_uri, "..", match["path"]))
    target = files.get_file_from_path(path.lstrip("/"))
    if target is None:
        raise PluginError(f"{page.file.src_uri}: a cell printed a link to {match['path']}, which does not exist")
    if match["anchor"]:
        page.links_to_anchors = page.links_to_anchors or {}
        page.links_to_anchors.setdefault(target, {})[match["anchor"]] = match["target"]
    return f'href="{target.url_relative_to(page.file)}{"#" if match["anchor"] else ""}{match["anchor"]}"'


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Take out what Material would load from elsewhere, and refuse a page that still loads something."""
    output = output.replace(_SHIM, "")
    if loaded := _LOADED.search(output):
        raise PluginError(f"{page.file.src_uri}: loads {loaded[1]}; the site has to work offline")
    return output
