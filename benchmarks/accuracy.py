"""What choices are worth: hold-out accuracy beside training time, over several seeds, through the runner itself.

    python benchmarks/accuracy.py loss      [--task QQP|CoLA|acceptability|paraphrase] [--seeds 3] [--quick] [--json FILE]
    python benchmarks/accuracy.py dropout   the packed layout's one dropout draw for the shared prefix, against padded
    python benchmarks/accuracy.py frozen    LoRA on all layers, the upper half, the upper third; frozen layers are cached

Real rows and a small pre-trained Llama come from ../shared where they lie beside the checkout; the demo's tasks and base are
in the repository. Each row of the table is the mean over seeds with the lowest and highest; times are the loop's own, taken
one run after the other, so compare them within one table only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from runner import pipeline  # noqa: E402  (the path comes first)
from runner.recipe.loader import load_recipes  # noqa: E402

SHARED = ROOT.parent / "shared"

TASKS: Mapping[str, tuple[str, ...]] = {
    "QQP": ("recipes/qqp.yaml", f"base={SHARED}/models/stories3M", "train.learning_rate=1e-3", "train.epochs=3"),
    "CoLA": ("recipes/cola.yaml", f"base={SHARED}/models/stories3M", "train.learning_rate=1e-3", "train.epochs=3"),
    "acceptability": ("recipes/demo-acceptability.yaml",),
    "paraphrase": ("recipes/demo-paraphrase.yaml",),
}
"""Recipe and overrides of each task."""

NAMES = "[q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]"
"""All linear layers by name: PEFT takes no layer numbers beside `all-linear`."""


def variants(study: str, layers: int) -> dict[str, tuple[str, ...]]:
    """The overrides of each row of a study's table."""
    if study == "loss":
        return {loss: (f"train.loss={loss}",) for loss in ("vocabulary", "labels")}
    if study == "dropout":
        return {
            f"{layout}, dropout {dropout}": (f"train.layout={layout}", f"lora.lora_dropout={dropout}")
            for dropout in (0.0, 0.1)
            for layout in ("packed", "padded")
        }
    rows: dict[str, tuple[str, ...]] = {"all layers": ()}
    for name, share in (("upper half", 2), ("upper third", 3)):
        chosen = list(range(layers - layers // share, layers))
        rows[name] = (
            f"lora.target_modules={NAMES}",
            f"lora.layers_to_transform={chosen}",
            "train.cache_frozen_layers=true",
        )
    return rows


def measure(task: str, changes: tuple[str, ...], seed: int, workspace: Path, quick: bool) -> dict[str, float]:
    """Fine-tunes once and returns the best epoch's hold-out measures and the seconds of training, filling the cache included."""
    recipe, *overrides = TASKS[task]
    if quick:
        overrides += ["samples.train=400", "samples.holdout=200", "train.epochs=1"]
    elif task in ("QQP", "CoLA"):
        overrides += ["samples.holdout=2000"]  # ±2 points
    loaded = load_recipes([ROOT / recipe], [*overrides, *changes, f"train.seed={seed}", f"samples.seed={seed}"])
    pipeline.run(loaded, workspace, ["prepare", "finetune"], fresh=True)
    figures = json.loads((workspace / f"saved_model/{loaded[0].recipe.task.name}/manifest.json").read_text())["figures"]
    return {
        "majority": figures["majority"],
        "accuracy": figures["tuned"]["accuracy"],
        "mcc": figures["tuned"]["mcc"],
        "seconds": figures["train_seconds"] + figures["trunk_seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("study", choices=("loss", "dropout", "frozen"))
    parser.add_argument("--task", choices=TASKS, default="acceptability")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one seed, few rows: only that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        (workspace / "data").symlink_to(SHARED / "exam/data")
        base = next(
            (o.partition("=")[2] for o in TASKS[options.task] if o.startswith("base=")), f"{ROOT}/recipes/demo/base"
        )
        layers = json.loads((Path(base) / "config.json").read_text())["num_hidden_layers"]
        rows = variants(options.study, layers)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in rows}
        for seed in range(1 if options.quick else options.seeds):
            for name, changes in rows.items():  # interleaved, so that a slow minute hits all alike
                found[name].append(measure(options.task, changes, seed, workspace, options.quick))
    print(f"\n{options.study} on {options.task}, {len(next(iter(found.values())))} seeds: mean (lowest to highest)")
    print(f"{'':24}{'majority':>10}{'accuracy':>26}{'MCC':>8}{'seconds':>10}")
    first = next(iter(found))
    for name, runs in found.items():
        mean = {key: statistics.mean(run[key] for run in runs) for key in runs[0]}
        low, high = min(run["accuracy"] for run in runs), max(run["accuracy"] for run in runs)
        accuracy = f"{mean['accuracy']:.1%} ({low:.1%} to {high:.1%})"
        print(f"{name:24}{mean['majority']:>10.1%}{accuracy:>26}{mean['mcc']:>8.3f}{mean['seconds']:>10.1f}")
    if options.json:
        pairs = {
            name: [run["seconds"] / other["seconds"] for run, other in zip(runs, found[first])]
            for name, runs in found.items()
        }
        ratios = {f"seconds, {name} / {first}": statistics.median(values) for name, values in pairs.items()}
        tree: dict[str, Any] = {"study": options.study, "task": options.task, "runs": found, "ratios": ratios}
        options.json.write_text(json.dumps(tree, indent=1) + "\n")


if __name__ == "__main__":
    main()
