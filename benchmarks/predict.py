"""Predictions: ours, one row at a time and in bulk, against `generate` and lm-evaluation-harness.

    python benchmarks/predict.py --quick                     gemma-2b's slice on CoLA and the demo's base, a minute or two
    python benchmarks/predict.py                             two slices, from them the whole gemma-2b, and the small models
    python benchmarks/predict.py --full --tasks CoLA         the whole gemma-2b in bf16: 5 GB of random weights
    python benchmarks/predict.py --base FOLDER --precision fp32 bf16        a real base with its own tokenizer

Same weights with LoRA (r = 8 on q, k, v and o; on a real base as the recipes have it) in place, same token ids, one thread;
every way starts from the row's text.
The labels' rows of the head are set so that the labels outweigh every other token and each answers about half of the rows:
a way that always says the same would be found out. What ours does once, the proof that it is exact and the prefix, is
measured apart and spread over the exam's 150 rows in every ratio. Needs the `lm_eval` of benchmarks/requirements.txt for
its way.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import rows as common
from rows import Spread

EXAM_ROWS = 150
"""Rows that what is done once is spread over."""

BULK_ROWS = 32
"""Rows computed at once by the ways in bulk, and the rows that they are measured on."""

HARNESS_BATCH = 8
"""Rows that lm-evaluation-harness computes at once: it keeps the head's logits of every position, twice."""

GOALS: Mapping[tuple[str, str], float] = {
    ("CoLA", "ours, one at a time"): 3.5, ("CoLA", "ours, in bulk"): 6.0,
    ("QQP", "ours, one at a time"): 2.5, ("QQP", "ours, in bulk"): 4.0,
}  # fmt: skip
"""For the whole gemma-2b: task and way → rows per second wanted, relative to `generate` one at a time."""

BASE_GOALS: Mapping[tuple[str, str], float] = {
    (task, way): goal for task in common.TASKS for way, goal in (("ours, one at a time", 3.5), ("ours, in bulk", 6.0))
}
"""The same for a real base."""


@dataclass(frozen=True)
class Setting:
    """What one comparison is measured on."""

    shape: str
    """Name of the model's shape."""
    task: str
    """CoLA or QQP."""
    layers: int
    """Layers of the slice."""
    precision: str
    """Type of the weights."""

    def __str__(self) -> str:
        return f"{self.shape}/{self.task}/{self.layers} layers/{self.precision}"


@dataclass(frozen=True)
class Work:
    """A model and the rows that it has to answer."""

    model: Any
    """The causal language model, with LoRA layers in it."""
    scorer: Any
    """Our scorer of it."""
    rows: common.TaskRows
    """Rows and prompt."""
    chosen: Sequence[int]
    """The rows to answer, by number."""

    @property
    def records(self) -> list[dict[str, str]]:
        """The chosen rows as dev records."""
        return [{"instruction": self.rows.prompt.instruction, "input": self.rows.inputs[row]} for row in self.chosen]


Run = Callable[[], list[str]]
"""Answers every chosen row, in order."""


def _ours(work: Work, size: int) -> Run:
    from runner.scoring.dataset import EncodedDataset, encode_records
    from runner.scoring.label_logits import predict_label_logits
    from runner.scoring.proof import subject_of

    prompt = work.rows.prompt
    # as many rows again in front, so that the proof and the prefix have been done when the clock starts
    suffixes = [*work.rows.suffixes[:size], *(work.rows.suffixes[row] for row in work.chosen)]
    answers = predict_label_logits(subject_of(work.scorer), EncodedDataset(prompt, suffixes), size)
    for _ in range(size):
        next(answers)

    def run() -> list[str]:
        encode_records(prompt, work.records, "rows")  # the ids are known, but they have their price
        return [prompt.labels[int(logits.argmax())] for logits in answers]

    return run


def _generate(work: Work, size: int, tokens: int) -> Run:
    import torch

    from runner.scoring.dataset import encode_records

    prompt = work.rows.prompt

    def run() -> list[str]:
        answers: list[str] = []
        for start in range(0, len(work.chosen), size):
            encoded = encode_records(prompt, work.records[start : start + size], "rows")
            lines = [[*prompt.prefix, *suffix] for suffix in encoded.suffixes]
            longest = max(map(len, lines))
            ids = torch.tensor([[0] * (longest - len(line)) + line for line in lines])
            mask = torch.tensor([[0] * (longest - len(line)) + [1] * len(line) for line in lines])
            written = work.model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=0
            )
            if written.shape[1] - longest != tokens:
                raise SystemExit(f"generate wrote {written.shape[1] - longest} tokens, expected {tokens}")
            texts = prompt.tokenizer.batch_decode(written[:, longest:], skip_special_tokens=True)
            answers += [
                next((label for label in prompt.labels if text.strip().startswith(label)), "?") for text in texts
            ]
        return answers

    return run


