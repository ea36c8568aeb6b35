"""The report as JUnit XML, which every CI system reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from toise.report import BROKEN
from toise.terminal import failure_text

if TYPE_CHECKING:
    from toise.report import Document, Report, Row

NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
FAILURES = {outcome: "failure" if outcome == "FAIL" else "error" for outcome in BROKEN}


def render(document: Document) -> str:
    """Return one test suite for each report, one test case for each row; and one that is skipped for each that cannot be had."""
    root = ET.Element("testsuites", name="toise")
    for target, reason in document.unavailable.items():
        suite = ET.SubElement(root, "testsuite", name=_clean(target), tests="1", failures="0", errors="0", skipped="1")
        case = ET.SubElement(suite, "testcase", classname="toise", name=_clean(target))
        ET.SubElement(case, "skipped", message=_clean(f"NOT AVAILABLE: {reason}"))
    for report in document.reports:
        rows = report.results
        suite = ET.SubElement(
            root,
            "testsuite",
            name=_clean(report.target),
            tests=str(len(rows) + (not report.complete)),
            failures=str(sum(_kind(row, report) == "failure" for row in rows)),
            errors=str(sum(_kind(row, report) == "error" for row in rows) + (not report.complete)),
            skipped=str(sum(_kind(row, report) == "skipped" for row in rows)),
        )
        if not report.complete:
            cut = ET.SubElement(suite, "testcase", classname="toise", name=_clean(report.target))
            ET.SubElement(cut, "error", type="INCOMPLETE", message="INCOMPLETE: the run ended before all was judged")
        properties = ET.SubElement(suite, "properties")
        for name, value in (*report.environment.items(), *report.settings.items(), ("complete", report.complete)):
            ET.SubElement(properties, "property", name=f"toise.{name}", value=_clean(str(value)))
        for row in rows:
            case = ET.SubElement(suite, "testcase", classname=f"toise.{row.operation}", name=f"{row.requirement}[{row.dtype}]")
            kind = _kind(row, report)
            if kind == "skipped":
                ET.SubElement(case, kind, message=_clean(f"{row.outcome}: {row.reason}"))
            elif kind:
                ET.SubElement(case, kind, type=row.outcome, message=_clean(f"{row.reason}: {row.sentence}")).text = _clean(
                    failure_text(row, report.environment["specification"])
                )
            elif row.outcome == "WARN":
                ET.SubElement(case, "system-out").text = _clean(failure_text(row, report.environment["specification"]))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _kind(row: Row, report: Report) -> str:
    """Return the JUnit element for a row; empty for one that is well."""
    if row.outcome in FAILURES:
        return FAILURES[row.outcome]
    if row.outcome == "WARN":
        return "failure" if report.settings["strict"] else ""
    if row.outcome == "XPASS":
        return "" if report.settings["allow_xpass"] else "failure"
    if row.outcome == "NOT RUN" and not row.excluded:
        return "failure"
    return "" if row.outcome == "PASS" else "skipped"


def _clean(text: str) -> str:
    """Drop the characters that XML 1.0 cannot hold."""
    return NO_XML.sub("", text)
