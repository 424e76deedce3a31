"""Fine-tune: records become an adapter. LoRA through PEFT, the loss at the answer's position, the hold-out scored after
every epoch by the scorer that will predict, and the best epoch kept."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from runner.data.records import Records
from runner.distributed.collectives import all_gather, main_process_first
from runner.distributed.sharding import requested_sharding, shard
from runner.errors import UserError
from runner.model.adapter import adapter_state, new_adapter, save_adapter
from runner.model.base import Base
from runner.model.compat import enable_checkpointing
from runner.recipe.schema import Recipe
from runner.scoring.dataset import EncodedDataset, encode_file, encode_records
from runner.scoring.frozen_layers import cached_frozen_layers, from_frozen_layers
from runner.scoring.layout_choice import Choice, choose_layout
from runner.scoring.layouts import LAYOUTS, Layout
from runner.scoring.prompt import Prompt
from runner.scoring.proof import Subject, prove, prove_head, subject_of
from runner.scoring.scorer import LabelScorer
from runner.training.checkpoint import Checkpoints, Kept
from runner.training.evaluation import Holdout
from runner.training.trainer import TrainingLoop

log = logging.getLogger("labeltune.training")


def finetune(
    recipe: Recipe,
    base: Base,
    prompt: Prompt,
    records: Records,
    accelerator: Accelerator,
    folder: Path,
    store: Path,
    unfinished: Path,
) -> Mapping[str, Any]:
    """Trains an adapter, writes the best epoch's into `folder` with its prompt and metrics.jsonl, and returns the figures.
    `store` keeps files that other runs over the same rows can use: token ids and, if the recipe says so, frozen layers' outputs.
    `unfinished` is the folder of the checkpoints that it keeps and goes on from.

    Every process of the launch calls it; only the main one writes. The base is left as it came.
    Raises UserError or DataError where records, targets or the loss make training impossible."""
    rows, held = _encode(prompt, records, accelerator, store / "tokens")
    for name, encoded in (("training", rows), ("hold-out", held)):
        if encoded.truncated or encoded.dropped:
            log.info(f"{encoded.truncated} {name} inputs cut to prompt.max_length, {encoded.dropped} left out")
    if not len(rows):
        raise UserError("no training row is left: every one is above prompt.max_length", "raise prompt.max_length")
    set_seed(recipe.train.seed)  # the adapter's start is drawn on every process alike
    with new_adapter(base, recipe.lora) as model:
        set_seed(recipe.train.seed, device_specific=True)  # and dropout apart
        start = adapter_state(model)
        scorer = LabelScorer(base.model, prompt, recipe.train.loss)
        subject = subject_of(scorer, accelerator.device, alone=requested_sharding(accelerator) is None)
        shard(scorer, accelerator)
        prove_head(subject, held.suffixes[:1])
        checkpoints = Checkpoints(unfinished)
        kept = checkpoints.load(accelerator)
        computed = {"device": accelerator.device.type, "precision": base.precision}
        if kept is not None:
            kept.require(computed)
        choice = _layout(recipe, kept, subject, rows, accelerator)
        computed["layout"] = choice.name
        if kept is not None:
            kept.require(computed)
        trainable = sum(parameter.numel() for parameter in scorer.parameters() if parameter.requires_grad)
        log.info(f"{len(rows):,} rows, {trainable:,} trainable parameters, {base.precision} on {accelerator.device}")
        log.info(f"layout {choice.name}: {choice.reason}")
        before = time.perf_counter()
        with _frozen_layers(recipe, base, subject, rows, held, choice, accelerator, store) as layout:
            trunk_seconds = time.perf_counter() - before
            subject.release()
            holdout = Holdout(held, layout, recipe.train.batch_size, accelerator)
            untuned = holdout.evaluate(scorer)
            if not math.isfinite(untuned.loss):
                raise UserError(
                    f"the hold-out's loss is {untuned.loss} before any training: the base gives what is no number",
                    "check the base's files; with train.precision: bf16, try fp32",
                )
            if recipe.train.gradient_checkpointing:
                enable_checkpointing(base.model)
            metrics = folder / "metrics.jsonl"
            loop = TrainingLoop(recipe.train, rows, layout, holdout, accelerator, metrics, checkpoints, computed)
            epochs = loop.run(model, scorer, kept)
        if recipe.train.gradient_checkpointing:
            base.model.gradient_checkpointing_disable()
        best = loop.best
        assert best is not None  # epochs >= 1 is the recipe's rule
        _require_finite(best.state)
        # weight decay alone moves A, which is nothing while B is zero, as it is at the start
        moved = any(not torch.equal(best.state[name], start[name]) for name in start if "lora_A" not in name)
        if accelerator.is_main_process:
            save_adapter(model, best.state, folder)
            (folder / "prompt.json").write_text(json.dumps(prompt.description(), indent=1) + "\n", encoding="utf-8")
    if not moved:
        log.warning("training has not changed the adapter; raise train.learning_rate, or lower train.warmup")
    if len([count for count in best.evaluation.answers.values() if count]) == 1:
        log.warning(
            "the adapter gives every hold-out row the same label; try another train.learning_rate or more epochs"
        )
    log.info(
        f"hold-out accuracy: majority {holdout.majority():.1%}, untuned {untuned.accuracy:.1%}, "
        f"tuned {best.evaluation.accuracy:.1%} (epoch {best.epoch} of {recipe.train.epochs}; "
        f"MCC {best.evaluation.mcc:.3f}, F1 {best.evaluation.f1:.3f}); {loop.seconds:.1f} s"
    )
    return {
        "majority": holdout.majority(),
        "untuned": untuned.figures(),
        "tuned": best.evaluation.figures(),
        "best_epoch": best.epoch,
        "epochs": [evaluation.figures() for evaluation in epochs],
        "rows": len(rows),
        "truncated": rows.truncated,
        "dropped": rows.dropped,
        "trainable_parameters": trainable,
        "precision": base.precision,
        **choice.figures(),
        "rows_at_once": loop.rows_at_once,
        "skipped_steps": loop.skipped,
        "device": str(accelerator.device),
        "processes": accelerator.num_processes,
        "trunk_seconds": round(trunk_seconds, 3),
        "train_seconds": round(loop.seconds, 3),
        "rows_per_second": round(len(rows) * recipe.train.epochs / loop.seconds, 2),
        "prompt_digest": prompt.digest(),
    }


def _encode(
    prompt: Prompt, records: Records, accelerator: Accelerator, keep: Path
) -> tuple[EncodedDataset, EncodedDataset]:
    """The training and the held-out rows."""
    with main_process_first(accelerator):  # it keeps the tokens that the others then find
        rows = encode_file(prompt, records.train, "training", keep, may_drop=True)
        held = encode_file(prompt, records.holdout, "hold-out", keep)
    encode_records(prompt, records.dev, "dev")  # said now rather than after hours of training
    return rows, held


def _layout(
    recipe: Recipe, kept: Optional[Kept], subject: Subject, rows: EncodedDataset, accelerator: Accelerator
) -> Choice:
    """The layout of this run, the same on every process. Where the recipe leaves it open, one that goes on takes the
    checkpoint's: what was short of memory then, or is now, may have changed."""
    wanted: str = recipe.train.layout
    if kept is not None and wanted == "auto":
        wanted = kept.computed["layout"]
    try:
        choice = choose_layout(wanted, subject, rows, recipe.train.batch_size)
    except UserError as error:
        if kept is None:
            raise
        raise UserError(
            f"{kept.path}: was computed in the layout {wanted}; {error.what}",
            "see to it and run again (nvidia-smi shows who else uses a GPU), or start over: --fresh",
        ) from error
    if set(all_gather(accelerator, [choice.name])) != {choice.name}:
        plain = LAYOUTS["padded"](subject.scorer.model, subject.scorer.prompt)
        return Choice("padded", plain, "packed is not used: it fails on another process")
    return choice


