"""Grading: the cost of one ordinary submission, start-up included, and of a whole class, each submission in its own process.

    python benchmarks/grade.py [--growth] [--quick] [--json FILE]

The ordinary submission has an adapter of 16 MB, 4,000 training records and 150 rows; the class has 1,000 submissions
with small adapters, every fourth a zip archive, on 2 jobs. Both are made in a temporary folder, from the exam's own
questions if they are there, else from the demo's. Files and bytecode are warm. `--quick` grades a class of 50 and measures
the submission three times instead of ten.

The goal is in wall seconds, which other programs disturb: the least is given, too. Linux never reports a
child's peak memory below what its parent held when it started it, so the largest child's is an upper bound.

`--growth` measures something else: every reader of the grader at n, 2n and 4n (`grade_growth.py`).
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import sys
import tempfile
import zipfile
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from rows import ROOT, Spread, load_inputs, print_table, write_json
from startup import Cost, cells, cost, cpu_ratio, figures, take_turns

from grading import contract

DATASET = "QQP"

ROWS, TRAIN = 150, 4000
"""Rows of the answer key, and training records of the ordinary submission."""

GOAL = 0.3
"""Seconds by the clock that the ordinary submission should stay below."""

CLASS, QUICK_CLASS, JOBS = 1000, 50, 2
"""Submissions of the class, of the quick one, and children at once."""

COMMAND = ["-S", "-m", "grading.score"]

WATCHED = """
import json, resource, sys
root, figures = sys.argv[1:3]
sys.path.insert(0, root)
from grading import score
code = score.main(sys.argv[3:])
own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
found = [each.ru_utime + each.ru_stime for each in (own, children)] + [own.ru_maxrss, children.ru_maxrss]
with open(figures, "w") as file:
    json.dump(found, file)