def _harness(work: Work) -> Run:
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    from runner.scoring.tokenization import encode_text

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    prompt = work.rows.prompt

    class SamePrompt(HFLM):  # type: ignore[misc]
        """Their model with our prompt's token ids."""

        def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
            ids = [*prompt.prefix, *encode_text(prompt.tokenizer, context), *prompt.tail]
            return ids, [prompt.label_ids[prompt.labels.index(continuation)]]

    documents = [{"input": record["input"], "target": 0} for record in work.records]
    config = {
        "task": "labels",
        "custom_dataset": lambda **_: {"test": Dataset.from_list(documents)},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": lambda document: document["input"],
        "doc_to_choice": list(prompt.labels),
        "doc_to_target": "target",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc"}],
        "num_fewshot": 0,
    }

    def run() -> list[str]:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(nowhere):
            model = SamePrompt(work.model, tokenizer=prompt.tokenizer, batch_size=HARNESS_BATCH, device="cpu")
            task = ConfigurableTask(config=dict(config))
            found = evaluate(model, {"tasks": {"labels": task}, "groups": {}, "group_map": {}}, bootstrap_iters=0)
        samples = sorted(found["samples"]["labels"], key=lambda sample: sample["doc_id"])
        logs = [[float(choice[0]) for choice in sample["filtered_resps"]] for sample in samples]
        return [prompt.labels[max(range(len(row)), key=row.__getitem__)] for row in logs]

    return run


@dataclass(frozen=True)
class Way:
    """A way to predict."""

    work: Callable[..., Run]
    """Makes ready to answer; what it returns is timed."""
    options: Mapping[str, Any]
    """Further arguments of `work`."""
    bulk: bool
    """Whether it is measured on all rows rather than on a few."""
    rounds: Optional[int] = None
    """Rounds measured at most."""


STOCK = "generate, one at a time, 4 tokens"
"""The stock way; ratios are against it."""

WAYS: Mapping[str, Way] = {
    "ours, one at a time": Way(_ours, {"size": 1}, False),
    "ours, in bulk": Way(_ours, {"size": BULK_ROWS}, True),
    STOCK: Way(_generate, {"size": 1, "tokens": 4}, False),
    "generate, one at a time, 1 token": Way(_generate, {"size": 1, "tokens": 1}, False),
    "generate, left-padded batches, 4 tokens": Way(_generate, {"size": BULK_ROWS, "tokens": 4}, True),
    "generate, left-padded batches, 1 token": Way(_generate, {"size": BULK_ROWS, "tokens": 1}, True),
    "lm-evaluation-harness": Way(_harness, {}, True, rounds=1),
}
"""Every way by its name."""


@dataclass(frozen=True)
class Result:
    """What one way took for one model and task."""

    per_row: list[float]
    """Seconds of CPU a row, of each round."""
    once: float
    """Seconds of CPU that it takes once, whatever the number of rows; 0 for the others than ours."""
    answers: dict[int, str]
    """Its label for each row, by the row's number."""

    def seconds(self) -> list[float]:
        """Seconds of CPU a row, with what is done once spread over the exam's rows."""
        return [one + self.once / EXAM_ROWS for one in self.per_row]


def give_both_labels(model: Any, rows: common.TaskRows) -> None:
    """Sets the labels' rows of the head so that one of them is the likeliest token after every row, each for about half of
    the rows: along the mean of the answers' hidden states for both, and along their main spread for one and against it
    for the other. The head gets weights of its own where it shared the embedding's."""
    import torch

    from runner.model.compat import body
    from runner.scoring.layouts import padded

    head = model.get_output_embeddings()
    batch = padded(model, rows.prompt)(rows.suffixes)
    hidden = body(model)(**batch.inputs, use_cache=False)[0][batch.rows, batch.positions].float()
    mean = hidden.mean(0)
    along = torch.linalg.svd(hidden - mean, full_matrices=False).Vh[0]
    ratios = ((hidden @ along) / (hidden @ mean)).sort().values
    middle = len(ratios) // 2
    along = along - mean * (ratios[middle - 1] + ratios[middle]) / 2  # half of the rows on either side, none between
    largest = torch.stack([head(row.to(head.weight.dtype)).float().max() for row in hidden]).max()
    sides = hidden @ along
    level = 2 * largest + sides.abs().max() + 1
    weight = head.weight.detach().clone()
    for label, sign in zip(rows.prompt.label_ids, (-1, 1)):
        weight[label] = (mean * level / (hidden @ mean).min() + sign * along).to(weight.dtype)
    head.weight = torch.nn.Parameter(weight, requires_grad=False)
    model.config.tie_word_embeddings = False  # or lm-evaluation-harness ties them again


