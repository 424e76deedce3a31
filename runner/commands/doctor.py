"""The command `labeltune doctor`: what this machine has for a run, and how to get what it lacks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from runner.errors import redact_secrets
from runner.lookahead.findings import Findings
from runner.lookahead.layout import counted, report_lines
from runner.lookahead.machine_report import look_at_machine

DESCRIPTION = """\
Look at this machine: Python, packages, GPU, processor, memory, disk, and where base models come from. Every problem is
shown with what to do about it. Nothing is loaded, downloaded or written.
"""


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit code: 2 where a run would fail here."""
    parser = argparse.ArgumentParser(
        prog="labeltune doctor", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--workspace", type=Path, default=Path(), metavar="DIR", help="folder for runs (default: the current one)"
    )
    options = parser.parse_args(arguments)
    findings = Findings()
    sections = look_at_machine(options.workspace, findings)
    verdict = "this machine: fine"
    if findings.problems:
        verdict = f"this machine: {counted(len(findings.problems), 'problem')}"
    if findings.warnings:
        verdict += f", {counted(len(findings.warnings), 'warning')}"
    print(redact_secrets("\n".join([*report_lines(sections, findings), verdict])))
    return 2 if findings.problems else 0
