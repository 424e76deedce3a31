"""Rows, models and timings: what every benchmark here measures on, and how. No command of its own.

Rows are CoLA's and QQP's own where `../shared/exam` (or $LABELTUNE_EXAM) has them, else the demo's two tasks, which have
the same form. Models are random weights in real shapes, since speed does not depend on what the weights say, or real
ones. Times are seconds of CPU of this process on one thread, which a busy neighbour disturbs least; the ways that
are compared take turns, and a ratio is the median of ratios of neighbours in time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
EXAM = Path(os.environ.get("LABELTUNE_EXAM", ROOT.parent / "shared" / "exam"))
MODELS = ROOT.parent / "shared" / "models"
sys.path[:0] = [str(ROOT)] if str(ROOT) not in sys.path else []

from runner.data.open_table import Wanted, open_table  # noqa: E402
from runner.recipe.loader import load_recipes  # noqa: E402
from runner.recipe.schema import PromptShape  # noqa: E402
from runner.scoring.dataset import EncodedDataset, encode_records  # noqa: E402
from runner.scoring.prompt import Prompt, build_prompt  # noqa: E402
from runner.scoring.tokenization import encode_text  # noqa: E402

LORA: Mapping[str, Any] = {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]}
"""The adapter of every model but a real base, which takes the recipes'."""

TASKS = {
    "CoLA": (ROOT / "recipes" / "cola.yaml", "acceptability"),
    "QQP": (ROOT / "recipes" / "qqp.yaml", "paraphrase"),
}
"""For each task its recipe, and the name of the demo's task of the same form that is used where the exam's rows are missing."""

FILLER = (
    " Think about the order of the words, the agreement of subject and verb, the tense, the articles and the meaning as a"
    " whole before you decide. Do not judge the style, the spelling of names or whether what is said is true: a strange"
    " sentence may well be fine and a plain one may be wrong. If you are in doubt, ask yourself how a careful native"
    " reader would take it at first sight, with no more context than what stands here, and answer with that alone."
)
"""What lengthens an instruction to a wanted number of tokens; repeated if need be."""


@dataclass(frozen=True)
class TaskRows:
    """Rows of one task as token ids, with what made them."""

    task: str
    """CoLA or QQP."""
    source: str
    """Where the rows come from, in words."""
    prompt: Prompt
    """The prompt, for the tokenizer at hand."""
    inputs: list[str]
    """The rows' input texts."""
    suffixes: list[list[int]]
    """The rows' own token ids."""
    targets: list[int]
    """The number of each row's right label."""

    @property
    def dataset(self) -> EncodedDataset:
        """The rows as the runner takes them."""
        return EncodedDataset(self.prompt, self.suffixes, self.targets)

    def lines(self, first: int, count: int) -> list[list[int]]:
        """Whole prompts, prefix and suffix, of `count` rows."""
        return [[*self.prompt.prefix, *suffix] for suffix in self.suffixes[first : first + count]]

    def useful_tokens(self, first: int, count: int) -> int:
        """Tokens that a step over `count` rows cannot do without: the prefix once, and each row's own."""
        return len(self.prompt.prefix) + sum(map(len, self.suffixes[first : first + count]))


def load_recipe(task: str) -> Any:
    """A task's recipe, unchanged."""
    return load_recipes([TASKS[task][0]])[0].recipe


def load_inputs(task: str, demo: bool = False) -> tuple[list[str], list[str], str, str]:
    """Inputs, labels, instruction and source of a task's training rows; `demo` takes the demo's whatever is there."""
    _, demo_name = TASKS[task]
    exam_file = EXAM / "data" / "questionBData" / task / f"{task}_train.tsv"
    real = exam_file.is_file() and not demo
    data = ROOT / "recipes" / "demo" / "data" / "questionBData"
    path = exam_file if real else data / demo_name / f"{demo_name}_train.tsv"
    recipe = load_recipe(task)
    table = open_table(
        path, path.name, Wanted((tuple(recipe.task.columns),), (), recipe.task.header, recipe.task.quoting)
    )
    inputs, labels = [], []
    for row in table.rows():
        if not row.problem:
            fields = dict(zip(table.columns, row.fields))
            labels.append(fields[recipe.task.label])
            inputs.append(recipe.task.input.format(**fields))
    return inputs, labels, recipe.instruction, f"{path.name}, {'the real rows' if real else 'generated'}"


