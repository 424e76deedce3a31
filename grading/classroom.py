"""The classroom: every hand-in of one folder graded, several at once, each in a child process of its own.

    python -m grading.score --submissions DIR --answers DIR --out OUT [--jobs N] [--resume]

A hand-in is a folder or an archive directly in the submissions' folder. Every entry there gets a card but those that begin
with a dot, which are not looked at: what is neither folder nor archive (a `.7z`, a link, a named pipe) is refused with 0
points, so that nobody is missing. What is in OUT afterwards:

    class.csv, index.html    the class, for the examiner: points, measures, and who resembles whom
    reports/STEM.json, .txt  one hand-in's report, which a candidate may be shown: of a mistake of the examiner's it says
                             no more than that
    cards/STEM.json          what the examiner keeps of it, which rows are wrong included: not for candidates
    errors/STEM.txt          what the grader wrote when it was the grader that failed
    class.json               what the class was graded with

STEM is the hand-in's name where that is a plain file name, see `stems`. A card that exists is whole, so a run may be ended
at any time and go on with `--resume`. That grades what has no card yet, what could not be graded, and what has changed:
names, kinds, sizes and times are compared, not contents.
"""

import hashlib
import json
import math
import os
import re
import shutil
import signal
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from grading import card as cards_on_disk
from grading import leaderboard, similarity
from grading.archive import is_archive
from grading.card import Card
from grading.child import GONE, Child, Limits, refused, start
from grading.errors import CouldNotGrade
from grading.exam import Exam
from grading.report import failure, failure_text

SCHEMA = "labeltune.class/1"
"""Version of `class.json`."""

ENTRIES_LIMIT = 20_000
"""Most files of a folder that are compared to see whether it changed; one with more is always graded again."""

_TICK = 0.005  # seconds between two looks at the children: under 1 % of a core, and short beside a child's 0.1 s

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}")

_LOCK, _CLASS, _WORK = "class.lock", "class.json", "work"


@dataclass(frozen=True)
class HandIn:
    """One entry of the submissions' folder."""

    name: str
    """Its name there."""
    stem: str
    """What its files in OUT are called."""
    path: Path


def grade_class(
    exam: Exam,
    submissions: Path,
    out: Path,
    *,
    jobs: int,
    resume: bool,
    say: Callable[[str], None],
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
) -> list[Card]:
    """Grades every hand-in in `submissions` into the folder `out`; the cards in the order of the names.

    `jobs`: children at once, at least 1. `resume`: go on with what `out` holds. `say` is given a plain line for each
    hand-in that is done. Raises CouldNotGrade for a mistake of the examiner's, and KeyboardInterrupt after Ctrl-C or
    SIGTERM: then what is finished is kept, and the table and the page are made of it."""
    _require_apart(submissions, out)
    about = _about(exam, limits)
    hand_ins = list(_hand_ins(submissions))
    with _locked(out, resume):
        _require_same(out, about, resume)
        _remove(out / _WORK)  # a child of a run that was killed may still write into it
        for folder in ("cards", "reports", "errors", _WORK):
            _make_folder(out / folder)
        run = _Run(exam, out, limits, hand_ins, say)
        try:
            with _stoppable() as stopped:
                try:
                    run.grade(jobs, stopped)
                finally:
                    run.end_children()
        finally:
            _remove(out / _WORK)
        cards = [run.done[each.name] for each in hand_ins if each.name in run.done]
        _write(out / "class.csv", leaderboard.as_csv(cards))
        named = {each.name: each.stem for each in hand_ins}
        _write(out / "index.html", leaderboard.as_html(cards, similarity.find(cards), reports=named))
        if stopped.is_set():
            say(f"interrupted: {len(cards)} of {len(hand_ins)} hand-ins are graded and kept in {_shown(out)}")
            say("next: the same command with --resume")
            raise KeyboardInterrupt
    say(f"{len(cards)} hand-ins: {_shown(out / 'index.html')}")
    return cards


