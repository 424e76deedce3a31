"""The asker: a finished run, ready to answer new rows as its predict stage would: with its calibration, its answers in words,
both orders of a pair, and all members of an ensemble."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

from grading import contract
from runner.asking.input_form import InputForm, form_of
from runner.asking.words import Word, without, words_of
from runner.ensemble.answers import combined
from runner.ensemble.in_place import adapters_of, require_recorded
from runner.ensemble.members import members_of
from runner.errors import UserError
from runner.language import tr
from runner.model.base import Base, Bases
from runner.prediction.calibration_file import Calibration, read_calibration
from runner.prediction.classifier import Classifier, base_of, trained_prompt
from runner.prediction.prediction_file import Prediction
from runner.recipe.schema import LabelDecoding, Recipe
from runner.scoring.dataset import EncodedDataset, encode_orders
from runner.scoring.prompt import Prompt
from runner.scoring.tokenization import encode_texts
from runner.stages import StageContext
from runner.workspace.ensemble_record import EnsembleRecord, read_ensemble
from runner.workspace.paths import Workspace
from runner.workspace.run_files import recipe_of, workspace_of

WHY_BATCH = 64
"""Texts that are computed at once where words are left out."""

Fields = Sequence[str]
"""The columns of one row."""


class Answer(NamedTuple):
    """What the run says about a row."""

    prediction: Optional[Prediction]
    """Label and probabilities; None for a row that cannot be answered."""
    problem: str = ""
    """Why it cannot."""
    is_cut: bool = False
    """Whether the input was cut to `prompt.max_length`, as the recipe says."""


class Effect(NamedTuple):
    """What leaving a word out does."""

    column: int
    """The number of the column that the word is in, from 0."""
    word: Word
    """The word's place in that column."""
    without: Prediction
    """The answer to the row without it."""


@dataclass(frozen=True)
class Reasons:
    """The answer to a row, and the answers to it with each word left out."""

    fields: tuple[str, ...]
    """The row."""
    prediction: Prediction
    """The answer to the whole row."""
    effects: tuple[Effect, ...]
    """One for each word, in order."""

    @property
    def label(self) -> str:
        """The label whose probability is compared: the likeliest one."""
        return max(self.prediction.probabilities, key=self.prediction.probabilities.__getitem__)

    def change(self, effect: Effect) -> float:
        """By how much the probability of the label falls without the word; below 0 where it rises."""
        return self.prediction.probabilities[self.label] - effect.without.probabilities[self.label]


class Member(NamedTuple):
    """An adapter that answers."""

    folder: Path
    prompt: Prompt
    calibration: Optional[Calibration]


