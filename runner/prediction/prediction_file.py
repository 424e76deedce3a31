"""The predictions: the answer to a row, its line of JSON, and the rows that are through so far, on disk as soon as they are."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from runner.system.files import write_atomic


@dataclass(frozen=True)
class Prediction:
    """The answer to one row."""

    label: str
    """A label, or `UNPARSABLE`."""
    probabilities: dict[str, float]
    """Each label's probability, given that the answer is a label."""
    text: Optional[str]
    """What the model wrote, where it was let write."""


def prediction_line(row: int, prediction: Prediction) -> bytes:
    """A prediction as a line of JSON; `row` counts from 1. Raises ValueError for a probability that is no number."""
    tree: dict[str, Any] = {"row": row, "label": prediction.label, "probabilities": prediction.probabilities}
    if prediction.text is not None:
        tree["text"] = prediction.text
    return (json.dumps(tree, ensure_ascii=False, allow_nan=False) + "\n").encode()


def begun(path: Path, identity: str) -> bool:
    """Whether the rows in `path` are of the prediction of that identity, whatever it computed with."""
    try:
        with path.open("rb") as file:
            head = json.loads(file.readline().partition(b" ")[2])
    except (OSError, ValueError):
        return False
    return isinstance(head, dict) and str(head.get("of")).startswith(identity)


class PartialPredictions:
    """The rows that a prediction has got through, a line each as soon as it is there, below a line that says whose.

    Each line begins with a check sum: a line that is torn, changed, lost or doubled ends what is believed."""

    def __init__(self, path: Path, identity: str) -> None:
        """`identity`: of all that the answers depend on."""
        self.path, self.identity = path, identity

    def read(self, size: int) -> list[Prediction]:
        """The first rows, as many as make whole batches of `size`; none where the file is another prediction's."""
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except OSError:
            return []
        good: list[Prediction] = []
        for row, line in enumerate(lines):
            text = line.partition(b" ")[2]
            if line != self._checked(row, text):
                break
            if row:
                tree = json.loads(text)
                good.append(Prediction(tree["label"], tree["probabilities"], tree.get("text")))
        return good[: len(good) // size * size]

    @contextmanager
    def going_on(self, predictions: Sequence[Prediction]) -> Iterator[Callable[[int, bytes], None]]:
        """Starts the file anew with these rows, and gives what adds the line of a row to it."""
        head = (json.dumps({"of": self.identity}) + "\n").encode()
        lines = [head, *map(prediction_line, range(1, len(predictions) + 1), predictions)]
        write_atomic(self.path, b"".join(map(self._checked, range(len(lines)), lines)))
        with self.path.open("ab") as file:

            def keep(row: int, line: bytes) -> None:
                file.write(self._checked(row, line))
                file.flush()

            yield keep

    def remove(self) -> None:
        """The predictions are finished."""
        self.path.unlink()

    def _checked(self, row: int, line: bytes) -> bytes:
        return b"%08x %b" % (zlib.crc32(b"%b %d %b" % (self.identity.encode(), row, line)), line)
