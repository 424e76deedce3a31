"""The stages: prepare, finetune, evaluate and predict, one row each, and `run_stage`, which runs a row unless nothing changed.

A stage reads what the stages before it left on disk, and writes its manifest last. Only torch-free modules are imported
at the top.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional, Protocol

from grading import contract
from grading.contract.language import english
from runner.data.decoding_needs import needs_swapped
from runner.data.folds import Fold
from runner.data.prepare import RowCounts, prepare, prepared_files
from runner.data.prepare import usable_rows as count_usable_rows
from runner.data.records import inputs_digest, records_of
from runner.data.scan import Scan, scan_rows
from runner.data.sources import Sources, table_changed
from runner.data.task_tables import dev_table, exclusion_of, exclusion_path, train_table
from runner.distributed.processes import is_main_process, main_process_decides, wait_for_everyone
from runner.errors import UserError
from runner.language import mark, tr
from runner.model.base import Base, Bases
from runner.prediction.calibration_file import asks_for_calibration
from runner.prediction.prediction_file import begun
from runner.recipe.schema import Recipe
from runner.recipe.writer import recipe_text
from runner.scoring.prompt import prompt_of
from runner.system.console import log_context
from runner.system.files import atomic_folder, digest
from runner.system.fingerprint import Fingerprint
from runner.system.provenance import code_digest, library_versions
from runner.system.shared_work import ROWS, SharedWork
from runner.training.resume import Unfinished
from runner.workspace.manifest import Manifest, finish, finished, read_manifest
from runner.workspace.older_result import keep_older_result
from runner.workspace.paths import (
    CALIBRATION,
    CLASSIFIER,
    EVALUATION,
    HOLDOUT_PREDICTIONS,
    METRICS_LOG,
    PROMPT,
    PROMPT_EXAMPLE,
    RECIPE,
    Workspace,
)
from runner.workspace.run_moves import OWN_RECORDS, log_replaced, mark_replaced, restore, retired
from runner.workspace.runs import DEV_INPUTS, FINISHED, kept_runs, now

log = logging.getLogger("labeltune.stages")

ADAPTER_FILES = (contract.ADAPTER_WEIGHTS, contract.ADAPTER_CONFIG, PROMPT, CLASSIFIER, METRICS_LOG)
"""Files of a finished adapter's folder, without its manifest and the run record."""

_RUN_ALL = mark("leave --stages out; an adapter that is replaced is kept, and `labeltune runs` lists it")
"""A next step that may train again."""


@dataclass(frozen=True)
class StageContext:
    """What a stage works with."""

    recipe: Recipe
    workspace: Workspace
    bases: Bases
    fresh: bool
    """Whether to run a stage even if nothing has changed."""
    keeps_runs: bool = True
    """Whether an adapter that another setting replaces is kept, where `labeltune runs` finds it, and an unfinished run of another
    setting stops this one. Not in a side run, which nobody asks for by itself."""
    note: str = ""
    """A line about the recipe's values, for the recipe that is saved with the adapter."""
    shared: SharedWork = field(default_factory=SharedWork)
    """What the runs with this value have computed for each other."""
    searched: bool = False
    """Whether a search has just trained this recipe's adapter: no line says that it was trained already."""
    member: str = ""
    """Which member of an ensemble it is, in words, such as `seed 1`: its log lines begin with it. Empty: a run by itself."""

    def log_name(self, stage: str) -> str:
        """The beginning of the log lines of a stage."""
        return f"{self.workspace.dataset} {stage}" + (f" ({self.member})" if self.member else "")


class Job(Protocol):
    """One stage of one recipe, about to run."""

    inputs: Mapping[str, str]
    """Digest of everything that the outputs depend on, by name, without the code's."""

    def is_unfinished(self) -> bool:
        """Whether this very job was begun and stopped."""

    def run(self) -> Mapping[str, Any]:
        """Write the outputs and return counts, metrics and seconds: plain JSON values."""

    def clean_up(self, ran: bool) -> None:
        """Remove what only an unfinished job needs. Called by the main process when the manifest is written (`ran`), or when
        nothing had changed."""


