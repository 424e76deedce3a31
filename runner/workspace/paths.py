"""The workspace: the folder a run works in, and where in it everything lies."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from grading import contract
from runner.errors import UserError

PROMPT = "prompt.json"
"""File in an adapter's folder that describes the prompt of its training."""

CLASSIFIER = "classifier.json"
"""File in an adapter's folder that names its base and precision."""


@dataclass(frozen=True)
class Workspace:
    """The paths of one dataset in one workspace. The shared ones come from the contract."""

    root: Path
    """The workspace, `--workspace` or the current folder."""
    dataset: str
    """`task.name` of the recipe."""

    def at(self, relative: str) -> Path:
        """A contract path in this workspace."""
        return self.root / relative

    @property
    def train(self) -> str:
        """Training records."""
        return contract.train_path(self.dataset)

    @property
    def holdout(self) -> str:
        """Held-out records, of the same shape; ours alone, the contract does not ask for them."""
        return f"pre_data/{self.dataset}/{self.dataset}_holdout.json"

    @property
    def dev(self) -> str:
        """Records to predict."""
        return contract.dev_path(self.dataset)

    @property
    def store(self) -> str:
        """Folder of what is kept between runs over the same rows: `tokens/`, and `trunk/` where the recipe says so."""
        return f"pre_data/{self.dataset}/store"

    @property
    def adapter(self) -> str:
        """Folder of the adapter."""
        return contract.adapter_folder(self.dataset)

    @property
    def checkpoints(self) -> str:
        """Folder of what unfinished fine-tunes go on from, one folder for each."""
        return f"saved_model/.checkpoints/{self.dataset}"

    @property
    def result(self) -> str:
        """Predictions as the contract wants them."""
        return contract.result_path(self.dataset)

    @property
    def predictions(self) -> str:
        """Predictions with their probabilities, a JSON object a line."""
        return f"result/predictions_{self.dataset}.jsonl"

    @property
    def unfinished_predictions(self) -> str:
        """The rows that an unfinished prediction has got through."""
        return f"result/.predictions_{self.dataset}.partial"

    @property
    def lock(self) -> Path:
        """Held while a run works on this dataset."""
        return self.root / f"saved_model/.{self.dataset}.lock"

    @property
    def run_record(self) -> Path:
        """What was run, with what, and what came of it."""
        return self.root / self.adapter / "run.json"

    def make_folders(self) -> None:
        """Makes the folders that a run writes into: what is in the way is better known now than after the training.

        Raises UserError where a file is, or where nothing can be written."""
        folders = [self.root / name for name in (f"pre_data/{self.dataset}", "saved_model", "result")]
        for folder in folders:
            with _said(folder):
                folder.mkdir(parents=True, exist_ok=True)
        adapter = self.root / self.adapter
        for folder in [*folders, adapter] if adapter.exists() else folders:
            with _said(folder), tempfile.TemporaryFile(dir=folder):  # a folder's mode is not all that can forbid it
                pass

    def manifest(self, stage: str) -> Path:
        """Where a stage says that it is done."""
        return (
            self.root
            / {
                "prepare": f"pre_data/{self.dataset}/manifest.json",
                "finetune": f"{self.adapter}/manifest.json",
                "predict": f"result/manifest_{self.dataset}.json",
            }[stage]
        )


@contextmanager
def _said(folder: Path) -> Iterator[None]:
    """Raises UserError that names the folder where the block cannot make it, or write into it."""
    try:
        yield
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{folder}: expected a folder, found a file or a link to nothing", "move it away") from None
    except OSError as error:
        raise UserError(
            f"{folder}: {error.strerror}: cannot write here",
            "change its mode or its owner, make room, or work in another folder: --workspace DIR",
        ) from error


def locate_table(name: str, root: Path, dataset: str) -> Path:
    """The data file that a recipe means, from the workspace or absolute. Where a folder named like the dataset is missing,
    the file may also lie one up: `questionBData/QQP_train.tsv`, the flat layout."""
    path = root / os.path.expanduser(name)
    flat = path.parent.parent / path.name
    # a bare name lies in the workspace itself, which may be called like the dataset: above it is not ours
    inside = os.path.dirname(name) != ""
    return flat if inside and path.parent.name == dataset and not path.exists() and flat.exists() else path


def shown(path: Path, root: Path) -> str:
    """A file as messages name it: from the workspace where it lies in it."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
