"""A class: every submission in one folder is graded, several at once, each in a child process of its own.

    python -m grading.score --submissions DIR --answers DIR --out OUT [--jobs N] [--resume]

A submission is a folder or an archive directly in DIR. Each of them gets a card, so that nobody is missing; so does what
cannot be opened (a `.7z`, a link, a named pipe), with 0 points. Other files (`notes.txt`) are named and left out. OUT then has:

    class.csv, index.html    the class, for the examiner: points, metrics, and which submissions are similar
    reports/STEM.json, .txt  the report of one submission, which the candidate may see; no detail of an examiner's mistake
    cards/STEM.json          the examiner's record of it, with the wrong rows: not for candidates
    errors/STEM.txt          the error stream of the grader, if the grader itself failed
    class.json               what the class was graded with

STEM is the submission's name if that is a file name on every system, see `stems`. A card that exists is complete, so a run may
be ended at any time and resumed with `--resume`: then submissions without a card, those that could not be graded and those that
have changed are graded. Changes are found by names, kinds, sizes and times, not by contents.
"""

import json
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from grading.classroom import card as cards_on_disk
from grading.classroom import leaderboard, similarity
from grading.classroom.card import Card, refused
from grading.classroom.hand_ins import HandIn, fingerprint, hand_ins, names_of, refusal_of
from grading.classroom.leaderboard_html import as_html
from grading.classroom.output_folder import WORK, Damaged, about_class, kept_card, locked, require_apart, require_same
from grading.classroom.sandbox import Child, Limits, start
from grading.contract.display import printed, quoted
from grading.contract.language import english, mark, reason_of, tr, trn
from grading.files import make_folder, remove_folder, remove_partials, write_text
from grading.grader import Exam
from grading.report.json_report import failure
from grading.report.text import failure_text

_TICK = 0.005
"""Seconds between two polls of the children: under 1 % of a core, and short compared with a child's 0.1 s."""


@dataclass(frozen=True)
class ClassFolders:
    """Where a class is and where its reports go."""

    submissions: Path
    """The folder with one folder or archive for each submission."""
    out: Path
    """The folder for the reports; not inside `submissions`, nor around it."""


def grade_class(
    exam: Exam,
    folders: ClassFolders,
    *,
    jobs: int,
    resume: bool,
    say: Callable[[str], None],
    limits: Limits = Limits(),  # noqa: B008  it is frozen
) -> list[Card]:
    """Grades every submission of a class and returns the cards in the order of their names.

    `jobs`: children at once, at least 1. `resume`: keep the cards that `out` holds. `say` gets a plain line for each
    submission that is done. Raises CouldNotGrade for a mistake of the examiner's, and KeyboardInterrupt after Ctrl-C or
    SIGTERM: then the finished cards are kept, and the table and the page are made of them."""
    submissions, out = folders.submissions, folders.out
    require_apart(submissions, out)
    about = about_class(exam, limits)
    found, others = hand_ins(submissions)
    if others:
        say(
            trn(
                "left out, for it is neither a folder nor an archive: {names}",
                "{count:,} entries are left out, for they are neither folders nor archives: {names}",
                len(others),
                names=names_of(others),
            )
        )
    with locked(out, resume):
        require_same(out, about)
        # a child of a killed run may still write into it
        remove_folder(out / WORK)
        for folder in ("cards", "reports", "errors", WORK):
            make_folder(out / folder)
            remove_partials(out / folder)
        remove_partials(out)
        run = _Run(exam, out, limits, found, say)
        try:
            with _stoppable() as stopped:
                try:
                    run.grade(jobs, stopped)
                finally:
                    run.end_children()
        finally:
            remove_folder(out / WORK)
        cards = [run.done[each.name] for each in found if each.name in run.done]
        write_text(out / "class.csv", leaderboard.BYTE_ORDER_MARK + leaderboard.as_csv(cards))
        named = {each.name: each.stem for each in found}
        write_text(out / "index.html", as_html(cards, similarity.find(cards), reports=named))
        if stopped.is_set():
            say(
                tr(
                    "interrupted: {cards_count} of {found_count} submissions are graded and kept in {out}",
                    cards_count=len(cards),
                    found_count=len(found),
                    out=out,
                )
            )
            say(tr("next: run the same command with --resume"))
            raise KeyboardInterrupt
    say(tr("{cards_count} submissions: {out}", cards_count=len(cards), out=out / "index.html"))
    return cards