@dataclass(frozen=True)
class Stage:
    """A row of `STAGES`."""

    name: str
    recipe_keys: tuple[str, ...]
    """Keys of the recipe that the outputs depend on."""
    outputs: Callable[[StageContext], Sequence[str]]
    """The files it writes, by their paths from the workspace."""
    job: Callable[[StageContext], Job]
    """Makes the job; raises UserError where an earlier stage is missing."""
    loads_model: bool = True
    """Whether it needs torch and the base."""
    every_process: bool = False
    """Whether all processes of a launch take part; else the main process alone."""
    recall: Callable[[StageContext, Mapping[str, str]], bool] = lambda context, inputs: False
    """Puts outputs with these inputs in place that an earlier run has made; False where there are none."""


def run_stage(stage: Stage, context: StageContext) -> None:
    """Run a stage unless its manifest says that it has finished with the same inputs; write its manifest last."""
    with log_context(context.log_name(stage.name)):
        wait_for_everyone()
        if not (stage.every_process or is_main_process()):
            return
        job = stage.job(context)
        path, root = context.workspace.manifest(stage.name), context.workspace.root
        inputs = {**job.inputs, "code": code_digest()}

        def nothing_changed() -> bool:
            if context.fresh or job.is_unfinished():
                return False
            return finished(path, root, inputs) is not None or stage.recall(context, inputs)

        done = main_process_decides(nothing_changed) if stage.every_process else nothing_changed()
        if done:
            log.info(tr("nothing changed"))
        else:
            if stage.loads_model and "torch" not in sys.modules:
                log.info(tr("loading torch, transformers and peft"))
            statistics = job.run()
            if is_main_process():
                # the record describes what was there before
                context.workspace.run_record.unlink(missing_ok=True)
                finish(Manifest(stage.name, inputs, {}, statistics), path, root, stage.outputs(context))
        if is_main_process():
            job.clean_up(not done)


class Prepare:
    """Tables → records, by the main process alone; the others wait at the next stage for what it writes."""

    def __init__(self, context: StageContext, fold: Optional[Fold] = None) -> None:
        """`fold`: what to hold out instead of the recipe's hold-out."""
        self.context, self.fold = context, fold
        recipe, root = context.recipe, context.workspace.data_root or context.workspace.root
        train = train_table(recipe, root)
        exclusion = exclusion_of(recipe, root)
        self.sources = Sources(train, dev_table(recipe, root, train), exclusion)
        self.files = {name: (table.path, table.shown) for name, table in self.sources.tables()}
        path = exclusion_path(recipe, root)
        if path is not None:
            self.files["exclude"] = path, exclusion.shown
        self.inputs: Mapping[str, str] = {
            "recipe": recipe.digest(*PREPARE.recipe_keys),
            **{name: digest(path) for name, (path, _) in self.files.items()},
            **({"fold": f"{fold.number} of {fold.count}"} if fold else {}),
        }

    def is_unfinished(self) -> bool:
        """Never: it starts over."""
        return False

    def run(self) -> Mapping[str, Any]:
        """Write the records. Raises DataError where a file changes while it is read."""
        statistics = prepare(self.context.recipe, self.sources, self.scan(), self.context.workspace, self.fold)
        for name, (path, shown_as) in self.files.items():
            # rows are read one by one, so some were read before the change
            if digest(path) != self.inputs[name]:
                raise table_changed(shown_as)
        return statistics

    def scan(self) -> Scan:
        """The training rows, read and checked."""
        recipe = self.context.recipe
        key = " ".join([recipe.digest("task"), self.inputs["train"], self.inputs.get("exclude", "")])
        return self.context.shared.once(ROWS, key, lambda: scan_rows(recipe, self.sources))

    def clean_up(self, ran: bool) -> None:
        """There is nothing to remove."""


def usable_rows(context: StageContext) -> RowCounts:
    """How many rows a recipe can use, whatever its `samples.train`. Raises DataError as the prepare stage does."""
    job = Prepare(context)
    return count_usable_rows(context.recipe, job.sources, job.scan())