def stems(names: Iterable[str]) -> dict[str, str]:
    """What each name's files are called: the name itself where it is 1 to 80 of `A-Za-z0-9._-`, starts with neither dot nor
    dash and differs from all others even where case does not count; else a cleaned form and a part of its SHA-256."""
    hashed = {name: _hashed(name) for name in names}
    spelt = Counter(name.lower() for name in hashed)
    spelt.update(stem.lower() for stem in hashed.values())  # nobody gets another's file by naming a folder like it
    return {
        name: name if _PLAIN.fullmatch(name) and spelt[name.lower()] == 1 else stem for name, stem in hashed.items()
    }


def _hashed(name: str) -> str:
    cleaned = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:60].strip("-")
    return f"{cleaned}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}".lstrip("-")


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
        """Grades what is to be graded, `jobs` at once, until all is done or `stopped` is set."""
        waiting = list(self._to_grade())[::-1]
        while (waiting or self._running) and not stopped.is_set():
            while waiting and len(self._running) < jobs:
                self._start(waiting.pop())
            if not self._collect():
                time.sleep(_TICK)

    def end_children(self) -> None:
        """Ends all that still run."""
        for child in self._running:
            child.end()
        self._running.clear()

    def _to_grade(self) -> Iterator[HandIn]:
        for hand_in in self._hand_ins:
            kept = _kept(self._out, hand_in)
            if kept is None:
                yield hand_in
            else:
                self.done[hand_in.name] = kept
        if self.done:
            self._say(f"{len(self.done)} of {len(self._hand_ins)} hand-ins were graded before and have not changed")

    def _start(self, hand_in: HandIn) -> None:
        refusal = _refusal(hand_in.path)
        if refusal is not None:
            self._finish(hand_in, refused(hand_in.name, *refusal), None)
            return
        work = self._out / _WORK / hand_in.stem
        _make_folder(work)
        mark = fingerprint(hand_in.path)
        try:
            child = start(hand_in.path, hand_in.name, self._exam, self._limits, work)
        except OSError as error:
            step = "the examiner lowers --jobs or ends other programs, and grades again with --resume"
            reason = f"no process could be started: {error.strerror or type(error).__name__}"
            self._finish(hand_in, refused(hand_in.name, "examiner", reason, step), mark)
            return
        self._running[child] = (hand_in, mark)

    def _collect(self) -> bool:
        """Takes the cards of children that have ended; whether there was any."""
        ended = [(child, made) for child in self._running for made in [child.card()] if made is not None]
        for child, made in ended:
            hand_in, mark = self._running.pop(child)
            errors = child.errors()
            if errors:
                _write(self._out / "errors" / f"{hand_in.stem}.txt", errors)
            else:
                (self._out / "errors" / f"{hand_in.stem}.txt").unlink(missing_ok=True)
            self._finish(hand_in, made, mark)
            _remove(child.work)
        return bool(ended)

    def _finish(self, hand_in: HandIn, made: Card, mark: Optional[str]) -> None:
        reports = self._out / "reports"
        report, text = _for_candidates(made)
        _write(reports / f"{hand_in.stem}.json", json.dumps(report, indent=2, allow_nan=False) + "\n")
        _write(reports / f"{hand_in.stem}.txt", text)
        kept = {**cards_on_disk.to_json(made), "fingerprint": mark}
        _write(self._out / "cards" / f"{hand_in.stem}.json", json.dumps(kept, allow_nan=False) + "\n")
        self.done[hand_in.name] = made
        width = len(str(len(self._hand_ins)))
        self._say(f"[{len(self.done):>{width}}/{len(self._hand_ins)}] {hand_in.name!a}: {_verdict(made)}")


def _for_candidates(made: Card) -> tuple[Mapping[str, Any], str]:
    """The report and its text without what went wrong on the examiner's side: that is full of the examiner's paths."""
    problem = made.report["problem"]
    if problem is None or problem["fault"] != "examiner":
        return made.report, made.text
    report = failure(
        "examiner",
        "it could not be graded, for a reason that does not lie in the hand-in",
        "the examiner mends that and grades again; there is nothing to hand in anew",
    )
    return report, failure_text(report)


