"""The grading command for tests: in this process, and in one of its own without third-party packages."""

import subprocess
import sys

from conftest import ROOT

from grading import score


def run(folder, answers, *more):
    return score.main(["--submission", str(folder), "--answers", str(answers), *more])


def command(*arguments, **options):
    """The command in a process of its own, without third-party packages."""
    return subprocess.run(
        [sys.executable, "-S", "-m", "grading.score", *map(str, arguments)],
        cwd=ROOT, capture_output=True, check=False, timeout=60, **options,
    )  # fmt: skip


def refusal(capsys, *arguments):
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("grading: could not grade: ")
    assert "Next: " in err
    return err
