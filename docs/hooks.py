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
import notebooks
import running
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.utils import get_relative_url
from spec_cells import with_proof

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

HERE = Path(__file__).parent
SPEC = HERE.parent / "spec" / "toise_spec"

_MATH = re.compile(r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL)
_FUNCTION = re.compile(r'(<mi>(?:log|exp|max|min)</mi>)(?!<mo stretchy="false">&#x00028;)')
_ANCHOR = re.compile(r'\bid="([^"]+)"')
_LINK = re.compile(r'href="(?P<target>(?P<path>[^":#]+\.md)#?(?P<anchor>[^"]*))"')
_SHIM = '<script src="https://unpkg.com/iframe-worker/shim"></script>'  # for a search in a page that was opened from a disk
_LOADED = re.compile(r"""<(?:script|link(?!.*canonical)|img|iframe|source)\b[^>]*\b(?:src|href)=["']?((?:https?:)?//[^"'>\s]+)""")


def on_config(config: MkDocsConfig) -> None:
    """Let cells import what stands beside this file, in the language of the pages, and take the fences that readers may edit."""
    sys.path.insert(0, str(HERE))  # MkDocs has it there only while it loads this file
    os.environ["TOISE_SITE_LANGUAGE"] = Path(config.docs_dir).name
    fence = {"name": "python", "class": "try", "validator": running.is_editable, "format": running.cell}
    config.mdx_configs["pymdownx.superfences"]["custom_fences"].append(fence)  # the last one that fits takes a fence


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages of the specification, where they are, as `spec/...`."""
    for page in sorted(SPEC.glob("*.md")):
        files.append(File.generated(config, f"spec/{page.name}", abs_src_path=str(page)))
    files.append(File.generated(config, notebooks.ARCHIVE, content=notebooks.archive(Path(config.docs_dir))))
    if folder := running.vendored():
        for path in filter(Path.is_file, sorted(folder.glob("assets/**/*"))):
            files.append(File.generated(config, path.relative_to(folder).as_posix(), abs_src_path=str(path)))
        files.append(File.generated(config, "assets/python/run_cell.py", abs_src_path=str(HERE / "run_cell.py")))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put below each requirement its test, and the faults that it catches."""
    if not page.file.src_uri.startswith("spec/"):
        return markdown
    try:
        return with_proof(markdown)
    except LookupError as error:
        raise PluginError(f"{page.file.src_uri}: {error}") from None


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn formulas into MathML, which needs no script, and the links that cells printed into addresses."""
    html = _MATH.sub(lambda match: _mathml(match, page), html)
    # MkDocs knows the anchors of headings; cells print others.
    page.present_anchor_ids = (page.present_anchor_ids or set()) | set(_ANCHOR.findall(html))
    if page.file.src_uri in notebooks.PAGES:
        html = notebooks.offered(html, get_relative_url(notebooks.ARCHIVE, page.url))
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
    """Put our copy, if there is one, in place of what Material would load from elsewhere; refuse a page that loads more."""
    ours = get_relative_url("assets/iframe-worker.js", page.url)
    output = output.replace(_SHIM, f'<script src="{ours}"></script>' if running.vendored() else "")
    if loaded := _LOADED.search(output):
        raise PluginError(f"{page.file.src_uri}: loads {loaded[1]}; the site has to work offline")
    return output


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    """Take out of the page for wrong addresses what Material would load from elsewhere: nobody opens that from a disk."""
    return output_content.replace(_SHIM, "")
