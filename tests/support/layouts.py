"""The same rows in many layouts: formats, encodings, quoting, with a header or without, and with labels in words."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from conftest import ROOT

COLUMNS = ("id", "first", "second", "label")
Rows = Sequence[Sequence[str]]

NASTY = [
    ('she said "no", and left; again', "Is it 5,5 or 5.5?"),
    ('"whole field"', "a,b;c"),
    ("这个手机怎么样？", "这部手机好不好？"),
    ("我想退货，可以吗", "“可以退货吗”"),
    ("NA", "null"),
    (" spaces kept ", "'single'"),
]
"""Pairs that a careless reader loses or changes."""


def real_rows(task: str = "paraphrase", folder: Path = ROOT / "recipes/demo/data/questionBData") -> tuple[Rows, Rows]:
    """Labelled rows and rows to predict, as `COLUMNS`: some of the demo's or QQP's own, and the nasty pairs. Ids are unique."""
    found: list[list[list[str]]] = []
    for name, most in (("train", 300), ("dev", 40)):
        lines = (folder / f"{task}/{task}_{name}.tsv").read_text(encoding="utf-8").split("\n")[1 : most + 1]
        found.append([line.split("\t")[3:] for line in lines])
    train = [[f"t{n}", first, second, label] for n, (first, second, label) in enumerate(found[0])]
    dev = [[f"d{n}", first, second, str(n % 2)] for n, (first, second) in enumerate(found[1])]
    train += [[f"x{n}", first, second, str(n % 2)] for n, (first, second) in enumerate(NASTY)]
    dev += [[f"y{n}", second, first, str(n % 2)] for n, (first, second) in enumerate(NASTY)]
    return train, dev


def plain(names: Sequence[str], rows: Rows, delimiter: str = "\t", header: bool = True) -> str:
    return "".join(delimiter.join(row) + "\n" for row in ([names] if header else []) + list(rows))


def quoted(names: Sequence[str], rows: Rows, delimiter: str = ",", all_fields: bool = False) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL if all_fields else csv.QUOTE_MINIMAL)
    writer.writerows([names, *rows])
    return text.getvalue()


def jsonl(names: Sequence[str], rows: Rows) -> str:
    return "".join(json.dumps(dict(zip(names, row)), ensure_ascii=False) + "\n" for row in rows)


def json_array(names: Sequence[str], rows: Rows) -> str:
    return json.dumps([dict(zip(names, row)) for row in rows], indent=1)


def parquet(names: Sequence[str], rows: Rows) -> bytes:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    data = io.BytesIO()
    columns = {
        name: [int(row[place]) if name == "label" else row[place] for row in rows] for place, name in enumerate(names)
    }
    write_table(pa.table(columns), data, row_group_size=50)
    return data.getvalue()


class Layout(NamedTuple):
    """A way to write a table."""

    write: Callable[[Sequence[str], Rows], Any]
    """Text, or bytes, of the names of the columns and the rows."""
    task: dict[str, Any] = {}  # noqa: RUF012
    """Keys of the recipe's task that it needs."""
    encoding: str = "utf-8"
    """How the text is encoded."""
    labels: dict[str, str] = {}  # noqa: RUF012
    """What is written instead of a label."""
    labelled_dev: bool = False
    """Whether the dev file has its labels."""


NAMED = {"columns": list(COLUMNS)}
WORDS = {"0": "different", "1": "the same"}
LAYOUTS = {
    "tsv": Layout(plain, {"header": True, **NAMED}),
    "tsv without header": Layout(lambda names, rows: plain(names, rows, header=False), {"header": False, **NAMED}),
    "tsv, nothing said": Layout(plain),
    "tsv with CRLF and a mark": Layout(lambda names, rows: "\ufeff" + plain(names, rows).replace("\n", "\r\n")),
    "csv": Layout(quoted),
    "csv, all quoted": Layout(lambda names, rows: quoted(names, rows, all_fields=True)),
    "csv with semicolons": Layout(lambda names, rows: quoted(names, rows, ";"), {"format": "csv"}),
    "csv, other order": Layout(lambda names, rows: quoted(names[::-1], [row[::-1] for row in rows]), NAMED),
    "jsonl": Layout(jsonl),
    "json array": Layout(json_array),
    "parquet": Layout(parquet),
    "utf-16": Layout(plain, {"encoding": "utf-16"}, "utf-16"),
    "utf-16 csv": Layout(quoted, {"encoding": "utf-16"}, "utf-16"),
    "gbk": Layout(plain, {"encoding": "gb18030"}, "gb18030"),
    "gbk csv without header": Layout(
        lambda names, rows: quoted(rows[0], rows[1:]), {"encoding": "gbk", "header": False, **NAMED}, "gb18030"
    ),
    "labels in words": Layout(plain, {"label_names": {name: label for label, name in WORDS.items()}}, labels=WORDS),
    "labels with a point": Layout(quoted, {"label_names": {"0.0": "0", "1.0": "1"}}, labels={"0": "0.0", "1": "1.0"}),
    "labelled dev": Layout(quoted, labelled_dev=True),
    "labelled dev without header": Layout(
        lambda names, rows: plain(names, rows, header=False), {"header": False, **NAMED}, labelled_dev=True
    ),
    "labelled jsonl dev": Layout(jsonl, labelled_dev=True),
}
"""Layouts that give the same records."""


def write_layout(folder: Path, layout: Layout, train: Rows, dev: Rows) -> dict[str, Any]:
    """Write both files; returns the recipe's task."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    files = {
        "train": (COLUMNS, train),
        "dev": (COLUMNS, dev) if layout.labelled_dev else (COLUMNS[:3], [row[:3] for row in dev]),
    }
    for name, (names, rows) in files.items():
        written = [[*row[:3], *(layout.labels.get(label, label) for label in row[3:])] for row in rows]
        content = layout.write(names, written)
        data = content if isinstance(content, bytes) else content.encode(layout.encoding)
        (folder / f"data/{name}").write_bytes(data)
    common = {"name": "pairs", "train": "data/train", "dev": "data/dev", "input": "{first}\n{second}"}
    return {**common, "label": "label", "labels": ["0", "1"], **layout.task}
