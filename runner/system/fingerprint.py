"""The fingerprint: everything that a result depends on, as plain values by name; equal fingerprints mean equal results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

LONGEST_VALUE = 80
"""Characters of a value that `diff` shows."""


class Fingerprint(dict[str, Any]):
    """Plain JSON values by name. Two of them can be compared, and the difference shown."""

    @property
    def digest(self) -> str:
        """SHA-256 of all names and values, in hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """The same text for equal fingerprints."""
        return json.dumps(self, indent=1, sort_keys=True)

    def diff(self, before: Mapping[str, Any], names: tuple[str, str] = ("before", "now")) -> str:
        """Show each value that differs from `before`, one a line, as `  name: before 1, now 2`. `names`: other words for the
        two sides. Empty where nothing differs."""
        now, before = json.loads(self.to_json()), json.loads(json.dumps(dict(before)))
        changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        return "\n".join(
            f"  {name}: {names[0]} {_short(before.get(name))}, {names[1]} {_short(now.get(name))}" for name in changed
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."