class _Run:
    """One run over a class."""

    def __init__(
        self, exam: Exam, out: Path, limits: Limits, hand_ins: Sequence[HandIn], say: Callable[[str], None]
    ) -> None:
        self.done: dict[str, Card] = {}
        """The cards by name."""
        self._exam = exam
        self._out = out
        self._limits = limits
        self._hand_ins = hand_ins
        self._say = say
        self._running: dict[Child, tuple[HandIn, Optional[str]]] = {}

    def grade(self, jobs: int, stopped: threading.Event) -> None:
        """Grades the submissions without a card, `jobs` at once, until all are done or `stopped` is set."""
        waiting = list(self._to_grade())[::-1]
        while (waiting or self._running) and not stopped.is_set():
            while waiting and len(self._running) < jobs:
                self._start(waiting.pop())
            if not self._collect():
                time.sleep(_TICK)

    def end_children(self) -> None:
        """Ends all children that still run."""
        for child in self._running:
            child.end()
        self._running.clear()

    def _to_grade(self) -> Iterator[HandIn]:
        for hand_in in self._hand_ins:
            try:
                kept = kept_card(self._out, hand_in)
            except Damaged:
                kept = None
                self._say(tr("{name}: its card is damaged, so it is graded again", name=quoted(hand_in.name)))
            if kept is None:
                yield hand_in
            else:
                self.done[hand_in.name] = kept
        if self.done:
            self._say(
                tr(
                    "{done_count} of {hand_ins_count} submissions were graded before and have not changed",
                    done_count=len(self.done),
                    hand_ins_count=len(self._hand_ins),
                )
            )

    def _start(self, hand_in: HandIn) -> None:
        refusal = refusal_of(hand_in.path)
        if refusal is not None:
            self._finish(hand_in, refused(hand_in.name, *refusal), None)
            return
        work = self._out / WORK / hand_in.stem
        make_folder(work)
        mark = fingerprint(hand_in.path)
        try:
            child = start(hand_in.path, hand_in.name, self._exam, self._limits, work)
        except OSError as error:
            step = tr("the examiner lowers --jobs or ends other programs, and grades again with --resume")
            reason = tr("no process could be started: {reason}", reason=reason_of(error))
            self._finish(hand_in, refused(hand_in.name, "examiner", reason, step), mark)
            return
        self._running[child] = (hand_in, mark)

    def _collect(self) -> bool:
        """Takes the cards of children that have ended. Returns whether there was any."""
        ended = [(child, made) for child in self._running for made in [child.card()] if made is not None]
        for child, made in ended:
            hand_in, mark = self._running.pop(child)
            errors = child.errors()
            if errors:
                write_text(self._out / "errors" / f"{hand_in.stem}.txt", printed(errors))
            else:
                (self._out / "errors" / f"{hand_in.stem}.txt").unlink(missing_ok=True)
            self._finish(hand_in, made, mark)
            remove_folder(child.work)
        return bool(ended)

    def _finish(self, hand_in: HandIn, made: Card, mark: Optional[str]) -> None:
        reports = self._out / "reports"
        report, text = _for_candidates(made)
        write_text(reports / f"{hand_in.stem}.json", json.dumps(english(report), indent=2, allow_nan=False) + "\n")
        write_text(reports / f"{hand_in.stem}.txt", text)
        kept = {**cards_on_disk.to_json(made), "fingerprint": mark}
        write_text(self._out / "cards" / f"{hand_in.stem}.json", json.dumps(kept, allow_nan=False) + "\n")
        self.done[hand_in.name] = made
        width = len(str(len(self._hand_ins)))
        self._say(f"[{len(self.done):>{width}}/{len(self._hand_ins)}] '{hand_in.shown}': {_verdict(made)}")


def _for_candidates(made: Card) -> tuple[Mapping[str, Any], str]:
    """The report and its text, without the details of a mistake of the examiner's: those have the examiner's paths."""
    problem = made.report["problem"]
    if problem is None or problem["fault"] != "examiner":
        return made.report, made.text
    report = failure(
        "examiner",
        tr("it could not be graded, for a reason that is not in the submission"),
        tr("the examiner fixes that and grades again; nothing needs to be submitted again"),
    )
    return report, failure_text(report)


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, instead of an exception, which could come between a child's start and its record."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in found.items() if handler not in (None, signal.SIG_IGN)}

    def stop(number: int, _: object) -> None:
        stopped.set()

    for number in before:
        signal.signal(number, stop)
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_FAULTS = {"submission": mark("submission"), "examiner": mark("examiner"), "grader": mark("grader")}
"""Whose fault it is that there is no grade, in one word."""


def _verdict(made: Card) -> str:
    problem = made.report["problem"]
    if problem:
        return tr("not graded ({fault}): {reason}", fault=_FAULTS[problem["fault"]], reason=problem["reason"])
    return tr("{points:g} points", points=math.floor(made.points * 100 + 1e-06) / 100)
