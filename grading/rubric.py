"""The rubric: how the 100 points are given. One table, printed by `python -m grading.score --rubric`.

Rules that hold for every row:

* With N datasets every row carries 1/N of its points for each of them; a dataset that is missing scores zero.
* A fault is charged once, to the row that names it. Rows that cannot be checked because of it (the records of a missing
  file) earn nothing either, and name the row to fix first. Rows that can still be checked are checked.
* Rows marked "by share" give their points in proportion, so one bad record among 4,000 costs 1/4,000 of the row.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Optional

from grading.contract.language import mark, padded, tr, translated

PRE_DATA = "pre_data"
SAVED_MODEL = "saved_model"
RESULT = "result"


@dataclass(frozen=True)
class Check:
    """One row of the rubric."""

    part: str
    """The part of the submission it belongs to: `pre_data`, `saved_model` or `result`."""
    name: str
    """What reports call it; unique over all parts."""
    points: int
    """Its points when one dataset is graded, out of 100."""
    earned_by: str
    """What earns the points, in a sentence."""


RUBRIC: tuple[Check, ...] = (
    Check(PRE_DATA, mark("train file"), 3, mark("pre_data/{dataset}/{dataset}_train.json is a strict JSON array")),
    Check(
        PRE_DATA, mark("train records"), 3, mark("by share: records with the contract's keys and labels; at least one")
    ),
    Check(PRE_DATA, mark("dev file"), 2, mark("pre_data/{dataset}/{dataset}_dev.json is a strict JSON array")),
    Check(
        PRE_DATA,
        mark("dev records"),
        2,
        mark("by share: records with the contract's keys; as many as the answer key has lines"),
    ),
    Check(SAVED_MODEL, mark("config file"), 2, mark("saved_model/{dataset}/adapter_config.json exists")),
    Check(SAVED_MODEL, mark("weights file"), 4, mark("saved_model/{dataset}/adapter_model.safetensors exists")),
    Check(
        SAVED_MODEL,
        mark("weights size"),
        4,
        mark("not empty, as long as its header says, at most 1 GiB: no whole model"),
    ),
    Check(SAVED_MODEL, mark("config format"), 4, mark("strict JSON of a LoRA: peft_type LORA, r > 0, target_modules")),
    Check(
        SAVED_MODEL,
        mark("weights format"),
        4,
        mark("safetensors of complete lora_A, lora_B pairs of the config's rank"),
    ),
    Check(SAVED_MODEL, mark("weights trained"), 2, mark("every value is finite, some lora_B is not zero")),
    Check(RESULT, mark("accuracy"), 70, mark("by share: lines of result_{dataset}.txt that equal the answer key's")),
)

MAX_POINTS = 100


@dataclass(frozen=True)
class Verdict:
    """What one check found in one submission."""

    check: str
    """The `Check.name` it answers."""
    share: Fraction
    """How much of the check's points is earned, 0 to 1."""
    reason: str
    """Why, in a sentence that names the file."""
    next_step: Optional[str] = None
    """What to do about a share below 1; None for a share of 1."""


def parts() -> tuple[str, ...]:
    """The parts of a submission, in the order of the table."""
    return tuple(dict.fromkeys(check.part for check in RUBRIC))


def checks_of(part: str) -> tuple[Check, ...]:
    """The rows of one part."""
    return tuple(check for check in RUBRIC if check.part == part)


def earned(check: str, reason: str) -> Verdict:
    """All points of a check."""
    return Verdict(check, Fraction(1), translated(reason))


def lost(check: str, reason: str, next_step: str) -> Verdict:
    """No points of a check."""
    return Verdict(check, Fraction(0), translated(reason), translated(next_step))


def shared(check: str, good: int, total: int, reason: str, next_step: str) -> Verdict:
    """`good` of `total` of a check's points; nothing when there is nothing to count."""
    share = Fraction(good, total) if total else Fraction(0)
    return Verdict(check, share, translated(reason), None if share == 1 else translated(next_step))


def blocked(check: str, by: str) -> Verdict:
    """No points for a check that cannot be made because the check `by` failed."""
    return lost(check, tr("could not be checked"), tr("fix '{check}' first", check=_named(by)))


def _named(name: str) -> str:
    """The check of this name as the rubric marks it, so that a message can translate it."""
    return next((check.name for check in RUBRIC if check.name == name), name)


def as_text(rows: Iterable[Check] = RUBRIC) -> str:
    """The table for people, with a sum for each part and for all."""
    lines: list[str] = [_row(tr("part"), tr("check"), tr("points"), tr("earned by"))]
    rows = tuple(rows)
    for part in dict.fromkeys(check.part for check in rows):
        mine = [check for check in rows if check.part == part]
        lines += [_row(check.part, tr(check.name), str(check.points), tr(check.earned_by)) for check in mine]
        lines.append(_row("", f"= {part}", str(sum(check.points for check in mine))))
    lines.append(_row("", tr("= all"), str(sum(check.points for check in rows))))
    lines.append("")
    lines.append(tr("With N datasets each carries 1/N of every row; a missing one scores zero."))
    lines.append(tr("A fault is charged once: rows that cannot be checked because of it name the row to fix first."))
    return "\n".join(lines) + "\n"


def _row(part: str, check: str, points: str, earned_by: str = "") -> str:
    return f"{padded(part, 12)}{padded(check, 16)}{padded(points, 6, right=True)}  {earned_by}".rstrip()
