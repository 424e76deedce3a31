"""The origins of records: are dev inputs among the training inputs, and were both made from the exam's tables? No points.

The records are seen once, one by one, the dev records first. Of most of them only a hash stays.
"""

import itertools
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from grading.audit import source_tables as tables
from grading.contract.language import mark, tr
from grading.errors import CouldNotGrade
from grading.grades import AGREES, LOOK, UNKNOWN, Advice, AnswerKey

FIRST_ROWS = 20_000
"""First rows of the training table, which decide how records were made from it."""

MOST_COMPARED = 1_000_000
"""First training records that are compared with the training table; QQP has 363,846 rows."""

_TRAINED = mark("dev inputs in training")
_DEV, _TRAIN = mark("dev inputs and the exam's table"), mark("training records and the exam's table")

_NOTHING = hash(None)
"""The hash of an input that the template cannot have made. No input that is compared has it but by chance."""


class Origins:
    """What is found about the records of one dataset."""

    def __init__(self, key: AnswerKey, data: Optional[Path]) -> None:
        """`data`: the examiner's folder of `{dataset}/{dataset}_{train,dev}.tsv`; None: records are compared with no table."""
        self._key, self._data = key, data
        self._asked: set[int] = set()
        self._dev = _DevRows(key, data)
        self._train = self._both = 0
        self._inputs, self._labels = array("q"), array("l")
        self._numbers = {label: number for number, label in enumerate(key.labels)}

    def see_dev(self, record: Any) -> None:
        """The next dev record, of any type. Raises CouldNotGrade if the exam's table cannot be read."""
        text = _text(record, "input")
        if text and len(self._asked) < len(self._key.answers):
            self._asked.add(hash(text))
        self._dev.see(text)

    def see_train(self, record: Any) -> None:
        """The next training record, of any type, after all dev records. Raises CouldNotGrade as `see_dev`."""
        text = _text(record, "input")
        self._train += 1
        if hash(text) in self._asked:
            self._both += 1
        template = self._dev.template()
        if template is not None and len(self._inputs) < MOST_COMPARED:
            self._inputs.append(hash(template.inside(text.strip())))
            self._labels.append(self._numbers.get(_text(record, "output"), -1))

    def advice(self, readable: frozenset[str]) -> Iterator[Advice]:
        """The advice, after all records. `readable`: the parts whose file is an array to its end; what was seen of others counts
        nothing. Raises CouldNotGrade if one of the exam's tables cannot be read."""
        dataset = self._key.dataset
        if self._asked and self._train and readable == {"train", "dev"}:
            words = tr(
                "{both:,} of {train_count:,} training inputs are dev inputs too",
                both=self._both,
                train_count=self._train,
            )
            yield Advice(dataset, _TRAINED, LOOK if self._both else AGREES, words)
        else:
            yield Advice(dataset, _TRAINED, UNKNOWN, tr("records cannot be read"))
        if self._data is None:
            return
        yield self._dev.advice("dev" in readable)
        yield self._of_the_training_table(self._data, readable)

    def _of_the_training_table(self, data: Path, readable: frozenset[str]) -> Advice:
        source, template = self._dev.table(), self._dev.template()
        if source is None or template is None or "dev" not in readable:
            return Advice(self._key.dataset, _TRAIN, UNKNOWN, tr("how inputs are made from rows is not known"))
        wanted = set(self._inputs) - {_NOTHING} if "train" in readable else set()
        best: tuple[int, Optional[tables.Template], Optional[tables.Table]] = (-1, None, None)
        # the first rows decide which way it is; then all rows are read in that way only
        for target in tables.read_tables(_path(data, self._key.dataset, "train")) if wanted else ():
            made, way = tables.most_made(target, list(tables.moved(template, source, target)), wanted, FIRST_ROWS)
            if way is not None and made > best[0]:
                best = (made, way, target)
        if best[1] is None or best[2] is None:
            return Advice(self._key.dataset, _TRAIN, UNKNOWN, tr("there is nothing to compare"))
        known = tables.labels_made(best[2], best[1], wanted, self._key.labels)
        met = sum(1 for hashed in self._inputs if hashed in known)
        right = sum(
            1 for hashed, label in zip(self._inputs, self._labels) if label >= 0 and known.get(hashed, 0) >> label & 1
        )
        words = tr(
            "{met:,} of {train_count:,} training inputs are made from a row, {right:,} with that row's label",
            met=met,
            train_count=len(self._inputs),
            right=right,
        )
        state = AGREES if met == right == len(self._inputs) > 0 else LOOK
        return Advice(self._key.dataset, _TRAIN, state, words)


