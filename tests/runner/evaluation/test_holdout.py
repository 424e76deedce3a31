"""The file of the hold-out's predictions: written and read, and damaged."""

from pathlib import Path

import pytest

from runner.errors import DataError
from runner.evaluation.holdout import (
    HoldoutPrediction,
    read_holdout_predictions,
    row_key,
    write_holdout_predictions,
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rows = [
        HoldoutPrediction(1, row_key("ä"), "1", "?", (0.25, -1.5)),
        HoldoutPrediction(2, row_key("b"), "0", "0", (2.0, 1.0), "b\u2028c", 3, 9, (0.75, 0.25)),
    ]
    write_holdout_predictions(tmp_path / "rows.jsonl", rows)
    assert read_holdout_predictions(tmp_path / "rows.jsonl") == rows
    assert (tmp_path / "rows.jsonl").read_text(encoding="utf-8").split("\n")[1] == (
        '{"row": 2, "key": "3e23e8160039594a", "target": "0", "label": "0", "logits": [2.0, 1.0], '
        '"text": "b\u2028c", "characters": 3, "tokens": 9, "probabilities": [0.75, 0.25]}'
    )


@pytest.mark.parametrize("text", [None, "{", '{"row": 1}\n', "[]\n"])
def test_a_damaged_file_says_what_to_run(tmp_path: Path, text: object) -> None:
    path = tmp_path / "rows.jsonl"
    if text is not None:
        path.write_text(str(text))
    with pytest.raises(DataError, match=r"rows\.jsonl: cannot be read .*\n  next: run the evaluate stage again"):
        read_holdout_predictions(path)
