"""The grader: submissions and the examiner's answer keys go in, points with a reason for each come out.

    python -m grading.score --submission PATH --answers DIR                    one folder or archive
    python -m grading.score --submissions DIR --answers DIR --out DIR          a whole class
    grading.grade("submission.zip", answers="keys/").points                    from Python

It needs only the standard library of Python 3.9 or newer; the folder `grading/` works when copied to a bare machine.
A submission is read as bytes: nothing in it is imported, unpickled or trusted about itself. Start the grader from your own
checkout and name the submission with `--submission`: `python -m` puts the current folder on the import path, so a grader
that is started *inside* a submission runs the submission's `grading/`, if it has one. `docs/reference/grading.md` lists what is
accepted, and what each key of a report means.

One submission: `submission.opening` opens it (`archives` unpacks it), `grader` asks `checks` for the verdicts of the
`rubric` and `audit` for the advice that carries no points, `report` writes the result down. A class: `classroom.run` grades
each submission in a child process (`sandbox`, `worker`) into a `card`; `similarity` and `leaderboard` compare the cards.

What it does not cover:

* Predictions may not come from the adapter: the adapter is never loaded, so a result file made in any other way scores.
  `--rerun N` has the runner predict N rows again; it carries no points, and it hands a stranger's adapter to PEFT.
* An adapter may be useless. The grader knows of its values only that they are finite and that some `lora_B` is not zero.
  With an initialisation that starts `lora_B` non-zero (PiSSA, OLoRA, LoftQ) the second proves nothing, and the report says
  so. Whether it fits its base model is checked with `--base`, for the modules whose shapes are known.
* Records are checked for their shape. Whether their text is the exam's is checked with `--data`, without points.
* The labels are those of the answer key, so a label that the key never uses is wrong.
* A report holds counts, never an answer. But a candidate who may be graded again and again learns an answer from the accuracy of
  two results that differ in one row, or of one that has a single label: give the key to nobody who is being graded.
* Hard links out of the submission cannot be told from its own files.
* The limits of a child process bound what it uses; they are no sandbox: it has the examiner's rights. Grade strangers'
  work as a user who owns nothing else.
"""

import sys

# this file parses in every Python, so that an old one gets a sentence instead of a SyntaxError
if sys.version_info < (3, 9):
    sys.stderr.write(
        "the grader needs Python 3.9 or newer; this is Python %d.%d (%s)\n"
        "  next: start it with a newer one, for instance: python3.11 -m grading.score\n"
        % (sys.version_info[0], sys.version_info[1], sys.executable)
    )
    sys.exit(2)

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # noqa: F401

    from grading.errors import CouldNotGrade, FileProblem
    from grading.grader import grade

_HOMES = {"CouldNotGrade": "grading.errors", "FileProblem": "grading.errors", "grade": "grading.grader"}

__all__ = ["CouldNotGrade", "FileProblem", "grade"]


def __getattr__(name):  # type: (str) -> Any
    """Loads a name when it is first used: `python -m grading.score --help` and the runner need none of them."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError("module %r has no attribute %r" % (__name__, name))


def __dir__():  # type: () -> list[str]
    return __all__
