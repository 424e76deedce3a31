"""labeltune: a YAML recipe goes in, a LoRA fine-tune that answers with a label comes out, and a grader says what it is worth.

The Python API. Names are imported on first use, so that `import labeltune` is instant. This file parses in every Python.
"""

from importlib import import_module

# it ends an old Python with a sentence
from runner import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # noqa: F401

    from grading import grade
    from grading.errors import CouldNotGrade, FileProblem
    from runner.api import load_recipe, run
    from runner.asking.asker import Asker
    from runner.errors import UserError
    from runner.prediction.classifier import Classifier
    from runner.prediction.prediction_file import Prediction
    from runner.reporting.run_result import RunResult

_HOMES = {
    "Asker": "runner.asking.asker",
    "Classifier": "runner.prediction.classifier",
    "CouldNotGrade": "grading.errors",
    "FileProblem": "grading.errors",
    "Prediction": "runner.prediction.prediction_file",
    "RunResult": "runner.reporting.run_result",
    "UserError": "runner.errors",
    "grade": "grading",
    "load_recipe": "runner.api",
    "run": "runner.api",
}

__all__ = [
    "Asker",
    "Classifier",
    "CouldNotGrade",
    "FileProblem",
    "Prediction",
    "RunResult",
    "UserError",
    "__version__",
    "grade",
    "load_recipe",
    "run",
]


def __getattr__(name):  # type: (str) -> Any
    if name not in _HOMES:
        raise AttributeError("module 'labeltune' has no attribute %r" % (name,))
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__():  # type: () -> list[str]
    return __all__
