"""The recipe: everything that defines one fine-tune, as frozen values that need no further checks.

The dataclasses are the schema. A field's name is the YAML key, its type and `key(...)` rule are checked by `loader`, and its
docstring is the documentation. A `Recipe` object has passed every check.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Optional, Union

from runner.recipe.duration import Duration
from runner.recipe.rules import Columns


def key(
    default: Any = dataclasses.MISSING,
    *,
    low: Optional[float] = None,
    above: Optional[float] = None,
    high: Optional[float] = None,
    below: Optional[float] = None,
    path: bool = False,
) -> Any:
    """A recipe key: its default (none: the key is required) and the range of its number, ends included for low and high.

    `path`: a value that begins with `./` or `../` starts at the folder of its file and becomes absolute."""
    rule = {"low": low, "above": above, "high": high, "below": below, "path": path or None}
    return dataclasses.field(
        default=default, metadata={name: limit for name, limit in rule.items() if limit is not None}
    )


@dataclass(frozen=True)
class Task:
    """The files of a task and how a row becomes a record."""

    name: str = key()
    """Names the folders and the result file, as the examiner's answer key names it: `QQP` → `result_QQP.txt`."""
    train: str = key(path=True)
    """The labelled file, in the workspace (`data/…`), beside the recipe (`./…`) or absolute."""
    input: str = key()
    """Template of a record's input, with columns in braces: `"{question1}\\n{question2}"`."""
    label: str = key()
    """The column with the label. It may not be in `input`."""
    labels: tuple[str, ...] = key()
    """The labels as the files write them, two or more; the last in alphabetical order counts as positive for F1."""
    dev: Optional[str] = key(None, path=True)
    """The file to predict. If it has the label column, its labels are kept from the model and the predictions are scored with
    them. Default: a part of the labelled rows is set aside, predicted and scored, see `samples.test`."""
    header: Union[bool, Literal["auto"]] = key("auto")
    """Whether delimited files begin with a line of column names. With `true` it is checked against `columns`. `auto` decides for
    each file by its first line and logs what it found."""
    columns: tuple[str, ...] = key(())
    """The columns of the training file, in order. May be left out where the file names them: a header, JSONL, parquet."""
    dev_columns: tuple[tuple[str, ...], ...] = key(())
    """Forms that the dev file may have, each a list of columns. Their numbers of columns differ. Default: `columns` without
    the label."""
    label_names: Optional[dict[str, str]] = key(None)
    """What the files hold instead of `labels`, for instance `{entailment: "1", not_entailment: "0"}` or `{"1.0": "1"}`."""
    format: Literal["auto", "tsv", "csv", "jsonl", "parquet"] = key("auto")
    """What the files are. `auto` looks at the content of each. `csv` is separated by commas, semicolons or vertical bars;
    `jsonl` has one object a line, or is an array of objects."""
    encoding: Literal["auto", "utf-8", "utf-16", "gb18030", "gbk", "big5", "cp1252"] = key("auto")
    """The encoding of files that are not UTF-8. With `auto`, a file in another encoding is refused and its encoding named. With
    `utf-8`, bytes in another encoding are damage: such rows are bad rows."""
    quoting: Literal["auto", "none", "csv"] = key("auto")
    """Whether a `"` is a character like any other (`none`, GLUE's files) or CSV quoting (`csv`, Quora's own file);
    `auto` decides by the file's own quotes and logs its choice. A CSV file with commas or semicolons has CSV quoting."""
    dev_differs: bool = key(False)
    """Whether the dev file may look unlike the training file. With `false`, a dev column that cannot be the training file's
    column of that name is refused: empty where the other is not, numbers instead of sentences, labels instead of text."""
    bad_rows: Literal["error", "skip"] = key("error")
    """What happens to training rows that cannot be read: stop and name them, or skip and count them. Dev rows are
    never skipped."""
    swap: tuple[str, ...] = key(())
    """Two columns of `input` whose exchange never changes the label: `[question1, question2]`. Both orders then count as the
    same input: no pair of the hold-out is in another labelled row or in the dev file, in either order."""


