"""The output folder of a class: used by one run at a time, and for one class only."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Optional

from grading.classroom import card as cards_on_disk
from grading.classroom.card import Card
from grading.classroom.hand_ins import HandIn, fingerprint
from grading.classroom.sandbox import Limits
from grading.contract.language import language, mark, reason_of, tr
from grading.errors import CouldNotGrade
from grading.files import digest_files, is_partial, make_folder, unwritable, write_text
from grading.grader import Exam

try:
    import fcntl
except ImportError:  # Windows: keeping runs apart is up to the examiner
    fcntl = None  # type: ignore[assignment]

SCHEMA = "labeltune.class/1"
"""Version of `class.json`."""

CLASS, WORK = "class.json", "work"

_OLD_LOCK = "class.lock"
"""Left by older versions, whose lock was a file."""


class Damaged(Exception):
    """A card that is there and cannot be believed."""


def kept_card(out: Path, hand_in: HandIn) -> Optional[Card]:
    """The card of an earlier run, if the submission was graded and has not changed since. Raises Damaged."""
    try:
        value = cards_on_disk.read_json(out / "cards" / f"{hand_in.stem}.json")
        kept = cards_on_disk.from_json(value)
        mark = value["fingerprint"]
        if kept.name != hand_in.name or not (mark is None or isinstance(mark, str)):
            raise ValueError("a card of something else")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise Damaged(type(error).__name__) from None
    same = mark is not None and mark == fingerprint(hand_in.path)
    return kept if same and kept.report["problem"] is None else None


def about_class(exam: Exam, limits: Limits) -> dict[str, Any]:
    """What a class is graded with; the exam's files by their digests. Raises CouldNotGrade if they cannot be read."""
    opened = exam.open()
    named = exam.as_json()
    keys = [exam.answers / key.file_name for key in opened.keys]
    datasets = [key.dataset for key in opened.keys]
    named.update(answers=digest_files(keys), datasets=datasets)
    if exam.base is not None:
        named["base"] = digest_files([exam.base / "config.json" if exam.base.is_dir() else exam.base])
    if exam.data is not None:
        tables = [exam.data / each / f"{each}_{part}.tsv" for each in datasets for part in ("train", "dev")]
        named["data"] = digest_files(tables)
    grader = sorted(Path(__file__).resolve().parent.parent.rglob("*.py"))
    grader_digest = digest_files(grader)
    return {
        "schema": SCHEMA,
        "exam": named,
        "grader": grader_digest,
        "language": language(),
        "limits": asdict(limits),
    }


_WORDS: Mapping[str, str] = {
    "schema": mark("another version of class.json"),
    "answers": mark("other answer keys"),
    "datasets": mark("other datasets"),
    "base": mark("another --base"),
    "data": mark("another --data"),
    "grader": mark("another version of the grader"),
    "language": mark("messages in another language (LABELTUNE_LANG)"),
}
"""Names of the differences between two runs. Other limits are not one: a submission that exceeded them is graded again."""


def require_same(out: Path, about: Mapping[str, Any]) -> None:
    """Writes `class.json`, or compares it with this run. Raises CouldNotGrade if they differ."""
    path = out / CLASS
    if os.path.lexists(path):
        try:
            # versions without languages wrote English
            before = {"language": "en", **cards_on_disk.read_json(path)}
            was, now = (
                {**each["exam"], **{name: each[name] for name in ("schema", "grader", "language")}}
                for each in (before, about)
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CouldNotGrade(
                tr("{path}: is damaged: {error_type}", path=path, error_type=type(error).__name__),
                tr("grade into another folder with --out"),
            ) from None
        differing = [words for name, words in _WORDS.items() if was.get(name) != now.get(name)]
        if differing:
            raise CouldNotGrade(
                tr("{out}: the class was graded with {differing}", out=out, differing=", ".join(differing)),
                tr("use what it was graded with, or grade all of it into another folder with --out"),
            )
    write_text(path, json.dumps(about, indent=2) + "\n")


def require_apart(submissions: Path, out: Path) -> None:
    """Raises CouldNotGrade if one of the two folders is inside the other."""
    inside, outside = os.path.realpath(submissions), os.path.realpath(out)
    try:
        common = os.path.commonpath([inside, outside])
    except ValueError:  # two drives on Windows
        return
    if common in (inside, outside):
        raise CouldNotGrade(
            tr(
                "{out}: this folder and the submissions' folder {submissions} must not be inside each other",
                out=out,
                submissions=submissions,
            ),
            tr("name another folder with --out"),
        )


@contextmanager
def locked(out: Path, resume: bool) -> Iterator[None]:
    """Keeps other runs out of `out`. Raises CouldNotGrade if another run uses it, or if it is not empty and not resumed.

    The lock is the operating system's, on the folder itself: it ends with the process and leaves no file."""
    make_folder(out)
    with _flocked(out):
        found = {path.name for path in out.iterdir() if path.name != _OLD_LOCK and not is_partial(path.name)}
        if found and not resume:
            raise CouldNotGrade(
                tr("{out}: is not empty", out=out),
                tr("resume the class that is in it with --resume, or name another folder with --out"),
            )
        if found and CLASS not in found:
            raise CouldNotGrade(
                tr("{out}: holds no {file}, so there is no class to resume", out=out, file=CLASS),
                tr("name its folder with --out"),
            )
        yield


@contextmanager
def _flocked(folder: Path) -> Iterator[None]:
    if fcntl is None:
        yield
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        step = tr("wait for it, end it, or name another folder with --out")
        raise CouldNotGrade(tr("{folder}: another run grades into this folder", folder=folder), step) from None
    except OSError as error:  # a network disk without locks, say
        print(
            tr(
                "WARNING: {folder}: {reason}: nothing keeps another run out of this folder",
                folder=folder,
                reason=reason_of(error),
            ),
            file=sys.stderr,
        )
    try:
        yield
    finally:
        os.close(descriptor)