class Asker:
    """A finished run with its base loaded. A context manager: the adapter leaves the base at the end of the block."""

    def __init__(self, base: Base, members: Sequence[Member], form: InputForm, decoding: Any = None) -> None:
        """`Asker.load` does all of it from the folder alone. `decoding`: the recipe's; None: the likeliest label."""
        self.base, self.members, self.form = base, members, form
        self.decoding = decoding or LabelDecoding()
        self.notes: list[str] = []
        self._only: Optional[Classifier] = None
        if len(members) == 1:
            self._only = Classifier(base, members[0].prompt, members[0].folder, members[0].calibration)

    @classmethod
    def load(
        cls,
        folder: Union[str, Path],
        base: Optional[str] = None,
        device: Any = None,
        trust_remote_code: bool = False,
    ) -> Asker:
        """Load a finished run.

        Args:
            folder: an adapter's folder, such as `saved_model/QQP`.
            base: folder or hub id of the base model; by default that of the training.
            device: where to compute, such as `"cuda"`; by default a GPU where there is one.
            trust_remote_code: whether code that lies beside the base may be run.

        Raises:
            UserError: the folder holds no adapter of ours, the base is missing or another one, or the adapter of another
                member of the ensemble is not the one that ensemble.json names.
        """
        folder = Path(folder)
        recipe = recipe_of(folder)
        folders, notes = _members(folder, recipe)
        loaded = base_of(folder, base, device, trust_remote_code)
        members = [Member(each, trained_prompt(each, loaded), None) for each in folders]
        if len(members) == 1:
            members = [members[0]._replace(calibration=read_calibration(folder, members[0].prompt.labels))]
        found = cls(loaded, members, form_of(recipe), recipe.decoding if recipe else None)
        found.notes = notes
        if recipe is None:
            found.notes.append(
                tr("{folder} has no recipe that can be read: the whole input is one text", folder=folder)
            )
        return found

    @property
    def columns(self) -> tuple[str, ...]:
        """What a row has, such as `("question1", "question2")`."""
        return self.form.columns

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that are answered."""
        return self.members[0].prompt.labels

    def answer(self, rows: Iterable[Union[str, Fields]], batch_size: int = 1) -> list[Answer]:
        """Answer rows.

        Args:
            rows: a tuple of texts for each row, in the order of `columns`; a plain text where there is one column.
            batch_size: rows computed at once.

        Returns:
            One answer for each row, in order. A row that cannot be answered has a problem in place of a prediction.

        Raises:
            UserError: a logit is not finite.
        """
        asked = [self._checked(row) for row in rows]
        texts = [self._orders(row) for row in asked]
        lengths = self._lengths(texts)
        answers = [self._fit(each) for each in lengths]
        good = [number for number, answer in enumerate(answers) if not answer.problem]
        found = self._predictions([texts[number] for number in good], batch_size)
        for number, prediction in zip(good, found):
            answers[number] = answers[number]._replace(prediction=prediction)
        return answers

    def why(self, row: Union[str, Fields]) -> Reasons:
        """Answer a row, and the row without each of its words.

        Raises:
            UserError: the row cannot be answered.
        """
        fields = self._checked(row)
        places = [(column, word) for column, text in enumerate(fields) for word in words_of(text)]
        shorter = [(*fields[:column], without(fields[column], word), *fields[column + 1 :]) for column, word in places]
        first, *others = self.answer([fields, *shorter], WHY_BATCH)
        if first.prediction is None:
            raise UserError(first.problem)
        effects = [
            Effect(column, word, other.prediction)
            for (column, word), other in zip(places, others)
            if other.prediction is not None
        ]
        return Reasons(fields, first.prediction, tuple(effects))

    def prompt_text(self, row: Union[str, Fields]) -> str:
        """The prompt of a row as the model reads it, decoded from its tokens; of the first member, and in the given order."""
        prompt = self.members[0].prompt
        (ids,) = encode_texts(prompt.tokenizer, [self.form.text(self._checked(row))])
        whole = [*prompt.prefix, *ids[: self._room(prompt)], *prompt.tail]
        return str(prompt.tokenizer.decode(whole, clean_up_tokenization_spaces=False))

    def close(self) -> None:
        """Take the adapter out of the base. A second call does nothing."""
        if self._only is not None:
            self._only.close()

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _checked(self, row: Union[str, Fields]) -> tuple[str, ...]:
        fields = (row,) if isinstance(row, str) else tuple(row)
        if len(fields) != len(self.columns) or not all(isinstance(each, str) for each in fields):
            raise UserError(
                tr(
                    "expected a row of {count} texts ({columns}), found {row!r:.80}",
                    count=len(self.columns),
                    columns=", ".join(self.columns),
                    row=row,
                )
            )
        return fields

    def _orders(self, fields: Fields) -> list[str]:
        """The input of a row, and the other order where both answer."""
        swapped = self.form.swapped_text(fields)
        return [self.form.text(fields)] + ([] if swapped is None else [swapped])

    def _room(self, prompt: Prompt) -> int:
        return prompt.max_length - len(prompt.prefix) - len(prompt.tail)

    def _lengths(self, texts: Sequence[Sequence[str]]) -> list[int]:
        """The tokens of the longer order of each row's input."""
        tokenizer = self.members[0].prompt.tokenizer
        sizes = iter([len(ids) for ids in encode_texts(tokenizer, [text for row in texts for text in row])])
        return [max(next(sizes) for _ in row) for row in texts]

    def _fit(self, length: int) -> Answer:
        """An answer to be filled, for an input of this many tokens; with a problem where it is too long for a prompt."""
        for _, prompt, _ in self.members:
            room = self._room(prompt)
            if length > room and prompt.too_long == "error":
                problem = tr(
                    "its prompt has {tokens} tokens, more than prompt.max_length = {most}",
                    tokens=length + prompt.max_length - room,
                    most=prompt.max_length,
                )
                return Answer(None, problem)
        return Answer(None, is_cut=any(length > self._room(member.prompt) for member in self.members))

    def _predictions(self, texts: Sequence[Sequence[str]], batch_size: int) -> list[Prediction]:
        """The prediction for each row, from its input in one order or in both."""
        decoding = self.decoding
        if isinstance(decoding, LabelDecoding):
            decoding = dataclasses.replace(decoding, batch=batch_size)
        found = []
        for member in self.members:
            orders = [
                [{"instruction": member.prompt.instruction, "input": text} for text in order] for order in zip(*texts)
            ]
            if not orders:
                return []
            dataset = encode_orders(member.prompt, orders[0], orders[1] if len(orders) > 1 else None, tr("texts"))
            found.append(self._of_member(member, dataset, decoding))
        return found[0] if len(found) == 1 else [_mean(each, self.labels) for each in zip(*found)]

    def _of_member(self, member: Member, dataset: EncodedDataset, decoding: Any) -> list[Prediction]:
        # two adapters are never in the base at once
        opened = nullcontext(self._only) if self._only else Classifier(self.base, *_parts(member))
        with opened as classifier:
            return list(classifier.answers(decoding, dataset))