def _require_finite(state: Mapping[str, torch.Tensor]) -> None:
    """Raises UserError for a value that is no number: such an adapter is never written."""
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise UserError(
                f"the adapter's {name} holds a value that is no number (NaN or infinite); nothing was written",
                "lower train.learning_rate, and start over: --fresh",
            )


@contextmanager
def _frozen_layers(
    recipe: Recipe,
    base: Base,
    subject: Subject,
    rows: EncodedDataset,
    held: EncodedDataset,
    choice: Choice,
    accelerator: Accelerator,
    store: Path,
) -> Iterator[Layout]:
    """The layout to train with: the one given, or the same with the stored states of the frozen layers."""
    layers = recipe.lora.layers_to_transform
    if not recipe.train.cache_frozen_layers or not layers:
        yield choice.layout
        return
    scorer = subject.scorer
    with main_process_first(accelerator):
        cache = cached_frozen_layers(base, scorer, min(layers), (rows, held), choice, store / "frozen_layers")
    proof = prove(subject, [from_frozen_layers(cache, scorer, choice)], rows)
    if not proof.holds:
        raise UserError(
            f"train.cache_frozen_layers: not for this model: {proof.words()}", "set train.cache_frozen_layers: false"
        )
    with cache.installed(scorer):
        yield cache.layout(choice.layout)
