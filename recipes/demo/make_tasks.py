"""Makes the demo's two tasks, in the exam's file layout, from a fixed seed: the committed files are what this writes.

    python recipes/demo/make_tasks.py            a minute or less, standard library only

`acceptability`: is a sentence one of the demo language? The others were broken by `grammar.damaged`.
`paraphrase`: do two questions ask the same thing? Of the others one in five is a near miss, its meaning changed by
`grammar.altered`, and four ask something else altogether. So counting shared words goes far here (a logistic regression on
such counts gets about 91 %): the task shows that a fine-tune learns, not that it is needed.

No sentence occurs twice in all of it: not within a file, not across files, not in the two columns of one row. So train,
a hold-out drawn from it, and dev share none, and `sentences` tells the base's training text what to leave out.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grammar

HERE = Path(__file__).resolve().parent

SEED = 2024
TRAIN_ROWS = 2500
DEV_ROWS = 300
"""As many as the exam's dev files have; the first `KEY_ROWS` are graded."""
KEY_ROWS = 150
ACCEPTABLE = 0.59
"""Share of sentences left whole."""
DUPLICATES = 0.385
"""Share of pairs that ask the same, about that of QQP."""


@dataclass(frozen=True)
class Row:
    """One example of either task."""

    label: str
    """`1`: acceptable, or the same question; `0`: not."""
    texts: tuple[str, ...]
    """The sentence, or the two questions."""


def acceptability_rows(rng: random.Random, count: int, seen: set[str]) -> list[Row]:
    """Sentences and broken sentences. What is broken is drawn like what is whole, so that length, words and topic tell
    as little as they can. `seen` is added to."""
    rows: list[Row] = []
    for label in _labels(rng, count, ACCEPTABLE):
        sentence = ""
        while not sentence or sentence in seen:
            meaning = grammar.clause(rng, ("nothing", "nothing", "whether", "agent", "patient"))
            words = grammar.say(meaning, grammar.form(rng, meaning))
            sentence = grammar.text(words if label == "1" else grammar.damaged(rng, words))
        seen.add(sentence)
        rows.append(Row(label, (sentence,)))
    return rows


def paraphrase_rows(rng: random.Random, count: int, seen: set[str]) -> list[Row]:
    """Pairs of questions: the second restates the first, or a meaning close to it, with the same choice of forms and
    synonyms either way. `seen` is added to."""
    rows: list[Row] = []
    for label in _labels(rng, count, DUPLICATES):
        first = second = ""
        while first == second or first in seen or second in seen:
            meaning = grammar.clause(rng, ("whether", "whether", "agent", "patient"), transitive=0.9)
            way = grammar.form(rng, meaning)
            other = meaning if label == "1" else grammar.altered(rng, meaning)
            first = grammar.text(grammar.say(meaning, way))
            second = grammar.text(grammar.say(*grammar.restated(rng, other, way)))
        seen.update((first, second))
        rows.append(Row(label, (first, second)))
    return _repaired(rows)


def _repaired(rows: Sequence[Row]) -> list[Row]:
    """The same rows, but of the pairs that do not ask the same thing only every fifth stays a near miss; the others get the
    second question of the one before, which asks something else altogether. Both kinds stand in the real QQP."""
    moved = [i for n, i in enumerate(i for i, row in enumerate(rows) if row.label == "0") if n % 5]
    found = list(rows)
    for i, before in zip(moved, [moved[-1], *moved[:-1]]):
        found[i] = Row("0", (rows[i].texts[0], rows[before].texts[1]))
    return found


def _labels(rng: random.Random, count: int, share: float) -> list[str]:
    """`count` labels, exactly `share` of them `1`, in random order. Drawn before the sentences, so that drawing again
    where a sentence is taken already does not move the balance."""
    ones = round(count * share)
    return rng.sample(["1"] * ones + ["0"] * (count - ones), count)


def tasks() -> dict[str, list[Row]]:
    """All rows of each task, train first, then dev. The same in every process and every Python version."""
    rng = random.Random(SEED)
    seen: set[str] = set()
    return {
        name: [row for count in (TRAIN_ROWS, KEY_ROWS, DEV_ROWS - KEY_ROWS) for row in make(rng, count, seen)]
        for name, make in (("acceptability", acceptability_rows), ("paraphrase", paraphrase_rows))
    }


def sentences() -> frozenset[str]:
    """Every text of every row."""
    return frozenset(text for rows in tasks().values() for row in rows for text in row.texts)


def files() -> dict[str, str]:
    """Path below the data folder → content of each file."""
    rows = tasks()
    acceptability, paraphrase = rows["acceptability"], rows["paraphrase"]
    head = ("id", "qid1", "qid2", "question1", "question2")
    pairs = [(str(i), str(2 * i + 1), str(2 * i + 2), *row.texts) for i, row in enumerate(paraphrase)]
    made = {
        # CoLA's layout: no header; the third column is a star for sentences that linguists starred, empty in the exam's files.
        "questionBData/acceptability/acceptability_train.tsv": _table(
            [(f"g{i:04d}", row.label, "", *row.texts) for i, row in enumerate(acceptability[:TRAIN_ROWS])]
        ),
        "questionBData/acceptability/acceptability_dev.tsv": _table(
            [(f"d{i:03d}", "", *row.texts) for i, row in enumerate(acceptability[TRAIN_ROWS:])]
        ),
        # QQP's layout.
        "questionBData/paraphrase/paraphrase_train.tsv": _table(
            [(*head, "is_duplicate"), *((*pair, row.label) for pair, row in zip(pairs, paraphrase[:TRAIN_ROWS]))]
        ),
        "questionBData/paraphrase/paraphrase_dev.tsv": _table([head, *pairs[TRAIN_ROWS:]]),
    }
    for name, task in rows.items():
        made[f"questionBAnswer/result_{name}.txt"] = "".join(
            f"{row.label}\n" for row in task[TRAIN_ROWS : TRAIN_ROWS + KEY_ROWS]
        )
    return made


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the demo's tasks from their fixed seed.")
    parser.add_argument("--out", type=Path, default=HERE / "data", help="the data folder (default: beside this file)")
    out: Path = parser.parse_args().out
    for name, content in files().items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8"))  # bytes: write_text would turn the line ends on Windows
        print(f"{path}: {content.count(chr(10))} lines")


if __name__ == "__main__":
    main()
