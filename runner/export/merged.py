"""The merged model: the base with the adapter's update added to its weights, in files that transformers loads without PEFT."""

from __future__ import annotations

import gc
import json
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from runner.errors import UserError
from runner.export.facts import Facts
from runner.language import tr, trn
from runner.model.adapter import saved_adapter
from runner.model.base import Base, load_base
from runner.model.sources import content
from runner.prediction.classifier import Classifier, saved_shift, trained_prompt
from runner.prediction.prediction_file import Prediction
from runner.recipe.schema import LabelDecoding
from runner.scoring.dataset import EncodedDataset, encode_orders
from runner.scoring.label_logits import averaged_label_logits
from runner.scoring.proof import subject_of
from runner.scoring.scorer import LabelScorer
from runner.workspace.paths import PROMPT

BATCH = 8
"""Rows of the proof that are computed at once."""

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}

SHARD = "5GB"
"""Largest file of weights."""


@dataclass(frozen=True)
class Merging:
    """A merge to be done."""

    facts: Facts
    """The run."""
    base_folder: Path
    """Where its base is."""
    precision: str
    """Of the merged weights: `bf16` or `fp32`."""
    device: torch.device
    """Where the proof computes; merging itself needs only the processor."""
    trusted: bool = False
    """Whether Python code in the base's folder may be run."""


@dataclass(frozen=True)
class Proof:
    """How the merged model compares with base and adapter on some rows."""

    rows: int
    different: int
    """Rows with another label."""
    largest_difference: float
    """Of the probability of a label."""

    def words(self) -> str:
        """The outcome for the user."""
        return tr(
            "{rows:,} rows compared, {different:,} with another label; largest difference of a probability {difference:.2g}",
            rows=self.rows,
            different=self.different,
            difference=self.largest_difference,
        )


def merge_into(folder: Path, merging: Merging, inputs: Sequence[Sequence[str]]) -> Proof:
    """Write the merged model into an empty folder, load it again, and compare it with base and adapter.

    Args:
        folder: the folder to fill.
        merging: what is merged.
        inputs: the rows to compare, each in one order or in both.

    Returns:
        The comparison; every label is the same.

    Raises:
        UserError: the adapter does not fit the base, or a row gets another label.
    """
    facts = merging.facts
    expected = _of_adapter(merging, inputs)
    _write(folder, merging)
    proof = _compared(expected, _of_merged(folder, merging, inputs))
    if proof.different:
        raise UserError(
            trn(
                "1 of {rows:,} rows gets another label from the merged model in {precision}; "
                "largest difference of a probability {difference:.2g}",
                "{count:,} of {rows:,} rows get another label from the merged model in {precision}; "
                "largest difference of a probability {difference:.2g}",
                proof.different,
                rows=proof.rows,
                precision=merging.precision,
                difference=proof.largest_difference,
            ),
            tr("merge in full precision: --precision fp32; or export the adapter: --adapter-only"),
        )
    shutil.copyfile(facts.folder / PROMPT, folder / PROMPT)
    return proof


def _of_adapter(merging: Merging, inputs: Sequence[Sequence[str]]) -> list[Prediction]:
    facts = merging.facts
    base = load_base(merging.base_folder, facts.precision, merging.device, merging.trusted)
    prompt = trained_prompt(facts.folder, base)
    with Classifier(base, prompt, facts.folder, facts.calibration) as classifier:
        found = list(classifier.answers(LabelDecoding(batch=BATCH), _encoded(prompt, inputs)))
    del base, classifier
    _free()
    return found


@torch.no_grad()
def _write(folder: Path, merging: Merging) -> None:
    """The weights, summed in fp32 and then in the wanted type; and the base's other files as they are."""
    base = load_base(merging.base_folder, "fp32", torch.device("cpu"), merging.trusted)
    adapter = saved_adapter(base, merging.facts.folder)
    model = adapter.model.merge_and_unload().to(DTYPES[merging.precision])
    model.save_pretrained(str(folder), safe_serialization=True, max_shard_size=SHARD)
    for path in folder.glob("*.safetensors"):
        # safetensors makes files that only their owner can read
        path.chmod(stat.S_IMODE((folder / "config.json").stat().st_mode))
    for pattern in content(merging.trusted):
        for path in merging.base_folder.glob(pattern):
            if path.is_file() and not path.name.endswith((".safetensors", ".safetensors.index.json")):
                shutil.copyfile(path, folder / path.name)
    for name in ("generation_config.json", "config.json"):
        # in the form in which the base has them: that of a newer transformers cannot be read by an older one
        source = merging.base_folder / name
        if source.is_file():
            (folder / name).write_text(_config(source, merging.precision), encoding="utf-8")
        else:
            (folder / name).unlink(missing_ok=True)
    del base, adapter, model
    _free()


def _config(source: Path, precision: str) -> str:
    """A configuration of the base, with the type of the merged weights."""
    tree: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    if source.name == "config.json":
        wanted = str(DTYPES[precision]).rpartition(".")[2]
        tree.update({"dtype" if "dtype" in tree else "torch_dtype": wanted})
        if tree.get("model_type") == "gemma":
            # as in training: transformers 4.38 would use the exact form of GELU, which the model was not trained with
            tree["hidden_act"] = tree["hidden_activation"] = "gelu_pytorch_tanh"
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


@torch.no_grad()
def _of_merged(folder: Path, merging: Merging, inputs: Sequence[Sequence[str]]) -> list[Prediction]:
    facts = merging.facts
    base: Base = load_base(folder, merging.precision, merging.device, merging.trusted)
    prompt = trained_prompt(facts.folder, base)
    scorer = LabelScorer(base.model, prompt).eval()
    scorer.undo_prior(saved_shift(facts.prompt, prompt.labels, facts.folder / PROMPT))
    found = []
    for logits in averaged_label_logits(subject_of(scorer), _encoded(prompt, inputs), BATCH):
        shares = (facts.calibration.apply(logits) if facts.calibration else logits).cpu().double().softmax(0)
        found.append(Prediction(prompt.labels[int(shares.argmax())], dict(zip(prompt.labels, shares.tolist()))))
    del base, scorer
    _free()
    return found


def _encoded(prompt: Any, inputs: Sequence[Sequence[str]]) -> EncodedDataset:
    orders = [[{"instruction": prompt.instruction, "input": text} for text in order] for order in zip(*inputs)]
    return encode_orders(prompt, orders[0], orders[1] if len(orders) > 1 else None, tr("texts"))


def _compared(expected: Sequence[Prediction], found: Sequence[Prediction]) -> Proof:
    differences = [
        abs(one.probabilities[label] - other.probabilities[label])
        for one, other in zip(expected, found)
        for label in one.probabilities
    ]
    different = sum(one.label != other.label for one, other in zip(expected, found))
    return Proof(len(expected), different, max(differences, default=0.0))


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
