"""Groups: submissions that findings connect, so that a copy is one entry however many of its files are equal.

Two submissions are in one group if a chain of findings leads from one to the other. The findings of a group about the same
submissions are taken together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from grading.classroom.similarity import Finding


@dataclass(frozen=True)
class Likeness:
    """All findings about the same submissions."""

    names: tuple[str, ...]
    """The submissions, sorted."""
    findings: tuple[Finding, ...]
    """In the order of `similarity.find`: identical adapters, identical predictions, shared errors."""


@dataclass(frozen=True)
class Group:
    """Submissions that are connected."""

    number: int
    """Its place among the groups, from 1: the group with the most remarkable finding comes first."""
    names: tuple[str, ...]
    """All of its submissions, sorted."""
    likenesses: tuple[Likeness, ...]
    """At least one, the most remarkable first."""


def groups(findings: Sequence[Finding]) -> tuple[Group, ...]:
    """The groups of a class, from the findings of `similarity.find`. Findings about the whole class are left out."""
    group_of: dict[str, set[str]] = {}
    likenesses: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        if not finding.names:
            continue
        likenesses.setdefault(finding.names, []).append(finding)
        joined = set(finding.names).union(*(group_of[name] for name in finding.names if name in group_of))
        group_of.update(dict.fromkeys(joined, joined))
    members: dict[int, list[Likeness]] = {}
    for names, about in likenesses.items():
        members.setdefault(id(group_of[names[0]]), []).append(Likeness(names, tuple(about)))
    return tuple(
        Group(number, tuple(sorted(group_of[found[0].names[0]])), tuple(found))
        for number, found in enumerate(members.values(), start=1)
    )
