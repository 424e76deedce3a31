"""Fine-tuning: records become an adapter. LoRA through PEFT, the loss at the answer's position, an evaluation on the
hold-out after every epoch by the scorer that will predict, and the best adapter kept."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from grading import contract
from runner.data.decoding_needs import needs_swapped
from runner.data.records import Records
from runner.distributed.collectives import all_gather, broadcast_parameters, main_process_first
from runner.distributed.sharding import requested_sharding, shard
from runner.errors import UserError
from runner.evaluation.intervals import with_interval
from runner.language import tr
from runner.model.adapter import adapter_file_size, adapter_state, new_adapter, save_adapter
from runner.model.base import Base
from runner.model.compat import enable_checkpointing
from runner.recipe.schema import Recipe, Train
from runner.scoring.collator import Collator
from runner.scoring.dataset import EncodedDataset, encode_file, encode_orders
from runner.scoring.frozen_layers import cached_frozen_layers, from_frozen_layers
from runner.scoring.layout_choice import Choice, choose_layout
from runner.scoring.layouts import LAYOUTS, Layout
from runner.scoring.prompt import PRIOR_SHIFT, Prompt
from runner.scoring.proof import Subject, prove, prove_head, subject_of
from runner.scoring.scorer import LabelScorer
from runner.system.console import progress
from runner.system.memory import peak_host_bytes
from runner.system.reserve import reserved
from runner.system.shared_work import UNTUNED, SharedWork
from runner.system.signals import deferred_signals, raise_if_asked
from runner.training.checkpoint import Checkpoints, LoadedCheckpoint
from runner.training.class_balance import ClassBalance, class_balance
from runner.training.evaluation import Evaluation, Evaluator, f1_name
from runner.training.learning_rate import LearningRate, Probe
from runner.training.optimization import trained_tensors
from runner.training.train_state import TrainState
from runner.training.trainer import Trainer, TrainingRun

log = logging.getLogger("labeltune.training")


LEAST_STEPS = 20
"""Steps below which a warning is logged where a step takes all rows."""


@dataclass(frozen=True)
class Folders:
    """The folders of a fine-tune."""

    output: Path
    """Gets the adapter, its prompt and metrics.jsonl."""
    store: Path
    """Token ids and frozen layers' states, which other runs over the same rows can use again."""
    checkpoints: Path
    """The checkpoints of this run."""


@dataclass(frozen=True)
class FinetuneJob:
    """A fine-tune to run: the recipe, its base and rows, and where the files go."""

    recipe: Recipe
    base: Base
    prompt: Prompt
    records: Records
    accelerator: Accelerator
    folders: Folders
    label_counts: Mapping[str, int]
    """The file's labelled rows by label."""
    shared: SharedWork = field(default_factory=SharedWork)
    """What other runs have computed for this one."""


@dataclass(frozen=True)
class EncodedRows:
    """The rows of a job as token ids."""

    train: EncodedDataset
    holdout: EncodedDataset