@dataclass(frozen=True)
class PromptShape:
    """How a record becomes the text that the model reads."""

    template: str = key("{instruction}\n{input}\nAnswer:")
    """The prompt with `{instruction}` and `{input}` once each. The text before `{input}` is the
    prefix, the same for every record of the task."""
    max_length: int = key(512, low=8)
    """Most tokens of one prompt."""
    too_long: Literal["error", "truncate", "drop-from-train"] = key("error")
    """What happens to a prompt longer than `max_length`: stop and name it; cut the end of its input and count it; or leave
    it out of training and cut it elsewhere. A dev row is never left out."""
    answers: Optional[dict[str, str]] = key(None)
    """The text that the model writes for each label, for instance `{"0": " no", "1": " yes"}`; default: the labels themselves.
    Every file keeps the labels. An answer may have several tokens, and may begin with a space if the template ends without
    one."""


@dataclass(frozen=True)
class Samples:
    """Which rows are used."""

    train: Union[int, Literal["all"], Duration] = key(4000, low=1)
    """Training rows to draw, before `augment` and `balance` add any; `all` takes all rows that are not held out. A time, such as
    `90s`, `40m` or `2h`, takes as many rows as the whole run can use in it on this device, which a short run measures first; each
    member of an ensemble takes that time."""
    holdout: int = key(500, low=2)
    """Labelled rows that are not trained on: they choose the best epoch and give the accuracy to expect."""
    dev: Union[int, Literal["all"]] = key(150, low=1)
    """Dev rows to predict, from the first one; the exam asks for 150."""
    test: Optional[int] = key(None, low=1)
    """Without `task.dev`: labelled rows that are set aside, drawn with `seed` and the file's label shares, predicted and scored.
    Default: a tenth of the rows, at most 1000."""
    seed: int = key(0, low=0, high=2**31 - 1)
    """Seed of the draw."""
    balance: Literal["none", "equal", "oversample"] = key("none")
    """Label shares of the training rows: as in the file (`none`), or equal. `equal` draws the same number of rows of each label;
    with `train: all` it undersamples: it leaves out rows of the frequent labels. `oversample` draws as `none` does and repeats
    rows of the rare labels. The hold-out keeps the file's shares, and evaluation and prediction undo the change."""
    augment: Literal["none", "swap"] = key("none")
    """`swap` adds each training row a second time, with the columns of `task.swap` exchanged, unless that is the same text
    or the pair is in the dev file."""
    exclude: Optional[str] = key(None, path=True)
    """A CSV file of labelled rows that are not used, neither for training nor for the hold-out, such as the one that `labeltune
    doubtful` writes. It needs the columns `line` (of the training file) and `input` (the text there; a row whose text differs is
    an error). With a column `keep`, only rows with `no` in it are excluded."""

    @property
    def train_rows(self) -> Union[int, Literal["all"]]:
        """`train` in a recipe whose time has become a number of rows: no rows are drawn before."""
        assert not isinstance(self.train, Duration)
        return self.train


@dataclass(frozen=True)
class Lora:
    """The LoRA adapter: PEFT's own keys, with PEFT's meaning.

    Left out are the keys that change the base's own weights (`bias`, `modules_to_save`, OLoRA's start): several recipes share
    one loaded base, and an adapter must be complete by itself. PiSSA is computed without changing them."""

    r: int = key(16, low=1, high=1024)
    """Rank of the update."""
    lora_alpha: float = key(32.0, above=0)
    """Scale: the update is multiplied by `lora_alpha / r`."""
    lora_dropout: float = key(0.0, low=0, below=1)
    """Dropout on the adapter's input, in training only."""
    target_modules: Union[Literal["all-linear"], tuple[str, ...]] = key("all-linear")
    """Names of the layers to adapt, or every linear layer but the output head."""
    layers_to_transform: Optional[tuple[int, ...]] = key(None, low=0)
    """Numbers of the layers to adapt, from 0; default: all. Works with `all-linear`, too."""
    rank_pattern: Optional[dict[str, int]] = key(None, low=1)
    """A different rank for some layers, by name or pattern."""
    alpha_pattern: Optional[dict[str, float]] = key(None, above=0)
    """A different `lora_alpha` for some layers."""
    use_rslora: bool = key(False)
    """Scale by `lora_alpha / sqrt(r)` instead, which is stable at high ranks (Kalajdzievski 2023, arXiv:2312.03732)."""
    use_dora: bool = key(False)
    """Train magnitude and direction separately (Liu et al. 2024, arXiv:2402.09353); slower."""
    init_lora_weights: Union[bool, Literal["gaussian", "pissa", "pissa_niter_4", "pissa_niter_16"]] = key(True)
    """Initial values. With `true` and `gaussian`, A is random and B is zero. With `pissa`, A and B are the largest singular
    values and vectors of each weight (Meng et al. 2024, arXiv:2404.02948); `pissa_niter_4` and `pissa_niter_16` approximate
    them, which is faster. The file is then a plain LoRA of twice the rank."""


