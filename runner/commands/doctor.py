"""The command `labeltune doctor`: what this machine has for a run, and how to get what it lacks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from grading.contract.language import speak_to_argparse
from runner.errors import redact_secrets
from runner.language import mark, tr
from runner.lookahead.findings import Findings
from runner.lookahead.layout import problem_count, report_lines, warning_count
from runner.lookahead.machine_report import look_at_machine

DESCRIPTION = mark("""\
Look at this machine: Python, packages, GPU, processor, memory, disk, and where base models come from. Every problem is
shown with what to do about it. Nothing is loaded, downloaded or written.
""")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit code: 2 where a run would fail here."""
    speak_to_argparse()
    parser = argparse.ArgumentParser(
        prog="labeltune doctor", description=tr(DESCRIPTION), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--workspace", type=Path, default=Path(), metavar="DIR", help=tr("folder for runs (default: the current one)")
    )
    options = parser.parse_args(arguments)
    findings = Findings()
    sections = look_at_machine(options.workspace, findings)
    verdict = tr("this machine: fine")
    if findings.problems:
        verdict = tr("this machine: {problem_count}", problem_count=problem_count(len(findings.problems)))
    if findings.warnings:
        verdict += tr(", {warnings}", warnings=warning_count(len(findings.warnings)))
    print(redact_secrets("\n".join([*report_lines(sections, findings), verdict])))
    return 2 if findings.problems else 0
