"""The classifier: a saved adapter in its base, with the prompt that it was trained with; texts go in, labels come out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional, Union

import torch

from runner.errors import UserError
from runner.language import tr
from runner.model.adapter import saved_adapter
from runner.model.base import Base, load_base
from runner.model.sources import find_base
from runner.prediction.calibration_file import Calibration, read_calibration
from runner.prediction.decoders import DECODERS, Scored
from runner.prediction.prediction_file import Prediction
from runner.recipe.schema import LabelDecoding, PromptShape
from runner.scoring.dataset import EncodedDataset, encode_records
from runner.scoring.prompt import DESCRIBED, DESCRIBED_SOMETIMES, PRIOR_SHIFT, Prompt, build_prompt, positions_of
from runner.scoring.proof import prove_head, subject_of
from runner.scoring.scorer import LabelScorer
from runner.system.fingerprint import Fingerprint
from runner.workspace.paths import CLASSIFIER, PROMPT


class Classifier:
    """A saved adapter, ready to label texts. A context manager: the adapter leaves the base at the end of the block."""

    def __init__(self, base: Base, prompt: Prompt, folder: Path, calibration: Optional[Calibration] = None) -> None:
        """Put the adapter in `folder` into `base`. `Classifier.load` does all of it from the folder alone.

        Args:
            base: the base model; it is as before when the classifier is closed.
            prompt: the prompt that the adapter was trained with.
            folder: the adapter's folder.
            calibration: what is done to the label logits before they are compared; None: nothing.

        Raises:
            UserError: the adapter is missing, does not fit the base, or was trained with another prompt.
        """
        shift = None
        if (folder / PROMPT).exists():
            trained = _read(folder / PROMPT)
            _require_same_prompt(prompt, trained, folder)
            shift = saved_shift(trained, prompt.labels, folder / PROMPT)
        self.base, self.prompt, self.calibration = base, prompt, calibration
        self._adapter = saved_adapter(base, folder)
        scorer = LabelScorer(base.model, prompt).eval()
        scorer.undo_prior(shift)
        self._subject = subject_of(scorer)
        self._head_is_proved = False

    @classmethod
    def load(
        cls,
        folder: Union[str, Path],
        base: Optional[str] = None,
        device: Any = None,
        trust_remote_code: bool = False,
        calibrate: bool = True,
    ) -> Classifier:
        """Load a fine-tuned adapter with the base, prompt and labels that it was trained with.

        Args:
            folder: an adapter's folder, such as `saved_model/QQP`.
            base: folder or hub id of the base model; by default that of the training.
            device: where to compute, such as `"cuda"`; by default a GPU where there is one.
            trust_remote_code: whether code that lies beside the base may be run.
            calibrate: whether the folder's calibration.json is used, where there is one.

        Raises:
            UserError: the folder holds no adapter of ours, or the base is missing or another one.
        """
        folder = Path(folder)
        loaded = base_of(folder, base, device, trust_remote_code)
        prompt = trained_prompt(folder, loaded)
        return cls(loaded, prompt, folder, read_calibration(folder, prompt.labels) if calibrate else None)

    def predict(self, texts: Sequence[str], batch_size: int = 1) -> list[Prediction]:
        """Label texts.

        Args:
            texts: the inputs, as `input` in the records; the instruction is added.
            batch_size: texts computed at once.

        Returns:
            One prediction for each text, in order, with the probability of each label.

        Raises:
            UserError: a text is too long for the prompt, where the recipe said so, or a logit is not finite.
        """
        dataset = self._encode(texts, batch_size)
        return list(self.answers(LabelDecoding(batch=batch_size), dataset))

    @torch.no_grad()
    def label_logits(self, texts: Sequence[str], batch_size: int = 1) -> torch.Tensor:
        """Score texts.

        Args:
            texts: as in `predict`.
            batch_size: texts computed at once.

        Returns:
            (texts, labels) in fp32 on the CPU, after calibration where it is used; their softmax over the labels is the labels'
            probability.
        """
        dataset = self._encode(texts, batch_size)
        if not len(dataset):
            return torch.zeros(0, len(self.prompt.labels))
        scored = self.scores(LabelDecoding(batch=batch_size), dataset)
        return torch.stack([self._calibrated(each.logits) for each in scored]).cpu()

    def answers(self, decoding: Any, dataset: EncodedDataset, start: int = 0) -> Iterator[Prediction]:
        """Answer encoded rows from number `start` on, in order.

        `decoding`: the recipe's, a key of `DECODERS`."""
        return map(self.prediction, self.scores(decoding, dataset, start))

    @torch.no_grad()
    def scores(self, decoding: Any, dataset: EncodedDataset, start: int = 0) -> Iterator[Scored]:
        """Score encoded rows from number `start` on, in order. Every prediction comes from these logits, and calibration is
        fitted to them."""
        if len(dataset):
            self._prove_head(dataset)
            yield from DECODERS[type(decoding)](decoding, self._subject, dataset, start)

    def prediction(self, scored: Scored) -> Prediction:
        """The answer to a scored row, after calibration."""
        logits, labels = self._calibrated(scored.logits), self.prompt.labels
        label = labels[int(logits.argmax())] if scored.label is None else scored.label
        # in fp64: the logarithm of a small probability is exact too, and an ensemble averages logarithms
        probabilities = logits.cpu().double().softmax(0)
        return Prediction(label, dict(zip(labels, probabilities.tolist())), scored.text)

    def _calibrated(self, logits: torch.Tensor) -> torch.Tensor:
        return logits if self.calibration is None else self.calibration.apply(logits)

    def close(self) -> None:
        """Take the adapter out of the base. A second call does nothing."""
        self._adapter.detach()

    def __enter__(self) -> Classifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _encode(self, texts: Sequence[str], batch_size: int) -> EncodedDataset:
        if self._adapter.model is None:
            raise UserError(tr("this classifier is closed"), tr("call it inside the with block, or load it again"))
        # a generator can be read only once
        rows = list(texts) if isinstance(texts, Iterable) and not isinstance(texts, str) else [texts]
        if isinstance(texts, str) or not all(isinstance(row, str) for row in rows):
            raise UserError(
                tr("texts: expected a list of texts, found {texts!r:.80}", texts=texts), tr("write predict([text])")
            )
        if not isinstance(batch_size, int) or batch_size < 1:
            raise UserError(
                tr("batch_size: expected a whole number, 1 or more, found {batch_size!r}", batch_size=batch_size)
            )
        records = [{"instruction": self.prompt.instruction, "input": row} for row in rows]
        return encode_records(self.prompt, records, "texts")

    def _prove_head(self, dataset: EncodedDataset) -> None:
        if not self._head_is_proved:
            prove_head(self._subject, dataset.suffixes[:1])
            self._head_is_proved = True


