"""The report as Gradescope's `results.json`."""

from collections.abc import Mapping
from typing import Any


def as_gradescope(report: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Gradescope's `results.json` of a report's JSON object: a test for each check, the text as the output.

    Format: https://gradescope-autograders.readthedocs.io/en/latest/specs/. A report with a problem has no test and no
    points, and its output says why nothing was graded."""
    tests = [
        {
            "name": f"{part['dataset']}: {part['part']}: {check['check']}",
            "score": check["points"],
            "max_score": check["max_points"],
            "output": reason,
            "output_format": "text",
            "visibility": "visible",
        }
        for part in report["parts"]
        for check, reason in zip(part["checks"], part["reasons"])
    ]
    return {"score": report["points"], "output": text, "output_format": "text", "visibility": "visible", "tests": tests}
