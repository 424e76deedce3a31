"""The answer file: the rows that were asked with their answers, as CSV, JSONL or parquet. Every row is in it, in order."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from runner.asking.rows import AskedRow
from runner.data.exclusion import as_cell
from runner.errors import UserError
from runner.language import tr
from runner.prediction.prediction_file import Prediction
from runner.system.files import write_atomic
from runner.system.packages import Package, require_packages
from runner.workspace.run_files import handed_in


@dataclass(frozen=True)
class Answered:
    """A row with its answer."""

    row: AskedRow
    prediction: Optional[Prediction]
    """None for a row that was not answered."""
    problem: str
    """Why it was not; else empty."""


@dataclass(frozen=True)
class Form:
    """The columns of an answer file."""

    columns: tuple[str, ...]
    """Those of the rows' own file."""
    labels: tuple[str, ...]
    """The labels, each with a column for its probability."""

    @property
    def own(self) -> tuple[str, ...]:
        """The names of the columns that are added."""
        return ("predicted", "probability", *(f"probability_{label}" for label in self.labels), "text", "problem")

    @property
    def names(self) -> tuple[str, ...]:
        """All names. A column of the rows' file that has the name of an added one begins with `asked_`."""
        taken = {"row", *self.own}
        return ("row", *(f"asked_{name}" if name in taken else name for name in self.columns), *self.own)

    def values(self, answered: Answered) -> dict[str, Any]:
        """The values of a row by their names; None where there is none."""
        row, prediction = answered.row, answered.prediction
        known = prediction.probabilities if prediction else {}
        label = prediction.label if prediction else None
        probabilities = [known.get(each) for each in self.labels]
        added = (label, known.get(str(label)), *probabilities, prediction.text if prediction else None)
        return dict(zip(self.names, (row.line, *row.cells, *added, answered.problem or None)))


def as_csv(form: Form, rows: Sequence[Answered]) -> bytes:
    """UTF-8 with the mark by which Excel knows it, and no text that a spreadsheet takes for a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(form.names)
    for row in rows:
        values = form.values(row).values()
        writer.writerow([as_cell(each) if isinstance(each, str) else each for each in values])
    return text.getvalue().encode("utf-8-sig")


def as_jsonl(form: Form, rows: Sequence[Answered]) -> bytes:
    """An object a line."""
    return "".join(json.dumps(form.values(row), ensure_ascii=False) + "\n" for row in rows).encode()


def as_parquet(form: Form, rows: Sequence[Answered]) -> bytes:
    """A parquet file with text, whole numbers and numbers."""
    import pyarrow as pa
    from pyarrow import parquet

    def kind(name: str) -> Any:
        if name == "row":
            return pa.int64()
        return pa.float64() if name in form.own and name.startswith("probability") else pa.string()

    schema = pa.schema([(name, kind(name)) for name in form.names])
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist([form.values(row) for row in rows], schema=schema), sink)
    return sink.getvalue()


FORMATS: Mapping[str, Callable[[Form, Sequence[Answered]], bytes]] = {
    ".csv": as_csv,
    ".jsonl": as_jsonl,
    ".parquet": as_parquet,
}
"""Every format by the ending of its file."""


def require_new_file(path: Path, workspace: Optional[Path], overwrite: bool) -> None:
    """Raise UserError, before anything is computed, where answers cannot or may not be written to `path`.

    `workspace`: that of the run, where it is known. `overwrite`: whether the user asked to replace a file."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(
            tr("{path}: expected a name that ends with {endings}", path=path, endings=tr(" or ").join(FORMATS)),
            tr("--out answers.csv"),
        )
    if path.suffix.lower() == ".parquet":
        require_packages((Package("pyarrow", "pyarrow", ""),))
    if handed_in(path, workspace):
        raise UserError(
            tr("{path}: lies in a folder that is handed in or graded", path=path), tr("name a file somewhere else")
        )
    if path.is_dir():
        raise UserError(tr("{path}: expected a file, found a folder", path=path), tr("--out answers.csv"))
    if path.exists() and not overwrite:
        raise UserError(tr("{path}: is there already", path=path), tr("choose another name, or add --overwrite"))
    if not path.parent.is_dir():
        raise UserError(
            tr("{path}: the folder {folder} does not exist", path=path, folder=path.parent), tr("make it first")
        )


def write_answers(path: Path, form: Form, rows: Sequence[Answered]) -> None:
    """Write the file, completely or not at all."""
    write_atomic(path, FORMATS[path.suffix.lower()](form, rows))
