"""The journal: what a search has done so far, one JSON line for each event, on disk before the next one begins."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from grading.contract.language import english


class Journal:
    """The events of one search, in order. A search that was killed reads them and continues after the last one."""

    def __init__(self, path: Path) -> None:
        """`path`: the file, which need not be there. What a power failure has left of the last lines is dropped."""
        self.path = path
        self.events: list[dict[str, Any]] = []
        try:
            data = path.read_bytes()
        except OSError:
            return
        whole = 0
        for line in data.splitlines(keepends=True):
            event = _event(line)
            if event is None:
                break
            self.events.append(event)
            whole += len(line)
        if whole < len(data):
            with path.open("r+b") as file:
                file.truncate(whole)

    @property
    def seconds(self) -> float:
        """Time that all events together took."""
        return float(sum(event.get("seconds", 0.0) for event in self.events))

    def find(self, name: str) -> Optional[dict[str, Any]]:
        """The first event of this name; None where there is none."""
        return next((event for event in self.events if event["event"] == name), None)

    def latest(self, name: str) -> Optional[dict[str, Any]]:
        """The last event of this name; None where there is none."""
        return next((event for event in reversed(self.events) if event["event"] == name), None)

    def trial(self, number: int) -> Optional[dict[str, Any]]:
        """What became of the trial with this number; None where it has not ended."""
        return next((event for event in self.events if event.get("number") == number), None)

    def add(self, event: Mapping[str, Any]) -> None:
        """Write an event; it is on disk when the call returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write((json.dumps(english(dict(event)), ensure_ascii=False, allow_nan=False) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
        self.events.append(dict(event))


def _event(line: bytes) -> Optional[dict[str, Any]]:
    """The event in a line; None where the line is damaged, or was not written to its end."""
    try:
        event = json.loads(line.decode())
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event and line.endswith(b"\n") else None