class Finetune:
    """Records → adapter. Every process takes part."""

    def __init__(self, context: StageContext) -> None:
        self.context = context
        recipe, workspace = context.recipe, context.workspace
        prepared = require(PREPARE, context)
        self.label_counts: Mapping[str, int] = prepared.figures["labels"]
        self.inputs: Mapping[str, str] = {
            "recipe": recipe.digest(*FINETUNE.recipe_keys),
            "base": context.bases.digest(recipe),
            **library_versions(),
            "train": prepared.outputs[workspace.train],
            "holdout": prepared.outputs[workspace.holdout],
            "label_counts": json.dumps(self.label_counts),
        }
        identity = {
            **recipe.flat(*FINETUNE.recipe_keys),
            **{name: value for name, value in self.inputs.items() if name != "recipe"},
            "code": code_digest(),
            "processes": int(os.environ.get("WORLD_SIZE", "1")),
        }
        self.unfinished = Unfinished(workspace.at(workspace.checkpoints), identity)

    def is_unfinished(self) -> bool:
        """Whether it has a folder for checkpoints."""
        return self.unfinished.has_begun()

    def run(self) -> Mapping[str, Any]:
        """Train, and put the finished adapter's folder in its place."""
        from runner.distributed.accelerator import connect
        from runner.distributed.sharding import requested_sharding
        from runner.distributed.trackers import tracked
        from runner.training.finetune import FinetuneJob, Folders, finetune

        recipe, workspace = self.context.recipe, self.context.workspace
        target = workspace.at(workspace.adapter)
        if is_main_process():
            of_others = bool(self.unfinished.others()) and not self.context.keeps_runs
            if of_others:
                log.info(tr("removed: the checkpoints of an unfinished run with another setting"))
            if self.context.fresh or of_others:
                self.unfinished.clear()
            self.unfinished.require_no_other()
            self.unfinished.begin()
        # every process works with the folder's name; the main one makes it and moves it into its place
        retire = retired(workspace) if self.context.keeps_runs else shutil.rmtree
        replacing = atomic_folder(target, OWN_RECORDS, retire)
        with replacing if is_main_process() else nullcontext(target) as folder:
            accelerator = connect()
            sharding = requested_sharding(accelerator)
            if sharding and recipe.train.cache_frozen_layers:
                raise UserError(
                    tr(
                        "train.cache_frozen_layers: the main process computes them alone, and {sharding} "
                        "shards the base",
                        sharding=sharding,
                    ),
                    tr(
                        "set train.cache_frozen_layers: false, or let each process hold the whole base: "
                        "recipes/accelerate/ddp.yaml"
                    ),
                )
            load = self.context.bases.load_to_split if sharding else self.context.bases.load
            base = load(recipe, accelerator.device)
            prompt, store = prompt_of(recipe, base), workspace.store_folder
            records = records_of(workspace, recipe.task.labels)
            folders = Folders(folder, store, self.unfinished.folder)
            shared = self.context.shared
            job = FinetuneJob(recipe, base, prompt, records, accelerator, folders, self.label_counts, shared)
            with tracked(accelerator, recipe, workspace.tracker_folder):
                result = finetune(job)
            if is_main_process():
                self._describe(base, folder)
        if is_main_process():
            log_replaced(workspace)
        return {**result.figures(), FINISHED: now()}

    def _describe(self, base: Base, folder: Path) -> None:
        """Write into the adapter's folder what it is, and which run it replaces."""
        recipe, workspace = self.context.recipe, self.context.workspace
        (folder / CLASSIFIER).write_text(json.dumps(english(self._classifier(base)), indent=1) + "\n", encoding="utf-8")
        comment = (
            f"The recipe of this adapter: labeltune run {workspace.adapter}/{RECIPE}\n{english(self.context.note)}"
        )
        (folder / RECIPE).write_text(recipe_text(recipe, comment), encoding="utf-8")
        if self.context.keeps_runs:
            mark_replaced(workspace, folder, {**self.inputs, "code": code_digest()})

    def _classifier(self, base: Base) -> Mapping[str, str]:
        """What `Classifier.load` needs beside the prompt: the base, by the recipe's name and by its folder here, and how it
        computed."""
        recipe = self.context.recipe
        return {
            "base": recipe.base,
            "folder": str(base.folder.resolve()),
            "precision": base.precision,
            "too_long": recipe.prompt.too_long,
        }

    def clean_up(self, ran: bool) -> None:
        """Remove all checkpoints after a run, for there was no other run when it began; keep those of another run else."""
        if ran:
            self.unfinished.clear()
        elif self.unfinished.others():
            log.info(
                tr(
                    "kept: {first_others} of another run; its command resumes it",
                    first_others=self.unfinished.others()[0],
                )
            )