sys.exit(code)
"""
"""The command, which leaves the CPU seconds and the peak memory of its own process and of its children in a file."""


@dataclass(frozen=True)
class Shape:
    """How large a submission is."""

    rank: int
    width: int
    """Of the layers, for inputs and outputs."""
    layers: int
    """With four adapted modules each."""
    train: int
    """Training records."""


ORDINARY = Shape(rank=16, width=2048, layers=16, train=TRAIN)
SMALL = Shape(rank=4, width=64, layers=4, train=200)


@dataclass(frozen=True)
class Text:
    """The text that submissions are made from."""

    inputs: Sequence[str]
    labels: Sequence[str]
    instruction: str


def write_submission(folder: Path, text: Text, shape: Shape, labels: Sequence[str], draw: random.Random) -> int:
    """A submission that answers with `labels`; the bytes of its adapter."""
    records = [
        {"instruction": text.instruction, "input": text.inputs[row], "output": text.labels[row]}
        for row in draw.choices(range(len(text.inputs)), k=shape.train)
    ]
    dev = [{"instruction": text.instruction, "input": one} for one in text.inputs[: len(labels)]]
    config = {"peft_type": "LORA", "r": shape.rank, "lora_alpha": 32, "target_modules": [*"qkvo"]}
    adapter = _adapter(shape, draw)
    files = {
        contract.train_path(DATASET): b"".join(contract.format_records(records)),
        contract.dev_path(DATASET): b"".join(contract.format_records(dev)),
        f"{contract.adapter_folder(DATASET)}/{contract.ADAPTER_CONFIG}": json.dumps(config).encode(),
        f"{contract.adapter_folder(DATASET)}/{contract.ADAPTER_WEIGHTS}": adapter,
        contract.result_path(DATASET): contract.format_result(labels),
    }
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return len(adapter)


def _adapter(shape: Shape, draw: random.Random) -> bytes:
    """The weights in float32: a run of random values, over and over."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for layer in range(shape.layers):
        for module in "qkvo":
            for side, size in (("A", [shape.rank, shape.width]), ("B", [shape.width, shape.rank])):
                end = position + 4 * shape.rank * shape.width
                name = f"base_model.model.model.layers.{layer}.self_attn.{module}.lora_{side}.weight"
                header[name] = {"dtype": "F32", "shape": size, "data_offsets": [position, end]}
                position = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    run = array("f", (draw.gauss(0, 0.02) for _ in range(1 << 12))).tobytes()
    return struct.pack("<Q", len(text)) + text + (run * (position // len(run) + 1))[:position]


def write_class(folder: Path, count: int, text: Text, answers: Sequence[str]) -> None:
    """The submissions: rows differ in difficulty, and candidates in their accuracy."""
    draw = random.Random(0)
    hard = [draw.random() ** 2 for _ in answers]
    for number in range(count):
        care = draw.uniform(0.2, 0.8)
        labels = [
            label if draw.random() > care * difficulty else "01"[label == "0"]
            for label, difficulty in zip(answers, hard)
        ]
        path = folder / f"hand-in-{number:04}"
        write_submission(path, text, SMALL, labels, draw)
        if number % 4 == 0:
            _pack(path)


def _pack(folder: Path) -> None:
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
                path.unlink()
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir()
    folder.rmdir()


@dataclass(frozen=True)
class ClassCost:
    """The cost of grading a class."""

    count: int
    """Submissions."""
    wall: float
    """Seconds, the page included."""
    parent_cpu: float
    """Seconds of CPU of the command's own process."""
    children_cpu: float
    """Seconds of CPU of all children."""
    parent_peak: float
    """Peak memory of the command's own process, in MB (10⁶ bytes)."""
    child_peak: float
    """Peak memory of the largest child, in MB: an upper bound."""


def grade_class(submissions: Path, answers: Path, out: Path, count: int) -> ClassCost:
    """Grades a class through the command. Raises SystemExit if that fails, or has not `count` submissions."""
    arguments = ["--submissions", submissions, "--answers", answers, "--out", out, "--jobs", JOBS]
    with tempfile.NamedTemporaryFile() as figures_file:
        spent = cost(["-I", "-S", "-c", WATCHED, str(ROOT), figures_file.name, *map(str, arguments)])
        *cpu, parent, child = json.load(figures_file)
    graded = [json.loads(path.read_bytes())["problem"] is None for path in (out / "reports").glob("*.json")]
    if graded != [True] * count:
        raise SystemExit(f"{sum(graded)} of {count} submissions were graded")
    unit = (1 if sys.platform == "darwin" else 1024) / 1e6  # macOS counts bytes
    return ClassCost(count, spent.wall, *cpu, parent * unit, child * unit)


def measure_one(ways: dict[str, list[str]], repeats: int) -> dict[str, list[Cost]]:
    """The cost of each command, in turns, with warm caches."""
    calls = {name: (lambda arguments=arguments: cost(arguments)) for name, arguments in ways.items()}
    for call in calls.values():
        call()
    return take_turns(calls, repeats)


def show_growth(quick: bool, file: Optional[Path]) -> None:
    """Measures the growth of every reader, prints the table, and writes the JSON."""
    from grade_growth import measure_all

    found = measure_all(quick)
    print_table(
        "Every reader at n, 2n and 4n",
        ["what is read, and what n counts", "n", "CPU s", "4n / n", "peak MB"],
        [
            [
                name,
                f"{each.size:,}",
                " / ".join(f"{one:.3f}" for one in each.seconds),
                f"{each.factor:.1f}",
                " / ".join(f"{one:.1f}" for one in each.peaks),
            ]
            for name, each in found.items()
        ],
    )
    ratios = {f"CPU at 4n / n: {name}": round(each.factor, 2) for name, each in found.items()}
    write_json(file, "grade-growth", ratios, {name: each.__dict__ for name, each in found.items()})


def main() -> None:
    """Measures, prints the tables, and writes the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"a class of {QUICK_CLASS}, and fewer repeats")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON, too")
    parser.add_argument("--growth", action="store_true", help="every reader at n, 2n and 4n instead")
    options = parser.parse_args()
    if options.growth:
        show_growth(options.quick, options.json)
        return
    inputs, labels, instruction, source = load_inputs(DATASET)
    text = Text(inputs, labels, instruction)
    count = QUICK_CLASS if options.quick else CLASS
    answers = labels[:ROWS]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "answers").mkdir()
        (folder / f"answers/result_{DATASET}.txt").write_bytes(contract.format_result(answers))
        size = write_submission(folder / "ordinary", text, ORDINARY, answers, random.Random(0))
        write_submission(folder / "small", text, SMALL, answers, random.Random(0))
        write_class(folder / "class", count, text, answers)
        both = ["--answers", str(folder / "answers")]
        costs = measure_one(
            {
                "interpreter": ["-S", "-c", "pass"],
                "score --help": [*COMMAND, "--help"],
                "a small submission": [*COMMAND, "--submission", str(folder / "small"), *both],
                "the ordinary submission": [*COMMAND, "--submission", str(folder / "ordinary"), *both],
            },
            3 if options.quick else 10,
        )
        graded = grade_class(folder / "class", folder / "answers", folder / "out", count)
    about = f"{size / 1e6:.1f} MB of adapter, {TRAIN:,} records of {source}, {ROWS} rows"
    print_table(
        f"One submission ({about})",
        ["what", "wall s", "CPU s", "peak MB"],
        [[name, *cells(found)] for name, found in costs.items()],
    )
    wall = Spread.of([one.wall for one in costs["the ordinary submission"]])
    print(f"goal: below {GOAL:g} s by the clock: {wall.show()}, {'met' if wall.median < GOAL else 'missed'}")
    print_table(
        f"A class of {count:,}, {JOBS} jobs, {ROWS} rows each",
        [
            "wall s",
            "submissions / s",
            "rows / s",
            "CPU s, parent",
            "CPU s, children",
            "peak MB, parent",
            "peak MB, child",
        ],
        [
            [
                f"{graded.wall:.1f}",
                f"{count / graded.wall:.1f}",
                f"{count * ROWS / graded.wall:,.0f}",
                f"{graded.parent_cpu:.2f}",
                f"{graded.children_cpu:.1f}",
                f"{graded.parent_peak:.0f}",
                f"{graded.child_peak:.0f}",
            ]
        ],
    )
    each = (graded.parent_cpu + graded.children_cpu) / count
    small = Spread.of([one.cpu for one in costs["a small submission"]]).median
    ratios = {
        f"wall: the ordinary submission / goal of {GOAL:g} s": round(wall.median / GOAL, 4),
        "CPU: the ordinary submission / interpreter": round(
            cpu_ratio(costs["the ordinary submission"], costs["interpreter"]).median, 4
        ),
        "CPU: a submission of the class / a small submission alone": round(each / small, 4),
    }
    print_table("Ratios", ["ratio", ""], [[name, f"{value:.2f}"] for name, value in ratios.items()])
    details = {"submission": about, "costs": figures(costs), "class": graded.__dict__}
    write_json(options.json, "grade", ratios, details)


if __name__ == "__main__":
    main()
