"""The workspace: the folder that a run works in, and the path of every file in it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from grading import contract
from grading.contract.language import reason_of
from runner.errors import UserError
from runner.language import tr

PROMPT = "prompt.json"
"""File in an adapter's folder that describes the prompt of its training."""

CLASSIFIER = "classifier.json"
"""File in an adapter's folder that names its base and precision."""

RECIPE = "recipe.yaml"
"""File in an adapter's folder with the whole recipe of its training."""

METRICS_LOG = "metrics.jsonl"
"""File in an adapter's folder with the history of its training: a row every few optimizer steps, and one for each epoch."""

EVALUATION = "evaluation.json"
"""File in an adapter's folder with all that the hold-out says about it."""

CALIBRATION = "calibration.json"
"""File in an adapter's folder with the change to its label logits, where there is one."""

HOLDOUT_PREDICTIONS = "holdout_predictions.jsonl"
"""File in an adapter's folder with the hold-out's predictions."""

PROMPT_EXAMPLE = "prompt_example.json"
"""File in an adapter's folder with the tokens of one hold-out row's prompt, for the report."""

ENSEMBLE = "ensemble.json"
"""File in an adapter's folder that compares it with the other members of its ensemble."""

MANIFESTS: Mapping[str, str] = {
    "prepare": "pre_data/{0}/manifest.json",
    "finetune": "saved_model/{0}/manifest.json",
    "evaluate": "saved_model/{0}/manifest_evaluate.json",
    "ensemble": "saved_model/{0}/manifest_ensemble.json",
    "predict": "result/manifest_{0}.json",
}
"""For each stage, in order, where its manifest is; `{0}` is the dataset."""

STAGE_NAMES = tuple(name for name in MANIFESTS if name != "ensemble")
"""The stages that a command names. The ensemble belongs to evaluate and predict."""


