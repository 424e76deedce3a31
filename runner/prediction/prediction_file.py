"""The prediction file: the answer to a row, its line of JSON, and the rows predicted so far, on disk at once."""

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
    text: Optional[str] = None
    """The text that the model generated, with `decoding.kind: generate`."""


def prediction_line(row: int, prediction: Prediction) -> bytes:
    """A prediction as a line of JSON; `row` counts from 1. Raises ValueError for a probability that is not finite."""
    tree: dict[str, Any] = {"row": row, "label": prediction.label, "probabilities": prediction.probabilities}
    if prediction.text is not None:
        tree["text"] = prediction.text
    return (json.dumps(tree, ensure_ascii=False, allow_nan=False) + "\n").encode()


def begun(path: Path, identity: str) -> bool:
    """Whether `path` holds rows of the prediction with this identity, on whatever device and in whatever precision."""
    try:
        with path.open("rb") as file:
            head = json.loads(file.readline().partition(b" ")[2])
    except (OSError, ValueError):
        return False
    return isinstance(head, dict) and str(head.get("of")).startswith(identity)


class PartialPredictions:
    """The rows predicted so far: one line each, below a line with the identity of the prediction.

    Each line begins with a checksum. Reading stops at a line that is torn, changed, lost or repeated."""

    def __init__(self, path: Path, identity: str) -> None:
        """`identity`: digest of everything that the answers depend on."""
        self.path, self.identity = path, identity

    def read(self, size: int) -> list[Prediction]:
        """Read the first rows, as many as make whole batches of `size`; none where the file belongs to another prediction."""
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
    def resume(self, predictions: Sequence[Prediction]) -> Iterator[Callable[[int, bytes], None]]:
        """Write the file again with these rows; yield a function that adds the line of one more row."""
        head = (json.dumps({"of": self.identity}) + "\n").encode()
        lines = [head, *map(prediction_line, range(1, len(predictions) + 1), predictions)]
        write_atomic(self.path, b"".join(map(self._checked, range(len(lines)), lines)))
        with self.path.open("ab") as file:

            def keep(row: int, line: bytes) -> None:
                file.write(self._checked(row, line))
                file.flush()

            yield keep

    def remove(self) -> None:
        """Remove the file: the predictions are finished."""
        self.path.unlink()

    def _checked(self, row: int, line: bytes) -> bytes:
        return b"%08x %b" % (zlib.crc32(b"%b %d %b" % (self.identity.encode(), row, line)), line)
