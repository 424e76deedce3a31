"""The history of a training: the rows of metrics.jsonl, which stays beside the adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runner.errors import DataError
from runner.language import tr
from runner.workspace.paths import METRICS_LOG


def read_history(adapter: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl in an adapter's folder. Raises DataError where it is missing or damaged."""
    path = adapter / METRICS_LOG
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(
            tr("{path}: cannot be read ({error})", path=path, error=error),
            tr("train again: --stages finetune,evaluate"),
        ) from None
