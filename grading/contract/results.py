"""The result file: one label a line."""

from collections.abc import Iterable

from grading.contract.strict_json import ContractError

INDEXED = "index\tprediction"
"""Header of a result file that numbers its rows, as GLUE's test server takes them."""


PREDICTED_ROWS = 150
"""Rows of the dev file that the exam wants predicted, counted from the first."""


def format_result(labels: Iterable[str]) -> bytes:
    """The result file: one label a line, a newline behind each."""
    return "".join(f"{label}\n" for label in labels).encode("ascii")


def parse_result(data: bytes) -> list[str]:
    """The lines of a result file or an answer key, stripped of their line end only.

    Tolerated: a UTF-8 byte order mark, CRLF line ends, a missing or a single trailing newline, and GLUE's table: the header
    `INDEXED`, then each label behind its row's number from 0 and a tab. Nothing else: a blank or padded line stays as it
    is, so that line *i* is line *i*. Raises ContractError where the bytes are not UTF-8."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ContractError(
            f"expected UTF-8 text, found byte 0x{data[error.start]:02x} at offset {error.start}"
        ) from None
    lines = text.split("\n")  # not splitlines(): U+2028 and form feeds are no line ends here
    if lines[-1] == "":
        lines.pop()
    lines = [line[:-1] if line.endswith("\r") else line for line in lines]
    if lines[:1] != [INDEXED]:
        return lines
    return [_behind_index(row, line) for row, line in enumerate(lines[1:])]


def _behind_index(row: int, line: str) -> str:
    index = f"{row}\t"
    return line[len(index) :] if line.startswith(index) else line  # another row's number: the line is no label


UNPARSABLE = "?"
"""What stands in the result file where the model's answer is no label: it holds the line's place and scores nothing."""
