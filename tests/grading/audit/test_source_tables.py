"""Source tables: every table is read without an error, and the work is linear in what a stranger wrote."""

import csv
import random
import time

import pytest
from support import submissions

from grading.audit import source_tables as tables
from grading.audit.origins import Origins
from grading.grades import AGREES, LOOK, UNKNOWN, AnswerKey

LIMIT = 131_072
"""The csv module's own limit of a field, in characters. The grader keeps it; the runner, in the same test process, raises it."""


def table(path, lines):
    submissions.write(path, "".join(f"{line}\n" for line in lines).encode())
    return path


def origins(folder, rows, dev, train=(), answers=150):
    """The advice on the records: columns `id, one, two, label`, and the first `answers` rows are dev rows."""
    table(folder / "QQP/QQP_train.tsv", ["\t".join(row) for row in rows])
    table(folder / "QQP/QQP_dev.tsv", ["\t".join(row[:-1]) for row in rows[:answers]])
    found = Origins(AnswerKey("QQP", "result_QQP.txt", ("0",) * answers, ("0", "1")), folder)
    for text in dev:
        found.see_dev({"instruction": "x", "input": text})
    for text, label in train:
        found.see_train({"instruction": "x", "input": text, "output": label})
    return {each.check: (each.state, each.reason) for each in found.advice(frozenset(("dev", "train")))}


def rows_of(count):
    draw = random.Random(0)
    return [[str(row), f"first {draw.random()} {row}", f"second {row}?", "01"[row % 2]] for row in range(count)]


FAULTS = {
    "an unclosed quote": '7\t"Do rows like this occur?\tThey do\t1',
    "a field over csv's limit": f'7\t"{"x" * (LIMIT + 1)}\tb\t1',
    "a zero byte": "7\ta\0b\tc\t1",
    "a bare carriage return": "7\ta\rb\tc\t1",
    "quotes inside": '7\ta "b" c\t"d" e\t1',
    "text after a quote": '7\t"a"b\tc\t1',
    "a quote at the end": '7\ta\tb "\t1',
    "nothing but a quote": '"',
    "not UTF-8": "7\t\udcff\tb\t1",
}


@pytest.fixture
def own_limit():
    raised = csv.field_size_limit(LIMIT)
    yield
    csv.field_size_limit(raised)


@pytest.mark.usefixtures("own_limit")
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("place", [0, 7, 4000])
def test_every_table_is_read_without_an_error(tmp_path, fault, place):
    """Rows after a fault are rows again, in both readings, but for what an open quote swallows."""
    lines = ["\t".join(row) for row in rows_of(4000)]
    lines.insert(place, fault)
    path = tmp_path / "QQP_dev.tsv"
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
    for found in tables.read_tables(path):
        rows = list(found.rows())
        assert all(isinstance(row, list) for row in rows)
        if not found.csv_quoted:
            assert len(rows) == len(lines) - bool(found.head)


@pytest.mark.parametrize("fault", ['"Do rows like this occur?', '"a"b', 'a "b" c', "a\x0bb"])
def test_an_honest_submission_of_such_a_table_agrees(tmp_path, fault):
    """With QUOTE_NONE, as GLUE is read: it got no points, because csv raised an error."""
    rows = rows_of(9000)
    rows[7][1] = fault
    dev = [f"{row[1]}\n{row[2]}" for row in rows[:150]]
    train = [(f"{row[1]}\n{row[2]}", row[3]) for row in rows[:200]]
    found = origins(tmp_path, rows, dev, train)
    assert found["dev inputs and the exam's table"] == (AGREES, "150 of 150 dev inputs are made from their row")
    assert found["training records and the exam's table"] == (
        AGREES, "200 of 200 training inputs are made from a row, 200 with that row's label",
    )  # fmt: skip


def test_text_around_the_columns_may_be_long(tmp_path):
    rows = rows_of(300)
    before, after = "Compare. " * 800, " Answer." * 800
    dev = [f"{before}{row[2]} | {row[1]}{after}" for row in rows[:150]]
    found = origins(tmp_path, rows, dev, [(f"{before}{row[2]} | {row[1]}{after}", row[3]) for row in rows])
    assert {state for check, (state, _) in found.items() if "table" in check} == {AGREES}


PADDED = {
    "one record": lambda rows: [f"{'x ' * 400_000}{rows[0][1]}\n{rows[0][2]}"],
    "one record, in the middle": lambda rows: [f"{rows[0][1]}{'x ' * 400_000}{rows[0][2]}"],
    "twenty records": lambda rows: [f"{'x ' * 100_000}{row[1]}\n{row[2]}" for row in rows[:20]],
    "after the first twenty": lambda rows: [f"{row[1]}\n{row[2]}{'x ' * 200_000 * (number > 19)}"
                                            for number, row in enumerate(rows[:40])],
    "the row over and over": lambda rows: [f"{row[1]}\n{row[2]}" * 5_000 for row in rows[:20]],
    "as long as may be, before": lambda rows: [f"{'x' * (tables.MOST_FIXED - 1)}{row[1]}\n{row[2]}" for row in rows[:20]],
    "as long as may be, between": lambda rows: [f"{row[1]}{'x' * tables.MOST_BETWEEN}{row[2]}" for row in rows[:20]],
}  # fmt: skip


@pytest.mark.parametrize("padded", PADDED.values(), ids=PADDED)
@pytest.mark.parametrize("answers", [1, 150])
def test_padded_records_cost_no_more_than_their_length(tmp_path, padded, answers):
    """One dev record of 256 KiB took 47 s: the text around the columns was built again for each row and reading."""
    rows = rows_of(2000)
    dev = padded(rows)
    started = time.process_time()
    found = origins(tmp_path, rows, dev, [(text, "1") for text in dev], answers)
    assert time.process_time() - started < 4
    assert found["dev inputs and the exam's table"][0] in (AGREES, LOOK, UNKNOWN)


def test_a_template_makes_what_it_was_learnt_from(tmp_path):
    """Any order of columns, any text: rows and inputs fit, and other rows do not."""
    draw = random.Random(1)
    for number in range(60):
        rows = rows_of(25)
        columns = draw.sample([1, 2], draw.choice((1, 2)))
        pieces = ["".join(draw.choices("ab \n:{}", k=draw.randint(0, 9))) for _ in range(len(columns) + 1)]
        texts = [
            ("".join(piece + row[column] for piece, column in zip(pieces, columns)) + pieces[-1]).strip()
            for row in rows
        ]
        path = table(tmp_path / f"{number}.tsv", ["\t".join(row) for row in rows])
        template = tables.learn(tables.Table(path, False, None), texts)
        assert template is not None
        for row, text in zip(rows, texts):
            assert template.makes(row, text)
            assert template.inside(text) == template.inside_of(row)
            assert not template.makes(row, text + "x")
            assert not template.makes(row[:1], text)
        assert not template.makes(rows[0], texts[1])