def _fresh_row(head: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Gives the head a copy of rows cut out of longer ones. The last position of a prompt keeps the prompt's stride, on which
    torch's bf16 product takes 11 s instead of 0.1 on a CPU: `generate` would be punished for what no GPU does."""
    import torch

    (hidden,) = inputs
    if hidden.dim() != 3 or hidden.shape[1] != 1:
        return inputs
    return (torch.empty(hidden.shape, dtype=hidden.dtype, device=hidden.device).copy_(hidden),)


def measure(setting: Setting, few: int, rounds: int, chosen: Sequence[str]) -> dict[str, Result]:
    """The chosen ways' results, the ways taking turns; those one at a time on `few` rows."""
    import torch

    from runner.scoring.scorer import LabelScorer

    shape = common.SHAPES[setting.shape]
    tokenizer = common.load_tokenizer(setting.shape)
    rows = common.load_rows(setting.task, tokenizer, count=BULK_ROWS, demo=shape.demo)
    model = common.load_shape(setting.shape, setting.layers, setting.precision)
    common.add_lora(model, shape.lora)
    give_both_labels(model, rows)
    model.get_output_embeddings().register_forward_pre_hook(_fresh_row)
    scorer = LabelScorer(model, rows.prompt, loss="labels").eval()
    by_length = sorted(range(BULK_ROWS), key=lambda row: len(rows.suffixes[row]))
    step = BULK_ROWS // few
    some = by_length[step // 2 :: step]
    ways = {name: way for name, way in WAYS.items() if name in chosen}
    ways = {name: way for name, way in ways.items() if way.work is not _harness or _has_harness()}
    for way in ways.values():  # the first call of each imports and allocates
        way.work(Work(model, scorer, rows, some[:1]), **way.options)()
    results: dict[str, Result] = {}
    for turn in range(rounds):
        for name, way in ways.items():
            if turn >= (way.rounds or rounds):
                continue
            work = Work(model, scorer, rows, range(BULK_ROWS) if way.bulk else some)
            run: list[Run] = []
            ready = common.cpu_seconds(lambda run=run, way=way, work=work: run.append(way.work(work, **way.options)))
            found: list[list[str]] = []
            seconds = common.cpu_seconds(lambda run=run, found=found: found.append(run[0]())) / len(work.chosen)
            size = way.options.get("size", 1) if way.work is _ours else 0
            once = max(0.0, ready - size * seconds) if size else 0.0
            earlier = results.get(name, Result([], once, {}))
            results[name] = Result(
                [*earlier.per_row, seconds], min(once, earlier.once), dict(zip(work.chosen, found[0]))
            )
            torch.set_grad_enabled(False)  # some of them turn it on again
    return results


def _has_harness() -> bool:
    try:
        import lm_eval  # noqa: F401
    except ImportError:
        return False
    return True


def judge_labels(results: Mapping[str, Result]) -> tuple[str, dict[str, str]]:
    """How often each label is the answer, and for each way whether its labels are those of ours in bulk."""
    reference = results["ours, in bulk"].answers
    verdicts = {}
    for name, result in results.items():
        differing = sum(label != reference[row] for row, label in result.answers.items())
        verdicts[name] = "all equal" if not differing else f"{differing} of {len(result.answers)} differ"
    counts = Counter(reference.values())
    return ", ".join(f"{count} × {label}" for label, count in sorted(counts.items())), verdicts


def whole(results: Mapping[int, Mapping[str, Result]], layers: int) -> dict[str, float]:
    """Each way's median seconds a row for a model of so many layers, by a straight line through those of two slices."""
    (few, small), (many, large) = sorted(results.items())
    seconds = {}
    for name in small:
        one, other = (Spread.of(result[name].seconds()).median for result in (small, large))
        seconds[name] = one + (other - one) / (many - few) * (layers - few)
    return seconds


def main() -> None:
    """Measures, prints the tables, and writes the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="one slice and the demo's base, CoLA, one round of few rows"
    )
    parser.add_argument("--full", action="store_true", help="the whole gemma-2b in bf16 and nothing else")
    parser.add_argument("--shapes", nargs="+", choices=list(common.SHAPES), default=["gemma-2b", "demo", "stories3M"])
    parser.add_argument("--base", nargs="+", type=Path, default=[], help="folders of real bases, instead of shapes")
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], default=["fp32"])
    parser.add_argument("--tasks", nargs="+", choices=list(common.TASKS), default=["CoLA", "QQP"])
    parser.add_argument(
        "--layers", nargs="+", type=int, default=[2, 4], help="layers of the slices; two are extrapolated"
    )
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON, too")
    options = parser.parse_args()
    if options.quick:
        options.shapes, options.tasks, options.layers, options.rounds = ["gemma-2b", "demo"], ["CoLA"], [2], 1
    if options.full:
        options.shapes, options.layers = ["gemma-2b"], [common.SHAPES["gemma-2b"].whole]
        options.precision = ["bf16"]
    if options.base:
        options.shapes = [common.add_base(folder) for folder in options.base]

    import torch

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    ratios: dict[str, float] = {}
    details: dict[str, Any] = {}
    unequal: list[str] = []
    for name in options.shapes:
        shape = common.SHAPES[name]
        if not common.there(name):
            print(f"{name}: not there, left out")
            continue
        random = shape.folder is None
        for task, precision in itertools.product(options.tasks, options.precision):
            slices: dict[int, dict[str, Result]] = {}
            for layers in options.layers if random else [shape.layers]:
                few = 4 if options.quick and random else 8
                setting = Setting(name, task, layers, precision)
                slices[layers] = measure(setting, few, options.rounds, options.ways)
                unequal += show(setting, slices[layers], ratios, details)
                common.write_json(options.json, "predict", ratios, details)  # so far, lest a long run be lost
            if random and len(slices) == 2:
                show_whole(setting, whole(slices, shape.whole), ratios)
            elif options.full or shape.base:
                seconds = {way: Spread.of(one.seconds()).median for way, one in slices[setting.layers].items()}
                show_whole(setting, seconds, ratios)
    common.write_json(options.json, "predict", ratios, details)
    if unequal:
        raise SystemExit("labels differ: " + "; ".join(unequal))


def show(
    setting: Setting, results: Mapping[str, Result], ratios: dict[str, float], details: dict[str, Any]
) -> list[str]:
    """Prints one setting's table and notes its figures; returns the ways whose labels differ in fp32."""
    answers, verdicts = judge_labels(results)
    stock = results[STOCK].seconds()
    lines = []
    for name, result in results.items():
        ratio = common.pair_ratios(stock, result.seconds())
        rate = Spread.of([1 / one for one in result.per_row])
        once = f"{result.once:.2f}" if result.once else ""
        lines.append([name, rate.show(), once, ratio.show(), verdicts[name]])
        ratios[f"{setting}: {name} / {STOCK}"] = round(ratio.median, 3)
        details[f"{setting}: {name}"] = {
            "rows_per_second": rate.figures(), "once_seconds": round(result.once, 3), "ratio": ratio.figures(),
            "labels": verdicts[name], "answers": answers,
        }  # fmt: skip
    heads = ["way", "rows/s", "once, s", "speed, generate 4 tokens = 1", "labels against ours in bulk"]
    common.print_table(f"{setting}, seconds of CPU; answers {answers}", heads, lines)
    if "," not in answers:
        return [f"{setting}: only one label occurs"]
    exact = setting.precision == "fp32"
    return [f"{setting}: {name}: {words}" for name, words in verdicts.items() if words != "all equal" and exact]


def show_whole(setting: Setting, seconds: Mapping[str, float], ratios: dict[str, float]) -> None:
    """Prints the whole model's table with the goals, and notes its ratios."""
    shape = common.SHAPES[setting.shape]
    goals = BASE_GOALS if shape.base else GOALS if setting.shape == "gemma-2b" else {}
    lines = []
    for name, one in seconds.items():
        ratio, goal = seconds[STOCK] / one, goals.get((setting.task, name))
        verdict = "" if goal is None else f"{goal:g}: {'met' if ratio >= goal else 'missed'}"
        lines.append([name, f"{1 / one:.2f}", f"{ratio:.2f}", verdict])
        ratios[f"{setting.shape}/{setting.task}/whole/{setting.precision}: {name} / {STOCK}"] = round(ratio, 3)
    about = f"all {shape.whole} layers, {EXAM_ROWS} rows with what is done once"
    title = f"{setting.shape}/{setting.task}/{setting.precision}, {about}"
    common.print_table(title, ["way", "rows/s", "speed, generate 4 tokens = 1", "goal"], lines)


if __name__ == "__main__":
    main()