def _refusal(path: Path) -> Optional[tuple[str, str, str]]:
    """Fault, reason and next step where the entry of the class's folder is no hand-in that can be opened."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return GONE
    except OSError as error:
        words = f"it cannot be looked at: {error.strerror or type(error).__name__}"
        return "examiner", words, "the examiner makes it readable, and grades again with --resume"
    if stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and is_archive(path.name)):
        return None
    words = next((words for is_kind, words in _KINDS if is_kind(mode)), "neither a folder nor an archive that is read")
    return "submission", f"it is {words}", "hand in the folder itself, or a .zip or .tar.gz of it"


_KINDS: Sequence[tuple[Callable[[int], bool], str]] = (
    (stat.S_ISLNK, "a link, which is not followed"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def fingerprint(path: Path) -> Optional[str]:
    """What a hand-in looks like from outside: a digest of the names, kinds, sizes and times of its files, unopened.

    None where that cannot be said: it cannot be listed, or has more than `ENTRIES_LIMIT` files."""
    digest = hashlib.sha256()
    try:
        for number, (name, status) in enumerate(_statuses(path)):
            if number == ENTRIES_LIMIT:
                return None
            size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
            digest.update(os.fsencode(name) + b"\0")
            digest.update(f"{status.st_mode} {size} {status.st_mtime_ns}\n".encode("ascii"))
    except (OSError, RecursionError):  # os.walk goes down one call a folder, before Python 3.12
        return None
    return digest.hexdigest()


def _statuses(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The path itself and all below it, in a fixed order; no link is followed."""
    own = os.lstat(path)
    yield "", own
    if not stat.S_ISDIR(own.st_mode):
        return
    for folder, folders, files in os.walk(path, onerror=_raise):
        folders.sort()
        for name in sorted(folders + files):
            inside = os.path.join(folder, name)
            yield os.path.relpath(inside, path), os.lstat(inside)


def _raise(error: OSError) -> None:
    raise error


def _hand_ins(submissions: Path) -> Iterator[HandIn]:
    try:
        taken = sorted(name for name in os.listdir(submissions) if not name.startswith("."))
    except OSError as error:
        raise CouldNotGrade(
            f"{submissions}: expected the folder of the hand-ins: {error.strerror}. Next: pass it with --submissions DIR"
        ) from None
    if not taken:
        raise CouldNotGrade(
            f"{submissions}: no hand-in, expected a folder or an archive for each. Next: pass --submissions DIR"
        )
    named = stems(taken)
    for name in taken:
        yield HandIn(name, named[name], submissions / name)


