"""The ranking: inputs that the training file has with several labels."""

from __future__ import annotations

from collections.abc import Sequence

from runner.data.prepare import LabelledRow


def several_labels(rows: Sequence[LabelledRow]) -> list[list[LabelledRow]]:
    """The groups of rows with the same input and different labels, in the file's order."""
    groups: dict[int, list[LabelledRow]] = {}
    for row in rows:
        groups.setdefault(row.key, []).append(row)
    return [group for group in groups.values() if len({row.label for row in group}) > 1]
