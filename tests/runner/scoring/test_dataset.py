"""Records in a file are tokenised once, found again by the file's content, and never half written."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import tiny_tokenizer

from grading import contract
from runner.data.records import Record, RecordFile, write_records
from runner.errors import DataError
from runner.recipe.schema import PromptShape
from runner.scoring import token_store
from runner.scoring.dataset import EncodedDataset, encode_file, encode_records
from runner.scoring.prompt import Prompt, build_prompt

TOKENIZER = tiny_tokenizer()
PROMPT: Prompt = build_prompt(PromptShape(), "Which?", ("0", "1"), TOKENIZER)
TEXTS = ["a", "<bos>", "", "b c"]


def records(texts: Iterable[str]) -> list[Record]:
    return [{"instruction": "Which?", "input": text, "output": str(n % 2)} for n, text in enumerate(texts)]


def record_file(folder: Path, texts: Iterable[str]) -> RecordFile:
    write_records(folder / "train.json", records(texts))
    return RecordFile(folder / "train.json", "pre_data/train.json", contract.TRAIN_KEYS, ("0", "1"))


def same(one: EncodedDataset, other: EncodedDataset) -> bool:
    return list(one.suffixes) == list(other.suffixes) and one.targets == other.targets


def encode(folder: Path, texts: Iterable[str]) -> EncodedDataset:
    return encode_file(PROMPT, record_file(folder, texts), "training", folder / "store")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The number of texts of each call of the tokenizer, at most three."""
    found: list[int] = []
    real = token_store.encode_texts

    def counted(tokenizer: Any, texts: list[str]) -> Any:
        found.append(len(texts))
        return real(tokenizer, texts)

    monkeypatch.setattr(token_store, "ENCODED_AT_ONCE", 3)
    monkeypatch.setattr(token_store, "encode_texts", counted)
    return found


def test_a_file_gives_the_dataset_of_its_records(tmp_path: Path) -> None:
    found, expected = encode(tmp_path, TEXTS), encode_records(PROMPT, records(TEXTS), "training")
    assert same(found, expected)
    assert len(found) == len(TEXTS)
    assert found.lengths() == expected.lengths() == [*map(len, expected.suffixes)]
    assert (found.suffixes[-1], found.suffixes[1:3]) == (expected.suffixes[-1], expected.suffixes[1:3])
    with pytest.raises(IndexError, match="row 4 of 4"):
        found.suffixes[4]


def test_records_are_tokenised_once(tmp_path: Path, calls: list[int]) -> None:
    first = encode(tmp_path, TEXTS)
    assert calls == [3, 1]
    assert same(encode(tmp_path, TEXTS), first)
    assert calls == [3, 1]
    encode(tmp_path, [*TEXTS, "new"])
    assert calls == [3, 1, 3, 2]


def test_records_without_answers_have_no_targets(tmp_path: Path) -> None:
    write_records(tmp_path / "dev.json", [{"instruction": "Which?", "input": text} for text in TEXTS])
    file = RecordFile(tmp_path / "dev.json", "pre_data/dev.json", contract.DEV_KEYS, ("0", "1"))
    for _ in range(2):
        assert encode_file(PROMPT, file, "dev", tmp_path / "store").targets == []


def test_an_empty_file_gives_an_empty_dataset(tmp_path: Path) -> None:
    for _ in range(2):
        assert len(encode(tmp_path, [])) == 0


@pytest.mark.parametrize("place", [None, *range(0, 1000, 40)])
def test_damaged_tokens_are_made_again(tmp_path: Path, place: Any, caplog: pytest.LogCaptureFixture) -> None:
    expected = list(encode(tmp_path, TEXTS).suffixes)
    (path,) = (tmp_path / "store").iterdir()
    data = path.read_bytes()
    damaged = bytearray(data if place is not None else data[: len(data) // 2])
    if place is not None:
        damaged[place % len(data)] ^= 1
    path.write_bytes(damaged)
    assert list(encode(tmp_path, TEXTS).suffixes) == expected
    assert caplog.messages == [f"{path} is damaged; it is made again"]
    assert path.read_bytes() == data


def test_records_that_change_while_they_are_read_are_not_stored(tmp_path: Path) -> None:
    class Changing(RecordFile):
        def __iter__(self) -> Iterator[Record]:
            yield from super().__iter__()
            record_file(tmp_path, ["other"])

    file = record_file(tmp_path, TEXTS)
    changing = Changing(file.path, file.shown, file.keys, file.labels)
    with pytest.raises(DataError, match=r"pre_data/train\.json: the records changed while they were read"):
        encode_file(PROMPT, changing, "training", tmp_path / "store")
    assert not list((tmp_path / "store").iterdir())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    file = record_file(tmp_path, TEXTS)
    file.path.unlink()
    with pytest.raises(DataError, match=r"pre_data/train\.json: No such file"):
        encode_file(PROMPT, file, "training", tmp_path / "store")