def _kept(out: Path, hand_in: HandIn) -> Optional[Card]:
    """The card of an earlier run, if it still holds and the hand-in was graded."""
    try:
        value = json.loads((out / "cards" / f"{hand_in.stem}.json").read_bytes())
        kept = cards_on_disk.from_json(value)
        mark = value["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    same = kept.name == hand_in.name and mark is not None and mark == fingerprint(hand_in.path)
    return kept if same and kept.report.get("problem") is None else None


def _about(exam: Exam, limits: Limits) -> dict[str, Any]:
    """What a class is graded with, the exam's files by their contents. Raises CouldNotGrade where they cannot be read."""
    opened = exam.open()
    named = exam.as_json()
    keys = [exam.answers / key.file_name for key in opened.keys]
    datasets = [key.dataset for key in opened.keys]
    named.update(answers=_digest(keys), datasets=datasets)
    if exam.base is not None:
        named["base"] = _digest([exam.base / "config.json" if exam.base.is_dir() else exam.base])
    if exam.data is not None:
        tables = [exam.data / each / f"{each}_{part}.tsv" for each in datasets for part in ("train", "dev")]
        named["data"] = _digest(tables)
    grader = sorted(Path(__file__).resolve().parent.glob("*.py"))
    return {"schema": SCHEMA, "exam": named, "grader": _digest(grader), "limits": asdict(limits)}


_WORDS: Mapping[str, str] = {
    "schema": "another version of class.json",
    "answers": "other answer keys",
    "datasets": "other datasets",
    "base": "another --base",
    "data": "another --data",
    "grader": "another version of the grader",
}
"""What a difference between two runs is called. Other limits are no difference: who ran into them is graded again."""


def _require_same(out: Path, about: Mapping[str, Any], resume: bool) -> None:
    """Writes `class.json`, or holds what it says against this run. Raises CouldNotGrade."""
    path = out / _CLASS
    if path.exists():
        try:
            before = json.loads(path.read_bytes())
            was, now = (
                {**each["exam"], "schema": each["schema"], "grader": each["grader"]} for each in (before, about)
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CouldNotGrade(
                f"{path}: cannot be read as what the class was graded with: {type(error).__name__}. "
                "Next: grade into another folder with --out"
            ) from None
        differing = [words for name, words in _WORDS.items() if was.get(name) != now.get(name)]
        if differing:
            raise CouldNotGrade(
                f"{out}: the class was graded with {', '.join(differing)}. Next: go on with what it was graded with, "
                "or grade all of it into another folder with --out"
            )
    _write(path, json.dumps(about, indent=2) + "\n")


def _require_apart(submissions: Path, out: Path) -> None:
    inside, outside = os.path.realpath(submissions), os.path.realpath(out)
    try:
        common = os.path.commonpath([inside, outside])
    except ValueError:  # two drives of Windows
        return
    if common in (inside, outside):
        raise CouldNotGrade(
            f"{out}: lies inside the hand-ins' folder {submissions}, or that inside it. "
            "Next: name a folder apart from it with --out"
        )


@contextmanager
def _locked(out: Path, resume: bool) -> Iterator[None]:
    """`out` for this process alone. Raises CouldNotGrade where it is another's, or holds anything and is not to go on."""
    _make_folder(out)
    found = {path.name for path in out.iterdir()} - {_LOCK}
    if found and not resume:
        raise CouldNotGrade(
            f"{out}: is not empty. Next: go on with the class that is in it with --resume, or name another folder "
            "with --out"
        )
    if found and _CLASS not in found:
        raise CouldNotGrade(f"{out}: holds no {_CLASS}, so no class to go on with. Next: name its folder with --out")
    lock = out / _LOCK
    _take(lock)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _take(lock: Path) -> None:
    for _ in range(2):
        try:
            descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            if not _is_stale(lock):
                raise CouldNotGrade(
                    f"{lock}: another run grades into this folder. Next: wait for it; if there is none, remove the file"
                ) from None
            lock.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(lock, error) from None
        else:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(f"{os.getpid()}\n")
            return
    raise CouldNotGrade(f"{lock}: another run has just started in this folder. Next: wait for it")


def _is_stale(lock: Path) -> bool:
    """Whether the process that the lock names is gone. Our own number is a former one's: containers start at 1 again."""
    try:
        number = int(lock.read_text(encoding="ascii"))
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    if number == os.getpid():
        return True
    if os.name != "posix":  # there a signal 0 is Ctrl-C
        return False
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, once; the second one is as outside.

    An exception from a signal could come between a child's start and the note of it."""
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


def _verdict(made: Card) -> str:
    problem = made.report["problem"]
    if problem:
        return f"not graded ({problem['fault']}): {problem['reason']}"
    return f"{math.floor(made.points * 100 + 1e-6) / 100:g} points"


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # a table that no hand-in's grading may ask for
            digest.update(f"{path.name} is not there\n".encode("utf-8", "surrogateescape"))
            continue
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise CouldNotGrade(f"{path}: cannot be read: {reason}. Next: make it readable") from None
        digest.update(f"{path.name} {len(data)}\n".encode("utf-8", "surrogateescape") + data)
    return digest.hexdigest()


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None


def _write(path: Path, text: str) -> None:
    """Written aside and renamed: a file that exists is whole. Raises CouldNotGrade."""
    aside = path.with_name(f".{path.name}.partial")
    try:
        aside.write_bytes(text.encode("utf-8", "backslashreplace"))  # a name may hold bytes that are no text
        os.replace(aside, path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise _unwritable(path, error) from None


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:  # the same; what is left is scratch
        return


def _shown(path: Path) -> str:
    return ascii(str(path))[1:-1]


def _unwritable(path: Path, error: OSError) -> CouldNotGrade:
    reason = error.strerror or type(error).__name__
    return CouldNotGrade(f"{path}: cannot be written: {reason}. Next: make room or name another folder with --out")
