"""Preparing the whole of QQP: CPU seconds and peak memory of the real command, against the usual ways to read the file.

    python benchmarks/prepare.py [--quick] [--json FILE]

The 363,846 rows are made for the run in a temporary folder: the exam's own questions where they are at hand, else the
demo's, every first question paired with many second ones. `--quick` makes a tenth of them and measures twice.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from rows import EXAM, ROOT, Spread, print_table, write_json
from startup import Cost, cells, cost, cpu_ratio, figures, take_turns

ROWS = 363_846
"""Rows of QQP's training file."""

CPU_GOAL, PEAK_GOAL = 1.5, 60.0
"""Seconds of CPU and MB that preparing them should stay below."""

SOURCES = (
    EXAM / "data" / "questionBData" / "QQP" / "QQP",
    ROOT / "recipes/demo/data/questionBData/paraphrase/paraphrase",
)
"""Where questions are taken from, best first: the path of a task's two files without `_train.tsv` and `_dev.tsv`."""

RECIPE = ROOT / "recipes" / "qqp.yaml"

ITERROWS = """
import json, random, sys
import pandas
train, dev, out = sys.argv[1:]
table = pandas.read_csv(train, sep="\\t", quoting=3, keep_default_na=False)
records = []
for _, row in table.iterrows():
    text = str(row["question1"]) + "\\n" + str(row["question2"])
    records.append({"instruction": "Same?", "input": text, "output": str(row["is_duplicate"])})
with open(out, "w", encoding="utf-8") as file:
    json.dump(random.Random(0).sample(records, 4000), file, ensure_ascii=False)
"""
"""The usual script: the whole table, a record of every row, a sample of them."""

STREAMED = """
import csv, json, random, sys
train, dev, out = sys.argv[1:]
draw, kept = random.Random(0), []
with open(train, encoding="utf-8", newline="") as file:
    reader = csv.reader(file, delimiter="\\t", quoting=csv.QUOTE_NONE)
    next(reader)
    for number, (_, _, _, first, second, label) in enumerate(reader):
        place = number if number < 4000 else int(draw.random() * (number + 1))
        if place < 4000:
            record = {"instruction": "Same?", "input": first + "\\n" + second, "output": label}
            kept[place:place + 1] = [record]
with open(out, "w", encoding="utf-8") as file:
    json.dump(kept, file, ensure_ascii=False)
"""
"""About the least that reading the file can cost: one pass, one kept sample; no row is checked, no repeated question seen,
no label share kept, no hold-out drawn, and no content hashed to see next time that nothing has changed."""


def make_tables(folder: Path, count: int) -> str:
    """Writes a training file of `count` rows and the dev file where the recipe looks for them; says what they are."""
    source = next(path for path in SOURCES if Path(f"{path}_train.tsv").is_file())
    head, *lines = Path(f"{source}_train.tsv").read_bytes().split(b"\n")
    rows = [line.split(b"\t") for line in lines if line]
    target = folder / "data" / "questionBData" / "QQP"
    target.mkdir(parents=True)
    (target / "QQP_dev.tsv").write_bytes(Path(f"{source}_dev.tsv").read_bytes())
    with (target / "QQP_train.tsv").open("wb") as file:
        file.write(head + b"\n")
        for number in range(count):
            turn, place = divmod(number, len(rows))
            first, second = rows[place], rows[(place + turn * 17) % len(rows)]
            ids = (b"%d" % number, b"%d" % (2 * number + 1), b"%d" % (2 * number + 2))
            file.write(b"\t".join((*ids, first[3], second[4], first[5])) + b"\n")
    size = (target / "QQP_train.tsv").stat().st_size
    return f"{count:,} rows of {source.parent.name}'s questions, {size / 1e6:.1f} MB"


def ways(folder: Path) -> Mapping[str, Callable[[], Cost]]:
    """What is measured, by name."""
    train, dev = (str(folder / f"data/questionBData/QQP/QQP_{name}.tsv") for name in ("train", "dev"))
    ours = [str(ROOT / "runner/main.py"), str(RECIPE), "--workspace", str(folder), "--stages", "prepare"]
    reader = [train, dev, str(folder / "sample.json")]
    return {
        "interpreter": lambda: cost(["-c", "pass"]),
        "ours, only looking at the recipe (--check)": lambda: cost([*ours, "--check"]),
        "ours": lambda: cost([*ours, "--fresh"]),
        "ours again, nothing changed": lambda: cost(ours),
        "csv, streamed and sampled": lambda: cost(["-c", STREAMED, *reader]),
        "pandas read_csv and iterrows": lambda: cost(["-c", ITERROWS, *reader]),
    }


def main() -> None:
    """Measures, prints the tables, and writes the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the rows, measured twice instead of five times"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        about = make_tables(folder, ROWS // 10 if options.quick else ROWS)
        measured = ways(folder)
        for way in measured.values():  # caches warm
            way()
        costs = take_turns(measured, 2 if options.quick else 5)
        prepared = json.loads((folder / "pre_data/QQP/manifest.json").read_bytes())["figures"]
    print_table(f"Preparing {about}", ["way", "wall s", "CPU s", "peak MB"], [[n, *cells(c)] for n, c in costs.items()])
    print(f"ours wrote {sum(prepared['train'].values()):,} training, {sum(prepared['holdout'].values()):,} hold-out and "
          f"{prepared['dev']:,} dev records")  # fmt: skip
    cpu, peak = (Spread.of([getattr(one, key) for one in costs["ours"]]).median for key in ("cpu", "peak"))
    if not options.quick:
        for value, goal, unit in ((cpu, CPU_GOAL, "s of CPU"), (peak, PEAK_GOAL, "MB")):
            print(f"goal: below {goal:g} {unit}: {value:.2f}, {'met' if value < goal else 'missed'}")
    ratios = {f"CPU: {name} / ours": cpu_ratio(found, costs["ours"]) for name, found in costs.items() if name != "ours"}
    print_table("CPU seconds, pair by pair", ["ratio", ""], [[name, ratio.show()] for name, ratio in ratios.items()])
    medians = {name: round(ratio.median, 4) for name, ratio in ratios.items()}
    for name, found in costs.items():
        if name != "ours":
            medians[f"memory: {name} / ours"] = round(Spread.of([one.peak for one in found]).median / peak, 4)
    spreads = {name: ratio.figures() for name, ratio in ratios.items()}
    write_json(options.json, "prepare", medians, {"rows": about, "costs": figures(costs), "ratios": spreads})


if __name__ == "__main__":
    main()
