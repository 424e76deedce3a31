"""The result file: one label a line."""

from collections.abc import Iterable
from typing import Optional

from grading.contract.strict_json import decoded

INDEXED = "index\tprediction"
"""Header of a result file with numbered rows, the format of GLUE's test server."""

PREDICTED_ROWS = 150
"""Rows of the dev file that the exam wants predicted, counted from the first."""


def format_result(labels: Iterable[str]) -> bytes:
    """The result file: one label a line, each followed by a newline."""
    return "".join(f"{label}\n" for label in labels).encode("utf-8")


def parse_result(data: bytes, most: Optional[int] = None) -> list[str]:
    """The lines of a result file or an answer key, without their line ends; with `most` only the first ones.

    Accepted: a UTF-8 byte order mark, CRLF line ends, a missing or a single trailing newline, and GLUE's table: the header
    `INDEXED`, then on each line the row's number from 0, a tab and the label. Nothing else is changed: a blank or padded line
    stays as it is, so that line *i* is line *i*. Raises ContractError if the bytes are not UTF-8."""
    text = decoded(data, "utf-8-sig")
    # splitlines() also splits at U+2028; the header is a line more, and what is after the last one is one, too
    lines = text.split("\n", -1 if most is None else most + 1)
    is_cut = most is not None and len(lines) == most + 2
    if is_cut or lines[-1] == "":
        lines.pop()
    lines = [line[:-1] if line.endswith("\r") else line for line in lines]
    if lines[:1] == [INDEXED]:
        return [_after_index(row, line) for row, line in enumerate(lines[1:])]
    return lines if most is None else lines[:most]


def count_lines(data: bytes) -> int:
    """How many lines `parse_result` finds in all of the data."""
    start = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    lines = data.count(b"\n") + (len(data) > start and not data.endswith(b"\n"))
    first = data[start : start + len(INDEXED) + 2].partition(b"\n")[0]
    return lines - (first in (INDEXED.encode(), f"{INDEXED}\r".encode()))


def _after_index(row: int, line: str) -> str:
    index = f"{row}\t"
    # with another row's number the line stays as it is, which is not a label
    return line[len(index) :] if line.startswith(index) else line


UNPARSABLE = "?"
"""Written to the result file where the model's answer is not a label: it keeps the line's place and scores nothing."""
