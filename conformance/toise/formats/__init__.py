"""The forms of a report: each module has `render(document)`, which makes text of what the JSON form holds and of nothing else."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toise.report import Document

# What `toise report` calls each form, and what it is for.
FORMS = {
    "html": "a page of its own that opens offline: the matrix, each failure with its arrays, and a plot",
    "markdown": "for the summary of a CI job",
    "junit": "JUnit XML, which every CI system reads",
    "sarif": "SARIF 2.1.0, for code scanning",
    "github": "annotations, which GitHub shows beside the lines of the file",
    "badge": "an endpoint of shields.io",
}


def render(form: str, document: Document) -> str:
    """Return a report in one of the forms; what makes the others is not imported."""
    text: str = importlib.import_module(f"toise.formats.{form}").render(document)
    return text
