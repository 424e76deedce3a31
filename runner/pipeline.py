"""The pipeline: recipe → table → records → adapter → predictions, for every recipe of a launch.

Each stage reads what the one before left on disk. A stage whose inputs have not changed since it finished is not run.
Only torch-free modules are imported here at the top; the stages that need a model bring in the rest.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from grading import contract
from runner.data.prepare import prepare, table_changed
from runner.data.records import records_of
from runner.data.tsv import open_table
from runner.distributed.processes import as_main_says, is_main_process, wait_for_everyone
from runner.errors import UserError
from runner.model.base import Bases
from runner.prediction.prediction_file import begun
from runner.recipe.loader import LoadedRecipe
from runner.recipe.schema import Recipe, dev_forms
from runner.scoring.prompt import prompt_of
from runner.system import offline
from runner.system.console import log_context
from runner.system.files import atomic_folder, digest, recover_folder
from runner.system.lock import locked
from runner.system.provenance import code_digest, library_versions
from runner.system.signals import raise_if_asked
from runner.training.resume import Unfinished
from runner.workspace.manifest import Manifest, finish, finished, read_manifest
from runner.workspace.paths import Workspace, locate_table, shown
from runner.workspace.run_record import write_run_record

STAGES: Mapping[str, tuple[str, ...]] = {
    "prepare": ("task", "instruction", "samples"),
    "finetune": ("task.labels", "instruction", "prompt", "lora", "train"),
    "predict": ("task.labels", "instruction", "prompt", "decoding", "train.precision"),
}
"""The stages in their order, each with the keys of the recipe that it depends on."""

ADAPTER_FILES = (contract.ADAPTER_WEIGHTS, contract.ADAPTER_CONFIG, "prompt.json", "metrics.jsonl")
"""What fine-tuning leaves in the adapter's folder, its manifest and the run record aside."""

OWN_RECORDS = ("manifest.json", "run.json")
"""What a new adapter makes void in its folder; anything else that lies there stays."""

log = logging.getLogger("labeltune.pipeline")


def run(recipes: Sequence[LoadedRecipe], root: Path, stages: Iterable[str] = STAGES, fresh: bool = False) -> None:
    """Runs the stages for each recipe in the workspace `root`; recipes with the same base share one loaded copy.

    `fresh` runs a stage even if nothing has changed. Raises UserError and its kin, and Stopped when a signal asks for it."""
    bases, wanted = Bases(root), set(stages)
    if any(loaded.recipe.offline for loaded in recipes):  # one launch is one process
        offline.block_network()
    wait_for_everyone()  # before anything can go wrong: who is not connected does not hear that another has ended
    for loaded in recipes:
        started = time.perf_counter()
        workspace = Workspace(root, loaded.recipe.task.name)
        work = Work(loaded.recipe, workspace, bases, fresh)
        with work.alone():
            for name, stage in zip(STAGES, (work.prepare, work.finetune, work.predict)):
                if name in wanted:
                    stage()
                    raise_if_asked()
            if is_main_process():
                write_run_record(loaded, workspace, STAGES, time.perf_counter() - started)


def _with_code(inputs: Mapping[str, str]) -> dict[str, str]:
    """A stage done by other code is not done."""
    return {**inputs, "code": code_digest()}