def load_rows(
    task: str, tokenizer: Any = None, instruction_tokens: Optional[int] = None, count: int = 1024, demo: bool = False
) -> TaskRows:
    """`count` rows of a task, drawn in a fixed order. `tokenizer`: None takes the toy one. `instruction_tokens`: the
    instruction is made exactly that long; None leaves the recipe's."""
    inputs, labels, instruction, source = load_inputs(task, demo)
    if (
        tokenizer is None
    ):  # generated rows have a hundred words: without the instruction's its prefix would fall to letters
        tokenizer = toy_tokenizer(inputs + [instruction] * (100 if source.endswith("generated") else 0))
    names = tuple(sorted(set(labels)))
    prompt = build_prompt(PromptShape(max_length=4096), instruction, names, tokenizer)
    if instruction_tokens is not None:
        prompt = dataclasses.replace(prompt, prefix=_stretched(prompt, instruction, instruction_tokens))
    # the same rows for every tokenizer, length and machine: the order of their hashes
    order = sorted(range(len(inputs)), key=lambda row: hashlib.sha256(f"{row} {inputs[row]}".encode()).digest())[:count]
    records = [{"instruction": prompt.instruction, "input": inputs[row], "output": labels[row]} for row in order]
    encoded = encode_records(prompt, records, task)
    return TaskRows(task, source, prompt, [inputs[row] for row in order], encoded.suffixes, list(encoded.targets))