@dataclass(frozen=True)
class Train:
    """The fine-tuning run."""

    epochs: int = key(2, low=1)
    """Passes over the training rows. The adapter of the epoch with the best hold-out accuracy is saved."""
    batch_size: int = key(16, low=1)
    """Rows computed at once in training, over all processes together."""
    accumulation: int = key(1, low=1)
    """Batches per optimizer step: the effective batch is `batch_size × accumulation` rows."""
    learning_rate: Union[float, Literal["auto"]] = key(2e-4, above=0, high=1)
    """Peak learning rate of AdamW. `auto` tries four rates for some steps each and takes the one with the lowest loss on the
    hold-out."""
    schedule: Literal["cosine", "linear", "constant"] = key("cosine")
    """Shape of the learning rate after the warm-up."""
    warmup: float = key(0.06, low=0, below=1)
    """Share of all steps over which the learning rate rises from zero."""
    weight_decay: float = key(0.0, low=0, high=1)
    """AdamW's decoupled weight decay on the adapter."""
    max_grad_norm: float = key(1.0, above=0)
    """The gradient's norm is clipped to this."""
    precision: Literal["auto", "bf16", "fp32"] = key("auto")
    """Type of the base's weights; `auto` is bf16 on a device that computes it and fp32 elsewhere. The adapter and the
    loss are always fp32. fp16 is not offered: Gemma overflows in it."""
    layout: Literal["auto", "packed", "padded"] = key("auto")
    """How examples are placed in a batch: `packed` computes the shared prefix once for many examples and has no padding, `padded`
    is the ordinary batch. `auto` takes `packed` if it gives the padded results on the longest and shortest rows. `packed` is
    used in any case, with a warning if the results differ."""
    gradient_checkpointing: bool = key(False)
    """Recompute activations in the backward pass: less memory, about a third more time."""
    seed: int = key(0, low=0, high=2**31 - 1)
    """Seed of the adapter's initial values, the order of rows and dropout."""
    loss: Literal["labels", "vocabulary"] = key("labels")
    """The loss at the answer's position: minus the log-probability of the right label among the labels only, which is all that
    decides the answer, or among the whole vocabulary, the language model's own objective. Both give the same accuracy on real
    bases; `labels` takes up to a seventh less time. `decoding.kind: generate` needs `vocabulary`."""
    cache_frozen_layers: bool = key(False)
    """Whether the outputs of the layers below the adapter are stored on disk, in `pre_data/{dataset}/store/`. With
    `lora.layers_to_transform` on the upper layers they never change, and every epoch, seed and sweep run starts from them."""
    checkpoint_minutes: float = key(10.0, above=0)
    """Minutes between two checkpoints, from which the same command resumes after a crash. There is also one after every epoch."""
    trackers: tuple[str, ...] = key(())
    """Experiment trackers that get the metrics, through Accelerate: some of `tensorboard`, `wandb`, `mlflow` and `swanlab`. Their
    files are in `trackers/` of the workspace. With `offline: true`, wandb and swanlab write files only."""
    class_weights: Union[Literal["none", "balanced"], dict[str, float]] = key("none", above=0)
    """How much the loss of a row counts, by its label: all alike, so that all labels count alike (`balanced`), or as in
    `{"0": 1, "1": 3}`. Weights are scaled to a mean of 1 over the training rows, so the learning rate keeps its meaning.
    Evaluation and prediction undo the changed shares."""
    loraplus_lr_ratio: float = key(1.0, above=0)
    """LoRA+: the learning rate of the B matrices and of DoRA's magnitudes is `learning_rate` times this (Hayou et al. 2024,
    arXiv:2402.12354)."""
    average_epochs: int = key(1, low=1)
    """With 2 or more, the mean of the last so many epochs' adapters is evaluated after training as one more candidate, and saved
    if it is better on the hold-out than every single epoch. A, B and DoRA's magnitudes are averaged separately."""
    patience: Optional[int] = key(None, low=1)
    """Stop after this many epochs in a row that are not better on the hold-out than the best one before them. The learning rate
    follows the schedule of all `epochs`. Default: train all of them."""