@dataclass(frozen=True)
class FinetuneResult:
    """The result of a fine-tune: metrics, settings and times."""

    job: FinetuneJob
    rows: EncodedRows
    layout: Choice
    """The layout that was used, and why."""
    trainable_parameters: int
    """Their number."""
    majority: float
    """Hold-out accuracy of always predicting the most frequent label."""
    untuned: Evaluation
    """The base without an adapter on the hold-out."""
    state: TrainState
    """The training state after the last epoch."""
    learning_rate: LearningRate
    """The peak learning rate, and why."""
    cache_seconds: float
    """Time for the frozen layers' states, where they are kept."""
    changed: bool
    """Whether training has changed the adapter."""
    balance: ClassBalance
    """The label shares that training saw."""
    peak_device_bytes: Optional[int]
    """Most memory that torch has used on the main process's GPU during this fine-tune; None on a CPU."""

    @property
    def tuned(self) -> Evaluation:
        """The saved adapter on the hold-out: the best epoch, or the average where it is better."""
        assert self.state.best is not None
        return self.state.best

    def figures(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        state, rows = self.state, self.rows.train
        return {
            "majority": self.majority,
            "untuned": self.untuned.figures(),
            "tuned": self.tuned.figures(),
            "best_epoch": state.best_epoch,
            "kept": state.best_name,
            "epochs": [evaluation.figures() for evaluation in state.evaluations],
            "planned_epochs": self.job.recipe.train.epochs,
            "average": state.average.figures() if state.average else None,
            **self.learning_rate.figures(),
            "rows": len(rows),
            "truncated": rows.truncated,
            "dropped": rows.dropped,
            "trainable_parameters": self.trainable_parameters,
            "precision": self.job.base.precision,
            **self.layout.figures(),
            "rows_at_once": state.micro_batch_size.rows,
            "skipped_steps": state.skipped_steps,
            "device": str(self.job.accelerator.device),
            "processes": self.job.accelerator.num_processes,
            "trunk_seconds": round(self.cache_seconds, 3),
            "train_seconds": round(state.seconds, 3),
            "rows_per_second": round(len(rows) * len(state.evaluations) / state.seconds, 2),
            "prompt_digest": self.job.prompt.digest(),
            **self.balance.figures(),
            "peak_host_bytes": peak_host_bytes(),
            "peak_device_bytes": self.peak_device_bytes,
        }


def finetune(job: FinetuneJob) -> FinetuneResult:
    """Train an adapter and write the best one to the job's output folder, with its prompt and metrics.jsonl.

    Every process of the launch calls it; only the main one writes. The base is left as it was. A signal is noted, and the
    run stops after the current step or batch.

    Raises:
        UserError: the base, the layout or the loss make training impossible.
        DataError: records do not fit the prompt.
        Stopped: a signal asked for it.
    """
    train = job.recipe.train
    on_gpu = job.accelerator.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(job.accelerator.device)
    rows = _encode(job)
    balance = class_balance(job.recipe, rows.train, job.label_counts)
    # all processes draw the same new adapter, and each draws its own dropout
    set_seed(train.seed)
    with ExitStack() as stack, deferred_signals(), new_adapter(job.base, job.recipe.lora) as model:
        set_seed(train.seed, device_specific=True)
        start = adapter_state(model)
        if job.accelerator.is_main_process:
            stack.enter_context(reserved(job.folders.output / contract.ADAPTER_WEIGHTS, adapter_file_size(start)))
        subject = _subject(job, rows)
        scorer = subject.scorer
        checkpoints = Checkpoints(job.folders.checkpoints)
        resume_from = checkpoints.load(job.accelerator)
        choice, computed = _choose_layout(job, subject, rows, resume_from)
        trainable = sum(parameter.numel() for parameter in scorer.parameters() if parameter.requires_grad)
        _describe_start(job, len(rows.train), trainable, choice, balance)
        before = time.perf_counter()
        with _frozen_layers(job, subject, rows, choice) as layout:
            cache_seconds = time.perf_counter() - before
            subject.release()
            # each process has drawn the same adapter, if their libraries and devices are alike
            broadcast_parameters(job.accelerator, trained_tensors(scorer))
            collator = Collator(rows.train, layout)
            evaluator = Evaluator(Collator(rows.holdout, layout), train.batch_size, job.accelerator)
            untuned = job.shared.once(UNTUNED, _untuned_key(job, choice), lambda: _evaluate_untuned(evaluator, scorer))
            # only now: the untuned base has not seen the training shares
            scorer.undo_prior(balance.prior_shift)
            with _gradient_checkpointing(job):
                learning_rate = _learning_rate(Probe(train, scorer, collator, evaluator), resume_from)
                metrics = job.folders.output / "metrics.jsonl"
                run = TrainingRun(job.accelerator, checkpoints, computed, metrics, learning_rate)
                state = Trainer(train, scorer, collator, evaluator, run).fit(model, resume_from)
        _save(job, model, state.best_adapter, balance)
    result = FinetuneResult(
        job=job,
        rows=rows,
        layout=choice,
        trainable_parameters=trainable,
        majority=evaluator.majority(),
        untuned=untuned,
        state=state,
        learning_rate=learning_rate,
        cache_seconds=cache_seconds,
        changed=_changed(start, state),
        balance=balance,
        peak_device_bytes=torch.cuda.max_memory_allocated(job.accelerator.device) if on_gpu else None,
    )
    _describe(result)
    return result


def _encode(job: FinetuneJob) -> EncodedRows:
    """The training and the held-out rows. The dev rows are encoded too: one that is too long is reported now rather than
    after hours of training."""
    prompt, records, tokens = job.prompt, job.records, job.folders.store / "tokens"
    with main_process_first(job.accelerator):  # the others find the tokens that it stores
        train = encode_file(prompt, records.train, tr("training"), tokens, may_drop=True)
        holdout = encode_file(prompt, records.holdout, tr("hold-out"), tokens)
    encode_orders(prompt, records.dev, records.dev_swapped if needs_swapped(job.recipe.decoding) else None, "dev")
    for name, encoded in ((tr("training"), train), (tr("hold-out"), holdout)):
        if encoded.truncated or encoded.dropped:
            log.info(
                tr(
                    "{truncated} {name} inputs cut to prompt.max_length, {dropped} left out",
                    truncated=encoded.truncated,
                    name=name,
                    dropped=encoded.dropped,
                )
            )
    if not len(train):
        raise UserError(
            tr("no training row is left: every one is above prompt.max_length"), tr("raise prompt.max_length")
        )
    return EncodedRows(train, holdout)


def _describe_start(job: FinetuneJob, rows: int, trainable: int, choice: Choice, balance: ClassBalance) -> None:
    """Log for the user what is about to be trained."""
    log.info(
        tr(
            "{rows:,} rows, {trainable:,} trainable parameters, {precision} on {device}",
            rows=rows,
            trainable=trainable,
            precision=job.base.precision,
            device=job.accelerator.device,
        )
    )
    expected = choice.name == "packed" and choice.proof is not None and choice.proof.holds
    log.log(
        logging.DEBUG if expected else logging.INFO,
        tr("layout {name}: {reason}", name=choice.name, reason=choice.reason),
    )
    _warn_of_few_steps(job.recipe.train, rows)
    if balance.is_changed:
        log.info(balance.words())


def _warn_of_few_steps(train: Train, rows: int) -> None:
    """Log a warning where one step takes all the rows: the schedule and the shuffling have nothing to work on."""
    per_step = train.batch_size * train.accumulation
    if per_step >= rows and train.epochs < LEAST_STEPS:
        log.warning(
            tr(
                "one optimizer step takes all {rows:,} rows (train.batch_size × accumulation is "
                "{per_step:,}): {epochs} steps in {epochs} epochs are few; lower it, to {fewer} for instance",
                rows=rows,
                per_step=per_step,
                epochs=train.epochs,
                fewer=max(1, min(16, rows * train.epochs // LEAST_STEPS)),
            )
        )


def _subject(job: FinetuneJob, rows: EncodedRows) -> Subject:
    """The scorer with its shallow copy, on which layouts are proved; the base is sharded where the launcher asks for it."""
    scorer = LabelScorer(job.base.model, job.prompt, job.recipe.train.loss)
    alone = requested_sharding(job.accelerator) is None
    subject = subject_of(scorer, job.accelerator.device, alone=alone)
    shard(scorer, job.accelerator)
    prove_head(subject, rows.holdout.suffixes[:1])
    raise_if_asked()
    return subject


def _choose_layout(
    job: FinetuneJob, subject: Subject, rows: EncodedRows, resume_from: Optional[LoadedCheckpoint]
) -> tuple[Choice, Mapping[str, str]]:
    """The layout of this run, the same on every process, and how the run computes.

    With `layout: auto`, a resumed run takes the checkpoint's layout, because free memory may differ from the first run.
    Raises UserError where the checkpoint was computed differently."""
    train = job.recipe.train
    wanted: str = train.layout
    computed = {"device": job.accelerator.device.type, "precision": job.base.precision}
    if resume_from is not None:
        resume_from.require(computed)
        wanted = resume_from.content.computed["layout"] if wanted == "auto" else wanted
    try:
        choice = choose_layout(wanted, subject, rows.train, train.batch_size)
    except UserError as error:
        if resume_from is None:
            raise
        raise UserError(
            tr(
                "{path}: was computed in the layout {wanted}; {what}",
                path=resume_from.path,
                wanted=wanted,
                what=error.what,
            ),
            tr("fix that and run again (nvidia-smi shows who else uses a GPU), or start over: --fresh"),
        ) from error
    if set(all_gather(job.accelerator, [choice.name])) != {choice.name}:
        padded = LAYOUTS["padded"](subject.scorer.model, job.prompt)
        choice = Choice("padded", padded, tr("packed is not used: it fails on another process"))
    computed["layout"] = choice.name
    if resume_from is not None:
        resume_from.require(computed)
    raise_if_asked()
    return choice, computed


@contextmanager
def _frozen_layers(job: FinetuneJob, subject: Subject, rows: EncodedRows, choice: Choice) -> Iterator[Layout]:
    """The layout to train with: the chosen one, with the stored states of the frozen layers where the recipe caches them."""
    layers = job.recipe.lora.layers_to_transform
    if not job.recipe.train.cache_frozen_layers or not layers:
        yield choice.layout
        return
    scorer, folder = subject.scorer, job.folders.store / "frozen_layers"
    with main_process_first(job.accelerator):
        cache = cached_frozen_layers(job.base, scorer, min(layers), (rows.train, rows.holdout), choice, folder)
    proof = prove(subject, [from_frozen_layers(cache, scorer, choice)], rows.train)
    if not proof.holds:
        raise UserError(
            tr("train.cache_frozen_layers: not for this model: {reason}", reason=proof.words()),
            tr("set train.cache_frozen_layers: false"),
        )
    raise_if_asked()
    with cache.installed(scorer):
        yield cache.layout(choice.layout)


def _untuned_key(job: FinetuneJob, choice: Choice) -> str:
    """Everything that the untuned base's metrics depend on. The new adapter is no part of it: it changes nothing yet."""
    train, files = job.recipe.train, job.base.files
    parts = [files.digest, job.prompt.digest(), job.records.holdout.digest(), job.base.precision, train.loss]
    return json.dumps([*parts, choice.name, train.batch_size, str(job.accelerator.device)])


def _evaluate_untuned(evaluator: Evaluator, scorer: LabelScorer) -> Evaluation:
    """The base as it is, before any training. Raises UserError where its loss is not finite."""
    with progress(len(evaluator.dataset), tr("untuned hold-out"), shown=evaluator.accelerator.is_main_process) as bar:

        def after_batch(rows: int) -> None:
            bar.update(rows)
            raise_if_asked()

        untuned = evaluator.evaluate(scorer, after_batch)
    if not math.isfinite(untuned.loss):
        raise UserError(
            tr(
                "the hold-out loss is {loss} before training: the base model produces non-finite values",
                loss=untuned.loss,
            ),
            tr("check the base's files; with train.precision: bf16, try fp32"),
        )
    return untuned


def _learning_rate(probe: Probe, resume_from: Optional[LoadedCheckpoint]) -> LearningRate:
    """The run's learning rate: the checkpoint's, or the recipe's, or that of a probe now."""
    if resume_from is not None:
        return LearningRate(**resume_from.content.values["learning_rate"])
    found = probe.choose()
    if probe.config.learning_rate == "auto":
        log.info(tr("learning rate {value:g}: {reason}", value=found.value, reason=found.reason))
    return found


@contextmanager
def _gradient_checkpointing(job: FinetuneJob) -> Iterator[None]:
    """On in the block, if the recipe says so."""
    if job.recipe.train.gradient_checkpointing:
        enable_checkpointing(job.base.model)
    yield
    if job.recipe.train.gradient_checkpointing:
        job.base.model.gradient_checkpointing_disable()


def _save(job: FinetuneJob, model: Any, state: Mapping[str, torch.Tensor], balance: ClassBalance) -> None:
    """Writes the adapter, its prompt and the prior shift. Raises UserError for a value that is not finite: such an adapter is
    never written."""
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise UserError(
                tr("the adapter's {name} holds a value that is not finite; nothing was written", name=name),
                tr("lower train.learning_rate, and start over: --fresh"),
            )
    if job.accelerator.is_main_process:
        save_adapter(model, state, job.folders.output)
        # a finished adapter has this file, also where the disk was full in training
        (job.folders.output / "metrics.jsonl").touch()
        description = job.prompt.description()
        if balance.is_changed:
            description[PRIOR_SHIFT] = balance.prior_shift
        (job.folders.output / "prompt.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")


def _changed(start: Mapping[str, torch.Tensor], state: TrainState) -> bool:
    """Whether training has changed the adapter's effect. B is zero at the start, so A has no effect then, and weight decay
    alone changes A."""
    return any(not torch.equal(state.best_adapter[name], start[name]) for name in start if "lora_A" not in name)


def _describe(result: FinetuneResult) -> None:
    """Log the result for the user."""
    tuned, state = result.tuned, result.state
    if not result.changed:
        log.warning(tr("training has not changed the adapter; raise train.learning_rate, or lower train.warmup"))
    # without a mistake the hold-out has one label only, which the prepare stage has warned of
    if sum(count > 0 for count in tuned.predicted_counts.values()) == 1 and tuned.accuracy < 1:
        rate, auto = result.learning_rate.value, result.job.recipe.train.learning_rate == "auto"
        advice = (
            tr("try more rows or epochs, or set it yourself")
            if auto
            else tr("try train.learning_rate: auto, or more epochs")
        )
        log.warning(
            tr(
                "the adapter gives every hold-out row the same label, after training with a learning "
                "rate of {rate:g}; {advice}",
                rate=rate,
                advice=advice,
            )
        )
    log.info(
        tr(
            "kept: {best_name} of {epochs}: hold-out accuracy {accuracy}, MCC {mcc:.3f}, "
            "{f1_name} {f1:.3f}; {seconds:.1f} s",
            best_name=state.best_name,
            epochs=result.job.recipe.train.epochs,
            accuracy=with_interval(tuned.accuracy, tuned.rows),
            mcc=tuned.mcc,
            f1_name=f1_name(result.job.recipe.task.labels),
            f1=tuned.f1,
            seconds=state.seconds,
        )
    )
