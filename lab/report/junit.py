"""The drills' verdicts as JUnit's XML, for a pipeline that shows tests."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from lab.drills.result import Result
from lab.report.markup import printable


def write(results: Sequence[Result], path: Path) -> None:
    """A suite by variant, a case by drill. A drill on an overloaded machine is skipped: it has not passed."""
    top = ET.Element("testsuites", name="failover drills")
    for variant in dict.fromkeys(r.variant for r in results):
        _suite(top, variant, [r for r in results if r.variant == variant])
    ET.indent(top)
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(top).write(path, encoding="utf-8", xml_declaration=True)


def _suite(top: ET.Element, variant: str, results: Sequence[Result]) -> None:
    verdicts = [r.verdict for r in results]
    suite = ET.SubElement(
        top, "testsuite", name=printable(variant), tests=str(len(results)), failures=str(verdicts.count("failed")),
        errors=str(verdicts.count("not run")), skipped=str(verdicts.count("overloaded")),
        time=f"{sum(r.duration for r in results):.3f}", timestamp=printable(results[0].started),
    )  # fmt: skip
    for result in results:
        case = ET.SubElement(
            suite, "testcase", name=printable(result.drill), classname=f"drills.{printable(result.variant)}",
            time=f"{result.duration:.3f}",
        )  # fmt: skip
        _verdict(case, result)
        told = [result.noticed, *(f"{'ok' if e.met else 'NOT OK'}  {e.text}: {e.found}" for e in result.expectations)]
        ET.SubElement(case, "system-out").text = printable("\n".join(told))


def _verdict(case: ET.Element, result: Result) -> None:
    missed = "\n".join(f"{e.text}: {e.found}" for e in result.expectations if not e.met)
    if result.verdict == "failed":
        number = sum(not e.met for e in result.expectations)
        ET.SubElement(case, "failure", message=f"{number} not met").text = printable(missed)
    elif result.verdict == "not run":
        ET.SubElement(case, "error", message=printable(result.problem))
    elif result.verdict == "overloaded":
        ET.SubElement(case, "skipped", message="the machine was too busy to judge times by").text = printable(missed)