@dataclass(frozen=True)
class LabelDecoding:
    """Answer with the most likely label."""

    kind: Literal["label"] = key("label")
    """Compares the labels' logits at the answer's position: every row gets a label and its probability."""
    batch: int = key(1, low=1)
    """Rows computed at once. 1 is the exam's way: one input in, one label out. More is faster and gives the same answers."""
    average: Literal["none", "swap"] = key("none")
    """`swap` scores each row in both orders of `task.swap` and answers by the mean of their log-probabilities, in twice the time.
    A pair then has the same answer in both orders. The hold-out during training stays in the file's order."""
    calibration: Literal["none", "auto"] = key("none")
    """Whether the label logits are calibrated: `auto` fits a temperature and a bias for each label on the hold-out in the
    evaluate stage, and uses them where cross-validation within the hold-out says that they help."""


@dataclass(frozen=True)
class GenerateDecoding:
    """Let the model generate text and look for a label in it: the usual way, for comparison."""

    kind: Literal["generate"] = key()
    """Greedy generation. An answer that is not a label is counted, shown and written as `?`."""
    max_new_tokens: int = key(4, low=1, high=256)
    """Tokens to generate per row."""


ALIASES = {"train.keep_trunk": "train.cache_frozen_layers"}
"""Older names of keys, which recipes may still use."""


WITHOUT_EFFECT = ("checkpoint_minutes", "trackers")
"""Keys of `train` that no result depends on. With another value a finished stage is still finished, and a stopped one resumes."""


@dataclass(frozen=True)
class Search:
    """A search for the best settings within a time, instead of one run."""

    minutes: Optional[float] = key(None, above=0, high=100_000)
    """Time of the whole search, with the training of the best settings on as many rows as fit; default: no search."""
    space: Optional[dict[str, tuple[Any, ...]]] = key(None)
    """Keys to change and the values to try: `{train.learning_rate: [1e-4, 5e-4], instruction: ["…", "…"]}`. Default: learning
    rates, ranks and, for the labels 0 and 1, answers in words."""
    seed: int = key(0, low=0, high=2**31 - 1)
    """Seed of the draw of candidates."""
    sampler: Literal["random", "optuna"] = key("random")
    """Where the candidates come from. `random`: drawn before the first trial, or the whole grid where it is small. `optuna`: the
    first ones are drawn, and then Optuna proposes one after another from the results so far; it needs
    `pip install "optuna>=4"`."""
    storage: Optional[str] = key(None, path=True)
    """With `sampler: optuna`, the file of its results, in the workspace, beside the recipe (`./…`) or absolute. Searches of the
    same recipe, base and data that name one file share their results. Default: a file of this search alone, in
    `saved_model/.search`."""


