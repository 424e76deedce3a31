"""The savings: the time that separate launches of the same trials would have taken more, from what the search has measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runner.language import mark, tr, trn

BASE = mark("torch and the base loaded")

WORTH_SAYING = 0.05
"""Seconds below which nothing is said: they would be shown as 0.0."""


def savings(events: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds by the kind of work, from the events of a journal.

    Each process of a search loads the base for its first trial; the later ones save that, unless they had to load another. What
    the measurement has computed for the trials is subtracted: separate launches need no measurement."""
    found = {BASE: 0.0}
    load, is_first = 0.0, True
    for event in events:
        if event["event"] == "load":
            load, is_first = event["seconds"], True
        elif event["event"] == "pace":
            found.update({kind: -seconds for kind, seconds in event["shared"].items()})
        elif event["event"] == "trial":
            found[BASE] += 0.0 if is_first or event["loads"] else load
            for kind, seconds in event["saved"].items():
                found[kind] = found.get(kind, 0.0) + seconds
        is_first = is_first and "number" not in event
    return {kind: max(seconds, 0.0) for kind, seconds in found.items()}


def sentence(events: Sequence[Mapping[str, Any]]) -> str:
    """The savings in words; empty where there are none."""
    found = savings(events)
    if sum(found.values()) < WORTH_SAYING:
        return ""
    trials = sum(event["event"] == "trial" for event in events)
    shown = sorted(found.items(), key=lambda each: -each[1])
    parts = tr(", ").join(
        tr("{kind} once ({seconds:.1f} s)", kind=tr(kind), seconds=seconds)
        for kind, seconds in shown
        if seconds >= WORTH_SAYING
    )
    return trn(
        "separate launches of this trial would have taken {found:.1f} s more{more}",
        "separate launches of these {count} trials would have taken {found:.1f} s more{more}",
        trials,
        found=sum(found.values()),
        more=f": {parts}" if parts else "",
    )