class _DevRows:
    """The dev inputs, compared with the rows of the exam's dev table as they come."""

    def __init__(self, key: AnswerKey, data: Optional[Path]) -> None:
        self._key, self._data = key, data
        self._first: list[str] = []
        self._seen = 0
        self._readings: Optional[list[_Reading]] = None if data else []

    def see(self, text: str) -> None:
        """The next input."""
        if self._data is None:
            return
        self._seen += 1
        if self._readings is None:
            self._first.append(text)
            if len(self._first) == tables.LEARNT_FROM:
                self._learn()
            return
        for reading in self._readings:
            reading.see(text)

    def template(self) -> Optional[tables.Template]:
        """How the reading that gives most of the inputs makes them, after all of them; None if none gives any."""
        best = self._best()
        return None if best is None else best.template

    def table(self) -> Optional[tables.Table]:
        """That reading of the table."""
        best = self._best()
        return None if best is None else best.table

    def advice(self, readable: bool) -> Advice:
        """Whether the inputs are made from the rows."""
        seen, dataset = self._seen if readable else 0, self._key.dataset
        best = self._best()
        if best is None or not readable:
            words = tr(
                "no single template makes the first {learnt_from} dev inputs from the rows of {dataset}_dev.tsv",
                learnt_from=tables.LEARNT_FROM,
                dataset=dataset,
            )
            return Advice(dataset, _DEV, LOOK if seen else UNKNOWN, words)
        words = tr("{same:,} of {asked_count:,} dev inputs are made from their row", same=best.same, asked_count=seen)
        if best.first_other and best.first_other <= best.rows_seen:
            words += tr(", the first that is not is record {record:,}", record=best.first_other)
        return Advice(dataset, _DEV, AGREES if best.same == seen else LOOK, words)

    def _best(self) -> "Optional[_Reading]":
        if self._readings is None:
            self._learn()
        readings = self._readings or []
        if len(readings) > 1:
            readings[:] = [max(readings, key=lambda reading: reading.same)]
        return readings[0] if readings else None

    def _learn(self) -> None:
        self._readings = []
        if self._data is None:
            return
        for table in tables.read_tables(_path(self._data, self._key.dataset, "dev")):
            template = tables.learn(table, self._first)
            if template is not None:
                reading = _Reading(table, template)
                for text in self._first:
                    reading.see(text)
                self._readings.append(reading)


class _Reading:
    """One reading of the dev table with its template, row by row beside the inputs."""

    def __init__(self, table: tables.Table, template: tables.Template) -> None:
        self.table, self.template = table, template
        self.same = self.rows_seen = self.first_other = 0
        """Inputs that are made from their row; rows; the number from 1 of the first input that is another, 0: none."""
        self._rows = itertools.chain(table.rows(), itertools.repeat(None))

    def see(self, text: str) -> None:
        """The next input."""
        row = next(self._rows)
        self.rows_seen += row is not None
        if row is not None and self.template.makes(row, text.strip()):
            self.same += 1
        elif not self.first_other:
            self.first_other = self.rows_seen if row is not None else self.rows_seen + 1


def _text(record: Any, key: str) -> str:
    text = record.get(key) if isinstance(record, dict) else None
    return text if isinstance(text, str) else ""


def _path(data: Path, dataset: str, part: str) -> Path:
    path = data / dataset / f"{dataset}_{part}.tsv"
    if not path.is_file():
        raise CouldNotGrade(
            tr("{path}: no such table", path=path), tr("correct --data, the folder of the exam's TSV files")
        )
    return path