@dataclass(frozen=True)
class Ensemble:
    """Several fine-tunes that differ in the seed or the instruction only: their mean and spread, and one answer from all of them.

    The members are all pairs of a seed and an instruction, each an ordinary run over the same rows. The first member is the
    recipe's own `train.seed` and `instruction`, whether they are in the lists or not; its adapter is the one that is saved in
    `saved_model/{dataset}`. Not together with `search`, `decoding.kind: generate` or `decoding.calibration: auto`."""

    seeds: tuple[int, ...] = key((), low=0, high=2**31 - 1)
    """Values of `train.seed`; default: the recipe's own."""
    instructions: tuple[str, ...] = key(())
    """Values of `instruction`; default: the recipe's own. Without seeds and instructions there is no ensemble."""
    answer: Literal["mean", "first"] = key("mean")
    """`mean` answers a dev row by the mean of the members' log-probabilities, in as many times the time as there are members;
    the grader's `--rerun` of the saved adapter alone may then give other labels. `first` answers with the first member alone;
    the others then only give the mean and the spread of the hold-out accuracy."""

    @property
    def is_asked_for(self) -> bool:
        """Whether there are members besides the recipe itself."""
        return bool(self.seeds or self.instructions)

    @property
    def answers_by_mean(self) -> bool:
        """Whether all members answer together."""
        return self.is_asked_for and self.answer == "mean"


@dataclass(frozen=True)
class Recipe:
    """One fine-tune."""

    task: Task = key()
    """Files, columns and labels."""
    instruction: str = key()
    """The instruction to the model, the same for every record."""
    base: str = key(path=True)
    """The base model: a folder (in the workspace, beside the recipe with `./`, or absolute), an id on the Hugging Face hub, or
    `modelscope:OWNER/NAME`. The environment variable `LABELTUNE_HUB=modelscope` makes ModelScope the hub of plain ids."""
    prompt: PromptShape = key(PromptShape())
    """How a record becomes text."""
    samples: Samples = key(Samples())
    """Which rows are used."""
    lora: Lora = key(Lora())
    """The adapter."""
    train: Train = key(Train())
    """The run."""
    decoding: Union[LabelDecoding, GenerateDecoding] = key(LabelDecoding())
    """How a prediction is made."""
    trust_remote_code: bool = key(False)
    """Whether Python code in the base's folder may be run. Its author can then do everything that you can do on this machine.
    Models that transformers knows need no such code."""
    offline: bool = key(False)
    """Whether the run's Python may not connect to any other machine. A hub id as `base` is then found only in the hub's cache.
    Without this key, nothing but a hub id is ever downloaded."""
    search: Search = key(Search())
    """A search over other settings."""
    ensemble: Ensemble = key(Ensemble())
    """The same fine-tune with several seeds or instructions."""

    @property
    def fits_rows(self) -> bool:
        """Whether the number of training rows follows from a time: `samples.train` or `search.minutes`."""
        return isinstance(self.samples.train, Duration) or self.search.minutes is not None

    def digest(self, *keys: str) -> str:
        """SHA-256 of the recipe, or of some keys (`"lora"`, `"task.labels"`): a stage compares it to know if it has finished."""
        return hashlib.sha256(json.dumps(self._chosen(keys), sort_keys=True).encode()).hexdigest()

    def flat(self, *keys: str) -> dict[str, Any]:
        """The values of some keys as plain values, one for each key that is not a mapping: `{"lora.r": 16, …}`."""
        found: dict[str, Any] = {}
        for name, value in self._chosen(keys).items():
            below = value if isinstance(value, dict) else None
            found.update({f"{name}.{key}": each for key, each in below.items()} if below else {name: value})
        return found

    def _chosen(self, keys: Sequence[str]) -> dict[str, Any]:
        tree = dataclasses.asdict(self)
        if not keys:
            return tree
        for name in WITHOUT_EFFECT:
            del tree["train"][name]
        return {key: functools.reduce(dict.__getitem__, key.split("."), tree) for key in keys}


def dev_forms(columns: Columns, label: str, dev_columns: Sequence[Columns]) -> tuple[Columns, ...]:
    """The column lists that a dev file may have: the recipe's, or the training file's without the label. A file that has the
    training file's columns, with the label, is one more where its number of columns tells it apart."""
    forms = tuple(dev_columns) or (tuple(name for name in columns if name != label),)
    return forms if any(len(form) == len(columns) for form in forms) else (*forms, columns)
