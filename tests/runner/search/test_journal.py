"""The journal of a search, as a kill or a power failure leaves it."""

from pathlib import Path

import pytest

from runner.search.journal import Journal

EVENTS = [{"event": "pace", "seconds": 2.0}, {"event": "trial", "number": 1, "seconds": 3.0}]


@pytest.mark.parametrize(
    "rest", [b'{"event": "tr', b'{"event": "end"}', bytes(300), bytes(9) + b"\n", b"[]\n", b"\xff\n"]
)
def test_damaged_last_lines_are_dropped_and_the_next_event_follows_the_whole_ones(tmp_path: Path, rest: bytes) -> None:
    path = tmp_path / "search/journal.jsonl"
    journal = Journal(path)
    for event in EVENTS:
        journal.add(event)
    with path.open("ab") as file:
        file.write(rest)
    journal = Journal(path)
    assert journal.events == EVENTS
    assert journal.seconds == 5.0
    journal.add({"event": "end"})
    assert Journal(path).events == [*EVENTS, {"event": "end"}]