@dataclass(frozen=True)
class Workspace:
    """The paths of one dataset in one workspace. Those that the grader reads come from the contract."""

    root: Path
    """The workspace, `--workspace` or the current folder."""
    dataset: str
    """`task.name` of the recipe."""
    data_root: Optional[Path] = None
    """Where the recipe's data files are, if not in `root`: the trials of a search, and folds, write elsewhere."""
    results_below: str = ""
    """Where the folder `result` is, if not directly in `root`: a path from there. The first member of an ensemble has its own
    predictions elsewhere, because all members together make the result."""
    store_root: Optional[Path] = None
    """The folder of the store, if it is not the workspace's own: the trials of a search share one."""

    def at(self, relative: str) -> Path:
        """A contract path in this workspace."""
        return self.root / relative

    @property
    def train(self) -> str:
        """Training records."""
        return contract.train_path(self.dataset)

    @property
    def holdout(self) -> str:
        """Held-out records, of the same shape; not part of the contract."""
        return f"pre_data/{self.dataset}/{self.dataset}_holdout.json"

    @property
    def dev(self) -> str:
        """Records to predict."""
        return contract.dev_path(self.dataset)

    @property
    def holdout_swapped(self) -> str:
        """The held-out records with the columns of `task.swap` exchanged, where the recipe has that key."""
        return f"pre_data/{self.dataset}/{self.dataset}_holdout_swapped.json"

    @property
    def dev_swapped(self) -> str:
        """The records to predict with the columns of `task.swap` exchanged, where the recipe has that key."""
        return f"pre_data/{self.dataset}/{self.dataset}_dev_swapped.json"

    @property
    def dev_answers(self) -> str:
        """The labels of the dev rows, where they are known. No stage but the scoring reads them."""
        return f"pre_data/{self.dataset}/{self.dataset}_dev_answers.json"

    @property
    def store(self) -> str:
        """Folder of caches that later runs over the same rows use: tokens, and frozen layers where the recipe says so."""
        return f"pre_data/{self.dataset}/store"

    @property
    def store_folder(self) -> Path:
        """Where that folder is."""
        return self.store_root or self.at(self.store)

    @property
    def adapter(self) -> str:
        """Folder of the adapter."""
        return contract.adapter_folder(self.dataset)

    @property
    def checkpoints(self) -> str:
        """Checkpoints of unfinished fine-tunes, a folder for each."""
        return f"saved_model/.checkpoints/{self.dataset}"

    @property
    def runs(self) -> str:
        """Earlier runs that another setting has replaced, a folder for each."""
        return f"saved_model/.runs/{self.dataset}"

    @property
    def searches(self) -> str:
        """Searches, a folder for each with its journal and its trials."""
        return f"saved_model/.search/{self.dataset}"

    @property
    def search_table(self) -> str:
        """The table of the last search."""
        return f"result/search_{self.dataset}.json"

    @property
    def search_recipe(self) -> str:
        """The recipe that the last search has found."""
        return f"result/search_{self.dataset}.yaml"

    @property
    def ensemble(self) -> str:
        """The members of an ensemble, a folder for each."""
        return f"saved_model/.ensemble/{self.dataset}"

    @property
    def doubtful(self) -> str:
        """The cross-fitted runs that look for doubtful rows, a folder for each setting."""
        return f"saved_model/.doubtful/{self.dataset}"

    @property
    def doubtful_rows(self) -> str:
        """The list of doubtful rows, for the user to decide."""
        return f"pre_data/{self.dataset}/doubtful.csv"

    @property
    def result(self) -> str:
        """Predictions in the contract's format."""
        return self._below(contract.result_path(self.dataset))

    @property
    def predictions(self) -> str:
        """Predictions with their probabilities, one JSON object a line."""
        return self._below(f"result/predictions_{self.dataset}.jsonl")

    @property
    def older_results(self) -> str:
        """Results for other dev rows, a folder for each."""
        return self._below(f"result/.older/{self.dataset}")

    @property
    def score(self) -> str:
        """How the predictions compare with the dev labels, where these are known."""
        return self._below(f"result/score_{self.dataset}.json")

    @property
    def report(self) -> str:
        """The folder of the report: one page, and its charts as PNG files."""
        return self._below(f"result/{self.dataset}")

    @property
    def unfinished_predictions(self) -> str:
        """The rows that an unfinished prediction has predicted so far."""
        return self._below(f"result/.predictions_{self.dataset}.partial")

    @property
    def tracker_folder(self) -> Path:
        """Where experiment trackers write their files: beside what is handed in, also for the trials of a search."""
        return (self.data_root or self.root) / "trackers"

    @property
    def lock(self) -> Path:
        """Locked while a run works on this dataset."""
        return self.root / f"saved_model/.{self.dataset}.lock"

    @property
    def run_record(self) -> Path:
        """Recipe, versions, inputs, outputs and metrics of the run."""
        return self.root / self.adapter / "run.json"

    def make_folders(self) -> None:
        """Make the folders that a run writes into, before the training rather than after it.

        Raises UserError where a file is in the way, where nothing can be written, or where the workspace's name is not UTF-8:
        pyarrow and safetensors open no file in such a folder."""
        try:
            str(self.root).encode()
        except UnicodeEncodeError:
            raise UserError(
                tr("workspace {root}: the name is not UTF-8 text", root=ascii(str(self.root))[1:-1]),
                tr("rename it, or start the run inside it"),
            ) from None
        folders = [self.root / name for name in (f"pre_data/{self.dataset}", "saved_model", "result")]
        for folder in folders:
            with _user_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
        adapter = self.root / self.adapter
        for folder in [*folders, adapter] if adapter.exists() else folders:
            # a folder's mode is not all that can forbid writing
            with _user_errors(folder), tempfile.TemporaryFile(dir=folder):
                pass

    def manifest(self, stage: str) -> Path:
        """The manifest of a stage: it exists when the stage has finished."""
        path = MANIFESTS[stage].format(self.dataset)
        return self.root / (self._below(path) if path.startswith("result/") else path)

    def _below(self, path: str) -> str:
        """A path in the folder `result`."""
        return f"{self.results_below}/{path}" if self.results_below else path


@contextmanager
def _user_errors(folder: Path) -> Iterator[None]:
    """Raise UserError that names the folder where the block cannot make it, or write into it."""
    try:
        yield
    except (FileExistsError, NotADirectoryError):
        raise UserError(
            tr("{folder}: expected a folder, found a file or a link to nothing", folder=folder), tr("move it away")
        ) from None
    except OSError as error:
        raise UserError(
            tr("{folder}: {reason}: cannot write here", folder=folder, reason=reason_of(error)),
            tr("change its mode or its owner, make room, or work in another folder: --workspace DIR"),
        ) from error


def locate_table(name: str, root: Path, dataset: str) -> Path:
    """Find the data file that a recipe names, by a path from the workspace or an absolute one.

    Where the folder with the dataset's name is missing, the file may be one folder up: `questionBData/QQP_train.tsv`."""
    path = root / os.path.expanduser(name)
    flat = path.parent.parent / path.name
    # a bare name means the workspace itself, which may have the dataset's name: never look above it
    inside = os.path.dirname(name) != ""
    return flat if inside and path.parent.name == dataset and not path.exists() and flat.exists() else path


def shown(path: Path, root: Path) -> str:
    """A file as messages name it: by its path from the workspace if it is in there."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
