"""The lengths of inputs or prompts: their spread in words, and a small histogram."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

BINS = 6
"""Lines of a histogram."""

BAR = 40
"""Characters of its longest bar."""


def quantile(sizes: Sequence[int], share: float) -> int:
    """The size that this share of all sizes does not exceed. `sizes` is not empty."""
    ordered = sorted(sizes)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def histogram(sizes: Sequence[int]) -> list[str]:
    """One line for each range of sizes, with their number and a bar. The last range takes the longest twentieth, which would
    stretch the others."""
    low, most = min(sizes), quantile(sizes, 0.95)
    width = max(1, -(-(most - low + 1) // (BINS - 1)))
    bins = Counter(min((size - low) // width, BINS - 1) for size in sizes)
    lines = []
    for number in sorted(bins):
        begin = low + number * width
        end = max(sizes) if number == BINS - 1 else begin + width - 1
        bar = "#" * max(1, round(BAR * bins[number] / max(bins.values())))
        name = f"{begin} to {end}" if end > begin else f"{begin}"
        lines.append(f"{name:>14}  {bins[number]:>6,} {bar}")
    return lines


def spread(sizes: Sequence[int], unit: str) -> str:
    """The shortest, the longest, and what is usual."""
    return f"{min(sizes)} to {max(sizes)} {unit}, half of them up to {quantile(sizes, 0.5)}, 95 % up to {quantile(sizes, 0.95)}"