def base_of(
    folder: Path,
    base: Optional[str] = None,
    device: Any = None,
    trust_remote_code: bool = False,
    precision: Optional[str] = None,
) -> Base:
    """Load the base that the adapter in `folder` was trained on, in the precision of its training.

    The arguments are those of `Classifier.load`. `precision`: another one, `bf16` or `fp32`. Raises UserError."""
    described = _read(folder / CLASSIFIER, "base", "folder", "precision", "too_long")
    # an unknown device is reported before a base is looked for
    place = device_of(device)
    found = base_folder_of(folder, base, trust_remote_code)
    return load_base(found, precision or described["precision"], place, trust_remote_code)


def base_folder_of(folder: Path, base: Optional[str] = None, trust_remote_code: bool = False) -> Path:
    """The folder of the base that the adapter in `folder` was trained on: where it was in training, or by its name."""
    described = _read(folder / CLASSIFIER, "base", "folder")
    here = Path(described["folder"]).is_dir()
    return find_base(base or described["folder" if here else "base"], Path(), trust_remote_code)


def trained_prompt(folder: Path, base: Base) -> Prompt:
    """The prompt that the adapter in `folder` was trained with. Raises UserError."""
    described = _read(folder / CLASSIFIER, "too_long")
    trained = _read(folder / PROMPT, "template", "max_length", "instruction", "labels")
    shape = PromptShape(
        template=trained["template"],
        max_length=trained["max_length"],
        too_long=described["too_long"],
        answers=trained.get("answers"),
    )
    return build_prompt(shape, trained["instruction"], trained["labels"], base.tokenizer, positions_of(base.model))


def device_of(device: Any) -> torch.device:
    """The device of this name; None: a GPU where there is one. Raises UserError."""
    try:
        found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise UserError(
            tr("device: {device!r} is not a device", device=device), tr('name one such as "cpu" or "cuda:0"')
        ) from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            tr("device: {device!r}: there is no CUDA device here", device=device), tr('leave it out, or name "cpu"')
        )
    return found


def saved_shift(trained: Mapping[str, Any], labels: Sequence[str], path: Path) -> Optional[dict[str, float]]:
    """What `LabelScorer.undo_prior` needs, from the description of the training in `path`; None: the training had the file's
    label shares. Raises UserError where it is damaged."""
    shift = trained.get(PRIOR_SHIFT)
    if shift is None:
        return None
    if not isinstance(shift, dict) or set(shift) != set(labels) or not all(_is_finite(each) for each in shift.values()):
        raise UserError(
            tr(
                "{path}: {prior_shift}: expected a finite number for each label, found {shift!r:.200}",
                path=path,
                prior_shift=PRIOR_SHIFT,
                shift=shift,
            ),
            tr("train the adapter again: --stages finetune,predict --fresh"),
        )
    return shift


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _require_same_prompt(prompt: Prompt, trained: Mapping[str, Any], folder: Path) -> None:
    """Raise UserError where the adapter in `folder` was trained with another prompt, and show the difference."""
    now, described = prompt.description(), (*DESCRIBED, *DESCRIBED_SOMETIMES)
    difference = Fingerprint(now).diff({name: trained.get(name) for name in described}, (tr("trained with"), "now"))
    if difference:
        raise UserError(
            tr(
                "{folder}: the adapter was trained with another prompt\n{difference}",
                folder=folder,
                difference=difference,
            ),
            tr("give the recipe the adapter's prompt again, or train again: --stages finetune,evaluate,predict"),
        )


def _read(path: Path, *names: str) -> dict[str, Any]:
    """The values of a JSON file beside an adapter. Raises UserError where it cannot be read, or lacks one of these names."""
    try:
        values = dict(json.loads(path.read_text(encoding="utf-8")))
        problem = ", ".join(tr("{name} is missing", name=name) for name in names if name not in values)
    except (OSError, ValueError, TypeError) as error:
        problem = str(error)
    if problem:
        raise UserError(
            tr(
                "{path}: cannot be read ({problem}); it describes how the adapter was trained",
                path=path,
                problem=problem,
            ),
            tr("name the folder of a finished adapter, such as saved_model/QQP, or train it again"),
        )
    return values