def _stretched(prompt: Prompt, instruction: str, wanted: int) -> tuple[int, ...]:
    """The prefix with an instruction of `wanted` tokens, cut or lengthened, with the text around it unchanged."""
    bos = prompt.prefix[:1]
    ids = encode_text(prompt.tokenizer, instruction + FILLER * (1 + wanted // 40))[:wanted]
    return (*bos, *ids, prompt.prefix[-1])


def toy_tokenizer(texts: Sequence[str], pieces: int = 6000) -> Any:
    """A BPE tokenizer with Gemma's id layout and about its granularity on these texts: digits and punctuation apart, the
    space with the word after it. Trained once and kept in the temporary folder."""
    import tokenizers
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    key = hashlib.sha256("\n".join([tokenizers.__version__, str(pieces), *texts]).encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / "labeltune-benchmarks" / f"toy-{key}.json"
    if not path.is_file():
        made = Tokenizer(models.BPE(unk_token="<unk>"))
        made.normalizer = normalizers.Replace(" ", "▁")
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.Split("\n", "isolated"),
                pre_tokenizers.Split(Regex("▁?[^▁\\p{P}]+|\\p{P}"), "isolated"),
            ]
        )
        made.decoder = decoders.Replace("▁", " ")
        alphabet = [chr(code) for code in range(33, 127)] + ["▁", "\n"]
        trainer = trainers.BpeTrainer(
            vocab_size=pieces, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
        made.train_from_iterator(texts, trainer)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f".{os.getpid()}")
        made.save(str(aside))
        aside.replace(path)
    return PreTrainedTokenizerFast(
        tokenizer_file=str(path), pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>"
    )


@dataclass(frozen=True)
class Shape:
    """A model to measure on: random weights in a real shape, or a folder."""

    about: str
    """What it is, in words."""
    family: str = ""
    """Prefix of the classes in transformers: `Gemma`, `Llama`."""
    keys: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Keys of its configuration, but for the number of layers."""
    layers: int = 2
    """Layers of the slice that is measured by default."""
    whole: int = 18
    """Layers of the whole model, to which times are extrapolated."""
    folder: Optional[Path] = None
    """Where a real model lies; its own tokenizer goes with it."""
    demo: bool = False
    """Whether its tokenizer knows only the demo's rows."""
    lora: Mapping[str, Any] = dataclasses.field(default_factory=lambda: LORA)
    """The adapter: PEFT's keys."""
    base: bool = False
    """Whether it is a real base, which is measured as the recipes would train it."""


SHAPES: dict[str, Shape] = {
    "gemma-2b": Shape(
        "gemma-2b's shape, random weights",
        "Gemma",
        {"vocab_size": 256000, "hidden_size": 2048, "intermediate_size": 16384, "num_attention_heads": 8,
         "num_key_value_heads": 1, "head_dim": 256, "hidden_act": "gelu_pytorch_tanh", "max_position_embeddings": 8192},
    ),
    "llama-1b": Shape(
        "Llama-3.2-1B's shape, random weights",
        "Llama",
        {"vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32,
         "num_key_value_heads": 8, "head_dim": 64, "max_position_embeddings": 8192, "tie_word_embeddings": True,
         "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1},
        whole=16,
    ),
    "demo": Shape("the demo's base", folder=ROOT / "recipes" / "demo" / "base", demo=True, layers=4, whole=4),
    "stories3M": Shape("stories3M, a small real Llama", folder=MODELS / "stories3M", layers=6, whole=6),
}  # fmt: skip
"""Every model by its name on the command line; `add_base` adds to them."""


def add_base(folder: Path) -> str:
    """Adds the base in `folder` to `SHAPES` and returns its name. Its adapter is the recipes' (CoLA's; QQP's is the same), but
    without dropout: losses and gradients are to be compared."""
    folder = folder.resolve()
    keys = {key: value for key, value in dataclasses.asdict(load_recipe("CoLA").lora).items() if value is not None}
    layers = json.loads((folder / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"]
    lora = {**keys, "lora_dropout": 0.0}
    SHAPES[folder.name] = Shape("a real base", folder=folder, layers=layers, whole=layers, lora=lora, base=True)
    return folder.name


def there(name: str) -> bool:
    """Whether a model can be had: random ones always."""
    folder = SHAPES[name].folder
    return folder is None or (folder / "config.json").is_file()


def load_shape(
    name: str, layers: Optional[int] = None, precision: str = "fp32", vocabulary: Optional[int] = None
) -> Any:
    """The model, frozen, in evaluation mode, with `layers` layers where it is random. `vocabulary` makes a smaller head."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    shape, dtype = SHAPES[name], {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    if shape.folder is not None:
        from runner.model.compat import load_model

        return load_model(shape.folder, dtype).requires_grad_(False)
    keys = {**shape.keys, "num_hidden_layers": layers or shape.layers}
    if vocabulary:
        keys["vocab_size"] = vocabulary
    config = getattr(transformers, f"{shape.family}Config")(**keys)
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        model = getattr(transformers, f"{shape.family}ForCausalLM")(config)
    finally:
        torch.set_default_dtype(torch.float32)
    return model.eval().requires_grad_(False)


def load_tokenizer(name: str) -> Any:
    """A real model's own tokenizer; None for random models, whose rows take the toy one."""
    folder = SHAPES[name].folder
    if folder is None:
        return None
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def add_lora(model: Any, keys: Mapping[str, Any] = LORA) -> Any:
    """A PeftModel of it with a LoRA adapter in fp32 whose B is small but not zero, so that every gradient is alive.

    `keys`: PEFT's."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    made = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **keys))
    for label, parameter in made.named_parameters():
        if "lora_" in label:
            parameter.data = parameter.data.float()
            if "lora_B" in label:
                parameter.data.normal_(std=0.01)
    return made


@dataclass(frozen=True)
class Spread:
    """A median with its extremes."""

    median: float
    """The middle value."""
    low: float
    """The least."""
    high: float
    """The largest."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of measured values."""
        return cls(statistics.median(values), min(values), max(values))

    def show(self, unit: str = "", digits: int = 2) -> str:
        """For a table: `2.71 (2.65–2.80)`."""
        if self.low == self.high:
            return f"{self.median:.{digits}f}{unit}"
        return f"{self.median:.{digits}f}{unit} ({self.low:.{digits}f}–{self.high:.{digits}f})"

    def figures(self) -> dict[str, float]:
        """Plain values for JSON."""
        return {name: round(value, 5) for name, value in dataclasses.asdict(self).items()}


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Seconds of CPU that a call takes."""
    started = time.process_time()
    work()
    return time.process_time() - started


def take_turns(ways: Mapping[str, Callable[[], Any]], repeats: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Times of each way: `repeats` rounds in which every way runs once, the order turned round every other time."""
    names = list(ways)
    for _ in range(warm_up):
        for name in names:
            ways[name]()
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeats):
        for name in names if turn % 2 == 0 else names[::-1]:
            times[name].append(cpu_seconds(ways[name]))
    return times


def pair_ratios(slower: Sequence[float], faster: Sequence[float]) -> Spread:
    """How many times as long one way takes, pair by pair. The shorter list's last value serves for those it lacks."""
    count = max(len(slower), len(faster))
    return Spread.of([slower[min(n, len(slower) - 1)] / faster[min(n, len(faster) - 1)] for n in range(count)])


def print_table(title: str, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """A table for people."""
    widths = [max(len(str(line[column])) for line in [heads, *lines]) for column in range(len(heads))]
    print(f"\n{title}")
    for line in [heads, ["-" * width for width in widths], *lines]:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(line, widths)).rstrip())
    sys.stdout.flush()


def write_json(path: Optional[Path], benchmark: str, ratios: Mapping[str, Any], details: Any) -> None:
    """What `--json` asks for: `ratios` by name, with what they were measured on. Nothing without a path."""
    if path is None:
        return
    about = {"machine": platform.machine(), "python": platform.python_version(), "cpus": os.cpu_count()}
    for library in ("torch", "transformers", "peft", "trl", "lm_eval"):
        if library in sys.modules:
            about[library] = getattr(sys.modules[library], "__version__", "?")
    body = {"benchmark": benchmark, "about": about, "ratios": ratios, "details": details}
    path.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