class Work:
    """The stages of one recipe in one workspace. Each returns once its outputs and its manifest are on disk."""

    def __init__(self, recipe: Recipe, workspace: Workspace, bases: Bases, fresh: bool) -> None:
        self.recipe, self.workspace, self.bases, self.fresh = recipe, workspace, bases, fresh

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other runs out of this dataset for the length of the block, after what a dead one left is settled."""
        if not is_main_process():
            yield
            return
        self.workspace.make_folders()
        with locked(self.workspace.lock):
            recover_folder(self.workspace.at(self.workspace.adapter), OWN_RECORDS)
            yield

    def prepare(self) -> None:
        """TSV files → records. The main process alone; the others wait at the next stage for what it writes."""
        if not is_main_process():
            return
        recipe, task, root = self.recipe, self.recipe.task, self.workspace.root
        forms = dev_forms(task.columns, task.label, task.dev_columns)
        train_path, dev_path = (locate_table(name, root, task.name) for name in (task.train, task.dev))
        train = open_table(train_path, shown(train_path, root), (task.columns,), task.header, task.quoting)
        dev = open_table(dev_path, shown(dev_path, root), forms, task.header, task.quoting, train.csv_quoted)
        inputs = {
            "recipe": recipe.digest(*STAGES["prepare"]),
            "train": digest(train.path),
            "dev": digest(dev.path),
        }

        def work() -> Mapping[str, Any]:
            figures = prepare(recipe, train, dev, self.workspace)
            for table, before in ((train, inputs["train"]), (dev, inputs["dev"])):
                if digest(table.path) != before:  # its rows were read one by one, some before the change
                    raise table_changed(table)
            return figures

        self._stage("prepare", inputs, self._done("prepare", inputs), work)

    def finetune(self) -> None:
        """Records → adapter. Every process takes part."""
        wait_for_everyone()
        prepared = self._require("prepare").outputs
        inputs = {
            "recipe": self.recipe.digest(*STAGES["finetune"]),
            "base": self.bases.digest(self.recipe),
            **library_versions(),
            "train": prepared[self.workspace.train],
            "holdout": prepared[self.workspace.holdout],
        }
        identity = {
            **self.recipe.flat(*STAGES["finetune"]),
            **{name: value for name, value in inputs.items() if name != "recipe"},
            "code": code_digest(),
            "processes": int(os.environ.get("WORLD_SIZE", "1")),
        }
        unfinished = Unfinished(self.workspace.at(self.workspace.checkpoints), identity)
        done = as_main_says(lambda: not unfinished.there() and self._done("finetune", inputs))
        self._stage("finetune", inputs, done, lambda: self._finetune(unfinished))
        if not is_main_process():
            return
        if not done:  # the adapter is in its place: there is nothing to go on with
            unfinished.clear()  # and no other: none was there when it began
        elif unfinished.others():
            with log_context(f"{self.workspace.dataset} finetune"):
                log.info(f"kept: {unfinished.others()[0]}, another run's; its command goes on with it")

    def predict(self) -> None:
        """Adapter and dev records → result. One input at a time, so the main process alone."""
        wait_for_everyone()
        if not is_main_process():
            return
        prepared, trained = self._require("prepare"), self._require("finetune")
        if trained.inputs.get("base") != self.bases.digest(self.recipe):
            raise UserError(
                f"{self.workspace.adapter}: the adapter was trained on another base than {self.recipe.base}",
                "name the base that it was trained on, or train it on this one: leave --stages out",
            )
        inputs = {
            "recipe": self.recipe.digest(*STAGES["predict"]),
            "base": self.bases.digest(self.recipe),
            "adapter": trained.outputs[f"{self.workspace.adapter}/{contract.ADAPTER_WEIGHTS}"],
            "adapter_config": trained.outputs[f"{self.workspace.adapter}/{contract.ADAPTER_CONFIG}"],
            **library_versions(),
            "dev": prepared.outputs[self.workspace.dev],
        }
        identity = hashlib.sha256(json.dumps(_with_code(inputs), sort_keys=True).encode()).hexdigest()
        partial = self.workspace.at(self.workspace.unfinished_predictions)
        done = not begun(partial, identity) and self._done("predict", inputs)
        self._stage("predict", inputs, done, lambda: self._predict(identity))

    def _outputs(self, stage: str) -> Sequence[str]:
        """What a stage writes, by its paths from the workspace."""
        place = self.workspace
        return {
            "prepare": (place.train, place.holdout, place.dev),
            "finetune": [f"{place.adapter}/{name}" for name in ADAPTER_FILES],
            "predict": (place.result, place.predictions),
        }[stage]

    def _done(self, stage: str, inputs: Mapping[str, str]) -> bool:
        """Whether the stage's manifest says that it has been done with these inputs, and nobody wants it done again."""
        path = self.workspace.manifest(stage)
        return not self.fresh and finished(path, self.workspace.root, _with_code(inputs)) is not None

    def _stage(
        self,
        stage: str,
        inputs: Mapping[str, str],
        done: bool,
        work: Callable[[], Mapping[str, Any]],
    ) -> None:
        """Does the work of a stage unless it is `done`, and writes its manifest last."""
        with log_context(f"{self.workspace.dataset} {stage}"):
            if done:
                log.info("nothing changed")
                return
            if stage != "prepare" and "torch" not in sys.modules:
                log.info("loading torch, transformers and peft")
            figures = work()
        if is_main_process():
            self.workspace.run_record.unlink(missing_ok=True)  # it speaks of what was there before
            path, root = self.workspace.manifest(stage), self.workspace.root
            finish(path, root, stage, _with_code(inputs), self._outputs(stage), figures)

    def _finetune(self, unfinished: Unfinished) -> Mapping[str, Any]:
        from runner.distributed.accelerator import accelerator_for
        from runner.distributed.sharding import requested_sharding
        from runner.training.finetune import FinetuneJob, Folders, finetune

        recipe, target = self.recipe, self.workspace.at(self.workspace.adapter)
        if is_main_process():
            if self.fresh:
                unfinished.clear()
            unfinished.require_no_other()
            unfinished.begin()
        # every process works on the folder's name, the main one makes it and moves it into place
        with atomic_folder(target, OWN_RECORDS) if is_main_process() else nullcontext(target) as folder:
            accelerator = accelerator_for(recipe, folder)
            kind = requested_sharding(accelerator)
            if kind and recipe.train.keep_trunk:
                raise UserError(
                    f"train.keep_trunk: the main process computes the trunk alone, and {kind} splits the base",
                    "set train.keep_trunk: false, or let each process hold the whole base: recipes/accelerate/ddp.yaml",
                )
            load = self.bases.load_to_split if kind else self.bases.load
            base = load(recipe, accelerator.device)
            prompt, store = prompt_of(recipe, base), self.workspace.at(self.workspace.store)
            records = records_of(self.workspace, recipe.task.labels)
            folders = Folders(folder, store, unfinished.folder)
            return finetune(FinetuneJob(recipe, base, prompt, records, accelerator, folders)).figures()

    def _predict(self, identity: str) -> Mapping[str, Any]:
        from runner.distributed.accelerator import connect
        from runner.prediction.predict import predict

        recipe = self.recipe
        if self.fresh:
            self.workspace.at(self.workspace.unfinished_predictions).unlink(missing_ok=True)
        dev = records_of(self.workspace, recipe.task.labels).dev
        base = self.bases.load(recipe, connect().device)
        prompt = prompt_of(recipe, base)
        return predict(recipe, base, prompt, dev, self.workspace, identity)

    def _require(self, stage: str) -> Manifest:
        """The manifest of an earlier stage. Raises UserError where it has not finished, not with this recipe, or where its
        outputs are not what it wrote."""
        manifest = read_manifest(self.workspace.manifest(stage))
        if manifest is None:
            raise UserError(
                f"{self.workspace.dataset}: the {stage} stage has not finished", "run it too: leave --stages out"
            )
        if manifest.inputs.get("recipe") != self.recipe.digest(*STAGES[stage]):
            raise UserError(
                f"{self.workspace.dataset}: the {stage} stage was run with another recipe: one of "
                f"{', '.join(STAGES[stage])} has changed",
                "run it again: leave --stages out",
            )
        if set(manifest.outputs) != set(self._outputs(stage)):
            raise UserError(
                f"{self.workspace.manifest(stage)}: is not what the {stage} stage wrote",
                f"run the {stage} stage again: --stages {stage} --fresh",
            )
        for name, written in manifest.outputs.items():
            try:
                if digest(self.workspace.at(name)) == written:
                    continue
                found = f"is not what the {stage} stage wrote"
            except OSError as error:
                found = str(error.strerror)
            raise UserError(f"{name}: {found}", f"run the {stage} stage again: leave --stages out")
        return manifest