class Evaluate:
    """Adapter and hold-out → what the adapter is worth, and its calibration. By the main process alone, as prediction."""

    def __init__(self, context: StageContext) -> None:
        self.context = context
        recipe, workspace = context.recipe, context.workspace
        self.prepared, self.trained = require(PREPARE, context), require(FINETUNE, context)
        self.inputs: Mapping[str, str] = {
            **_adapter_inputs(context, self.trained),
            "recipe": recipe.digest(*EVALUATE.recipe_keys),
            "train": self.prepared.outputs[workspace.train],
            "holdout": self.prepared.outputs[workspace.holdout],
            "dev_rows": str(self.prepared.figures["dev"]),
        }
        if needs_swapped(recipe.decoding):
            self.inputs = {**self.inputs, "holdout_swapped": self.prepared.outputs[workspace.holdout_swapped]}

    def is_unfinished(self) -> bool:
        """Never: it starts over."""
        return False

    def run(self) -> Mapping[str, Any]:
        """Score the hold-out and write its files beside the adapter."""
        from runner.distributed.accelerator import connect
        from runner.prediction.evaluate import EvaluationJob, evaluate

        recipe, workspace = self.context.recipe, self.context.workspace
        base = self.context.bases.load(recipe, connect().device)
        records = records_of(workspace, recipe.task.labels)
        facts = self.prepared.figures, self.trained.figures
        job = EvaluationJob(recipe, records, workspace, self.inputs["holdout"], *facts, self.context.shared)
        return evaluate(job, base)

    def clean_up(self, ran: bool) -> None:
        """There is nothing to remove."""


class Predict:
    """Adapter and dev records → result. One input at a time, so the main process alone."""

    def __init__(self, context: StageContext) -> None:
        self.context = context
        recipe, workspace = context.recipe, context.workspace
        prepared, trained = require(PREPARE, context), require(FINETUNE, context)
        self.inputs: Mapping[str, str] = {
            **_adapter_inputs(context, trained),
            "recipe": recipe.digest(*PREDICT.recipe_keys),
            "dev": prepared.outputs[workspace.dev],
        }
        if workspace.dev_answers in prepared.outputs:
            self.inputs = {**self.inputs, "dev_answers": prepared.outputs[workspace.dev_answers]}
        if needs_swapped(recipe.decoding):
            self.inputs = {**self.inputs, "dev_swapped": prepared.outputs[workspace.dev_swapped]}
        if asks_for_calibration(recipe):
            calibration = require(EVALUATE, context).outputs.get(f"{workspace.adapter}/{CALIBRATION}", "none")
            self.inputs = {**self.inputs, "calibration": calibration}
        self.identity = Fingerprint(self.inputs, code=code_digest()).digest
        self.partial = workspace.at(workspace.unfinished_predictions)

    def is_unfinished(self) -> bool:
        """Whether some rows are predicted already."""
        return begun(self.partial, self.identity)

    def run(self) -> Mapping[str, Any]:
        """Predict the dev rows and write the result."""
        from runner.distributed.accelerator import connect
        from runner.prediction.predict import predict

        recipe, workspace = self.context.recipe, self.context.workspace
        if self.context.fresh:
            self.partial.unlink(missing_ok=True)
        base = self.context.bases.load(recipe, connect().device)
        records = records_of(workspace, recipe.task.labels)
        keep_older_result(workspace, self.inputs["dev"])
        found = predict(recipe, base, records, workspace, self.identity)
        return {**found, DEV_INPUTS: inputs_digest(records.dev)}

    def clean_up(self, ran: bool) -> None:
        """Writing the result has removed the partial file."""


def _recall_adapter(context: StageContext, inputs: Mapping[str, str]) -> bool:
    """Put the kept run with these inputs in place: it need not be trained again."""
    workspace = context.workspace
    for run in reversed(kept_runs(workspace)):
        if run.manifest is not None and run.manifest.inputs == inputs and run.is_intact():
            if not context.searched:
                log.info(tr("trained already: run {id} is in place again", id=run.id))
            restore(run, to_compare=True)
            log_replaced(workspace)
            return True
    return False