def _parts(member: Member) -> tuple[Prompt, Path, Optional[Calibration]]:
    return member.prompt, member.folder, member.calibration


def _mean(members: Sequence[Prediction], labels: Sequence[str]) -> Prediction:
    """One answer from those of the members, as the predict stage of an ensemble gives it."""
    found = combined([{"label": each.label, "probabilities": each.probabilities} for each in members], labels)
    return Prediction(found["label"], found["probabilities"])


def _members(folder: Path, recipe: Optional[Recipe]) -> tuple[list[Path], list[str]]:
    """The folders of all adapters that answer, and a note where the others of an ensemble are not there.

    The members are those of ensemble.json: the recipe may be that of a later run, or of the first member alone. Raises UserError
    where another adapter lies in a member's place, or where nothing says which adapter belongs there."""
    record = read_ensemble(folder)
    if recipe is not None and record is not None:
        recipe = dataclasses.replace(recipe, ensemble=record.ensemble)
    if recipe is None or not recipe.ensemble.answers_by_mean:
        return [folder], []
    root = workspace_of(folder)
    if root is not None:
        context = StageContext(recipe, Workspace(root, recipe.task.name), Bases(root), False)
        members = members_of(context)
        folders = [folder, *adapters_of(members[1:])]
        if all((each / contract.ADAPTER_WEIGHTS).is_file() for each in folders):
            if record is None:
                raise UserError(
                    tr("{folder}: has no ensemble.json, which names the adapters of all members", folder=folder),
                    tr("run the recipe again with all stages: it trains only what is missing"),
                )
            require_recorded(members, folders, record, _again(record, context.workspace))
            return folders, []
    return [folder], [
        tr("{folder} is the first member of an ensemble; the others are not here, and it answers alone", folder=folder)
    ]


def _again(record: EnsembleRecord, workspace: Workspace) -> str:
    return tr("run the recipe again, which trains the member again: {command}", command=record.run_command(workspace))
