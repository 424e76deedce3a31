"""The records on disk: read one at a time, as they were written, and refused where somebody has changed them."""

from pathlib import Path

import pytest

from grading import contract
from runner.data.records import RecordFile, write_records
from runner.errors import DataError

RECORDS = [
    {"instruction": "Which?", "input": text, "output": label}
    for text, label in (("]", "0"), ("a\nb\u2028\x0c", "1"), ("[", "1"), ('",\n', "0"), ("{}", "0"), ("é ,", "1"))
]


def written(folder: Path, count: int) -> RecordFile:
    write_records(folder / "train.json", RECORDS[:count])
    return RecordFile(folder / "train.json", "pre_data/train.json", contract.TRAIN_KEYS, ("0", "1"))


@pytest.mark.parametrize("count", range(len(RECORDS) + 1))
def test_records_are_read_as_they_were_written_every_time(tmp_path: Path, count: int) -> None:
    file = written(tmp_path, count)
    assert list(file) == list(file) == RECORDS[:count]
    assert contract.parse_json(file.path.read_bytes()) == RECORDS[:count]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"1"', '"2"', "record 2: 'output' is '2', expected one of 0, 1"),
        ('"input": "[", ', "", "record 3: key 'input' is missing"),
        ("{}", '"', "record 5: line 1 cannot be read as JSON"),
        ("é ,", "\ud800", "record 6: expected UTF-8 text"),
    ],
)
def test_a_changed_record_is_named(tmp_path: Path, old: str, new: str, problem: str) -> None:
    file = written(tmp_path, len(RECORDS))
    file.path.write_bytes(file.path.read_text(encoding="utf-8").replace(old, new).encode(errors="surrogatepass"))
    with pytest.raises(DataError, match=rf"pre_data/train\.json: {problem}(?s:.*)next: run the prepare stage again"):
        list(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, 1)
    file.path.unlink()
    with pytest.raises(DataError, match=r"pre_data/train\.json: No such file"):
        list(file)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    before = written(tmp_path, 2).path.read_bytes()
    with pytest.raises(UnicodeEncodeError):
        write_records(tmp_path / "train.json", [*RECORDS, {"instruction": "i", "input": "\ud800", "output": "1"}])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"train.json": before}