PREPARE = Stage(
    "prepare",
    ("task", "instruction", "samples"),
    lambda context: prepared_files(context.recipe, context.workspace),
    Prepare,
    loads_model=False,
)
FINETUNE = Stage(
    "finetune",
    ("task.labels", "instruction", "prompt", "lora", "train", "samples.balance"),
    lambda context: [f"{context.workspace.adapter}/{name}" for name in ADAPTER_FILES],
    Finetune,
    every_process=True,
    recall=_recall_adapter,
)
EVALUATE = Stage(
    "evaluate",
    ("task.labels", "instruction", "prompt", "decoding", "train.precision"),
    lambda context: [f"{context.workspace.adapter}/{name}" for name in _evaluation_files(context.workspace)],
    Evaluate,
)
PREDICT = Stage(
    "predict",
    ("task.labels", "instruction", "prompt", "decoding", "train.precision"),
    lambda context: _predicted_files(context.workspace),
    Predict,
)


def prepare_around(fold: Fold) -> Stage:
    """The prepare stage with another hold-out: one fold of all rows that the recipe draws."""
    return dataclasses.replace(PREPARE, job=functools.partial(Prepare, fold=fold))


STAGES: Mapping[str, Stage] = {stage.name: stage for stage in (PREPARE, FINETUNE, EVALUATE, PREDICT)}
"""The stages by name, in their order."""


def _evaluation_files(workspace: Workspace) -> list[str]:
    """The evaluate stage's files: calibration.json is written only where calibration helps, and earlier versions wrote no
    prompt_example.json."""
    folder = workspace.at(workspace.adapter)
    return [
        HOLDOUT_PREDICTIONS,
        EVALUATION,
        *(name for name in (CALIBRATION, PROMPT_EXAMPLE) if (folder / name).exists()),
    ]


def _predicted_files(workspace: Workspace) -> list[str]:
    """The predict stage's files: the score is written only where labels are known."""
    scored = workspace.at(workspace.score).exists()
    return [workspace.result, workspace.predictions, *([workspace.score] if scored else [])]


def _adapter_inputs(context: StageContext, trained: Manifest) -> dict[str, str]:
    """The inputs of a stage that uses the adapter. Raises UserError where the recipe's base is not the adapter's."""
    recipe, workspace = context.recipe, context.workspace
    base = context.bases.digest(recipe)
    if trained.inputs.get("base") != base:
        raise UserError(
            tr(
                "{adapter}: the adapter was trained on another base than {base}",
                adapter=workspace.adapter,
                base=recipe.base,
            ),
            tr("name the base that it was trained on; or train on this one: {run_all}", run_all=_RUN_ALL),
        )
    return {
        "base": base,
        "adapter": trained.outputs[f"{workspace.adapter}/{contract.ADAPTER_WEIGHTS}"],
        "adapter_config": trained.outputs[f"{workspace.adapter}/{contract.ADAPTER_CONFIG}"],
        **library_versions(),
    }


def require(stage: Stage, context: StageContext) -> Manifest:
    """Read the manifest of an earlier stage.

    Raises UserError where it has not finished, not with this recipe, or where its outputs are not what it wrote."""
    workspace = context.workspace
    manifest = read_manifest(workspace.manifest(stage.name))
    if manifest is None:
        raise UserError(
            tr("{dataset}: the {name} stage has not finished", dataset=workspace.dataset, name=stage.name),
            tr("run it too: {run_all}", run_all=_RUN_ALL),
        )
    if manifest.inputs.get("recipe") != context.recipe.digest(*stage.recipe_keys):
        raise UserError(
            tr(
                "{dataset}: the {name} stage was run with another recipe: one of {recipe_keys} has changed",
                dataset=workspace.dataset,
                name=stage.name,
                recipe_keys=", ".join(stage.recipe_keys),
            ),
            tr("undo the change; or run it again: {run_all}", run_all=_RUN_ALL),
        )
    if set(manifest.outputs) != set(stage.outputs(context)):
        raise UserError(
            tr(
                "{manifest}: is not what the {name} stage wrote",
                manifest=workspace.manifest(stage.name),
                name=stage.name,
            ),
            tr("run the {name} stage again: --stages {name} --fresh", name=stage.name),
        )
    for name, written in manifest.outputs.items():
        try:
            if digest(workspace.at(name)) == written:
                continue
            found = tr("is not what the {name} stage wrote", name=stage.name)
        except OSError as error:
            found = str(error.strerror)
        raise UserError(
            f"{name}: {found}", tr("run the {name} stage again: {run_all}", name=stage.name, run_all=_RUN_ALL)
        )
    return manifest
