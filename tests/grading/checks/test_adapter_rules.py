"""The adapter's configuration against PEFT's rules: what PEFT cannot use loses points, what it takes loses none."""

import json
import struct
import warnings

import pytest
from support import submissions
from support.submissions.defects import WEIGHTS, A, B, with_config, with_tensors

from grading.checks.adapter_config import ConfigError, parse_config
from grading.checks.answer_key import read_keys
from grading.checks.base_shapes import BaseShapes
from grading.grader import OpenExam
from grading.submission.folder import Submission


def verdicts(folder, build, base=None):
    submissions.write_submission(folder / "submission")
    build(folder / "submission")
    keys = tuple(read_keys(submissions.write_answers(folder / "answers")))
    report = OpenExam(keys, base).grade(Submission(folder / "submission"))
    return {verdict.check: verdict for part in report.datasets[0].parts for verdict in part.verdicts}


ALPHA, ALPHAS = "a number from 0.001 to 65,536", "an object of numbers from 0.001 to 65,536"
NAMES, LAYERS = "a list of names or a string", "a whole number >= 0 or a list of them"

UNUSABLE = [
    ({"lora_alpha": 0}, f"lora_alpha 0, expected {ALPHA}"),
    ({"lora_alpha": "four"}, f"lora_alpha 'four', expected {ALPHA}"),
    ({"lora_alpha": 1e308}, f"lora_alpha 1e+308, expected {ALPHA}"),
    ({"lora_alpha": 1e-300}, f"lora_alpha 1e-300, expected {ALPHA}"),
    ({"lora_alpha": 10**39}, f"lora_alpha {10**39}, expected {ALPHA}"),
    ({"lora_alpha": -16}, f"lora_alpha -16, expected {ALPHA}"),
    ({"lora_alpha": None}, f"lora_alpha None, expected {ALPHA}"),
    ({"lora_alpha": True}, f"lora_alpha True, expected {ALPHA}"),
    ({"lora_alpha": [16]}, f"lora_alpha [16], expected {ALPHA}"),
    ({"alpha_pattern": {"q_proj": 0}}, f"alpha_pattern {{'q_proj': 0}}, expected {ALPHAS}"),
    ({"alpha_pattern": {"q_proj": "x"}}, f"alpha_pattern {{'q_proj': 'x'}}, expected {ALPHAS}"),
    ({"alpha_pattern": []}, f"alpha_pattern [], expected {ALPHAS}"),
    ({"alpha_pattern": None}, f"alpha_pattern None, expected {ALPHAS}"),
    ({"r": 10**9, "rank_pattern": {"q_proj": 2, "v_proj": 2}}, "rank 1000000000, more than 16,384"),
    ({"r": 2.0}, "r 2.0, expected a whole number > 0"),
    ({"rank_pattern": {"o_proj": 10**30}}, f"rank {10**30}, more than 16,384"),
    ({"rank_pattern": {"o_proj": 0}}, "rank_pattern {'o_proj': 0}, expected an object of whole numbers > 0"),
    ({"rank_pattern": None}, "rank_pattern None, expected an object of whole numbers > 0"),
    ({"lora_dropout": 2}, "lora_dropout 2, expected a number from 0 to 1"),
    ({"lora_dropout": "0.1"}, "lora_dropout '0.1', expected a number from 0 to 1"),
    ({"bias": "some"}, "bias 'some', expected none, all or lora_only"),
    ({"exclude_modules": 5}, f"exclude_modules 5, expected {NAMES}"),
    ({"modules_to_save": "score"}, "modules_to_save 'score', expected a list of names"),
    ({"layers_to_transform": ["0"]}, f"layers_to_transform ['0'], expected {LAYERS}"),
    ({"layers_to_transform": True}, f"layers_to_transform True, expected {LAYERS}"),
    ({"target_modules": ".*_proj", "layers_to_transform": [0]},
     "layers_to_transform [0], expected none beside a target_modules that is a string"),
    ({"target_modules": ["q_proj", 3]}, f"target_modules ['q_proj', 3], expected {NAMES}"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), UNUSABLE, ids=[json.dumps(row[0])[:60] for row in UNUSABLE])
def test_what_peft_cannot_use(tmp_path, changes, words):
    found = verdicts(tmp_path, with_config(**changes))
    assert found["config format"].share == 0
    assert found["config format"].reason == f"saved_model/QQP/adapter_config.json has {words}"


USABLE = [
    {"lora_alpha": 0.5},
    {"lora_alpha": 1024},
    {"alpha_pattern": {"q_proj": 8}, "rank_pattern": {}},
    {"rank_pattern": {"layers.7.mlp.up_proj": 64}},
    {"r": 8, "rank_pattern": {"q_proj": 2, "self_attn.v_proj": 2}},
    {"r": 8, "rank_pattern": {".*_proj": 2}},
    {"target_modules": ["q_proj", "v_proj", "qkv_proj"]},
    {"target_modules": ["q_proj", "v_proj", "o_proj"], "exclude_modules": ["o_proj"]},
    {"target_modules": ["q_proj", "v_proj", "mlp.up_proj"], "exclude_modules": ["up_proj"]},
    {"exclude_modules": "vision.*"},
    {"exclude_modules": []},
    {"target_modules": "all-linear"},
    {"target_modules": r".*\.(q|v)_proj"},
    {"layers_to_transform": [0, 1]},
    {"layers_to_transform": 0, "layers_pattern": "layers"},
    {"layers_to_transform": []},
    {"modules_to_save": ["score"]},
    {"modules_to_save": None, "exclude_modules": None, "layers_to_transform": None, "layers_pattern": None},
    {"target_parameters": ["mlp.experts.gate_up_proj"], "target_modules": None},
    {"lora_dropout": 0.05, "bias": "lora_only", "use_rslora": True},
]


@pytest.mark.parametrize("changes", USABLE, ids=[json.dumps(row)[:60] for row in USABLE])
def test_what_peft_takes(tmp_path, changes):
    found = verdicts(tmp_path, with_config(**changes))
    assert {name: verdict.share for name, verdict in found.items()} == dict.fromkeys(found, 1)


def test_a_missing_alpha_is_pefts_own(tmp_path):
    config = submissions.adapter_config()
    del config["lora_alpha"]
    assert parse_config(json.dumps(config).encode()).rank == submissions.RANK


def test_targets_without_a_pair_are_named(tmp_path):
    found = verdicts(tmp_path, with_config(target_modules=["q_proj", "v_proj", "qkv_proj"]))
    assert found["weights format"].reason.endswith("; target_modules without a pair: ['qkv_proj']")


def test_a_target_that_the_base_has_needs_its_pair(tmp_path):
    base = BaseShapes(1, {"q_proj": (3, 4), "v_proj": (3, 4), "o_proj": (4, 3)})
    targets = ["q_proj", "v_proj", "o_proj"]
    found = verdicts(tmp_path / "1", with_config(target_modules=targets), base)["weights format"]
    assert (found.share, found.reason) == (0, f"{WEIGHTS}: no pair for 'o_proj' of target_modules")
    found = verdicts(tmp_path / "2", with_config(target_modules=targets, exclude_modules=["o_proj"]), base)
    assert found["weights format"].share == 1
    found = verdicts(tmp_path / "3", with_config(target_modules=["q_proj", "v_proj", "c_attn"]), base)
    assert found["weights format"].share == 1


STEM = "base_model.model.model.layers.0.self_attn"

NOT_MEANT = [
    ({"exclude_modules": ["v_proj"]}, f"'{STEM}.v_proj' is excluded by exclude_modules"),
    ({"exclude_modules": ["self_attn.q_proj"]}, f"'{STEM}.q_proj' is excluded by exclude_modules"),
    ({"layers_to_transform": [1, 2]}, f"'{STEM}.q_proj' is in no layer of layers_to_transform"),
    ({"layers_to_transform": 3}, f"'{STEM}.q_proj' is in no layer of layers_to_transform"),
]


@pytest.mark.parametrize(("changes", "words"), NOT_MEANT, ids=[json.dumps(row[0]) for row in NOT_MEANT])
def test_pairs_that_peft_would_not_make(tmp_path, changes, words):
    found = verdicts(tmp_path, with_config(**changes))["weights format"]
    assert (found.share, found.reason) == (0, f"{WEIGHTS}: {words}")


def shaped(a, b):
    def change(tensors):
        for name in list(tensors):
            del tensors[name]
        for module in ("q_proj", "v_proj"):
            for side, shape in (("A", a), ("B", b)):
                size = 1
                for each in shape:
                    size *= each
                name = f"base_model.model.block.{module}.lora_{side}.weight"
                tensors[name] = submissions.floats(shape, [0.5] * size)

    return change


@pytest.mark.parametrize(("a", "b"), [([2, 3, 1], [4, 2, 1]), ([2, 3], [4, 2, 1]), ([2, 3, 3, 3], [4, 2, 3, 3])])
def test_shapes_of_no_layer(tmp_path, a, b):
    found = verdicts(tmp_path, with_tensors(shaped(a, b)))["weights format"]
    assert found.share == 0
    assert "expected two dimensions, or those of a convolution" in found.reason


def test_convolutions_are_layers_too(tmp_path):
    def change(tensors):
        for name, shape in (("A", [2, 3, 5, 5]), ("B", [4, 2, 1, 1])):
            count = 150 if name == "A" else 8
            tensors[f"base_model.model.vision.conv.lora_{name}.weight"] = submissions.floats(shape, [0.5] * count)

    both = with_config(target_modules=["q_proj", "v_proj", "conv"])
    found = verdicts(tmp_path, lambda folder: (both(folder), with_tensors(change)(folder)))
    assert found["weights format"].share == 1


def b_of(dtype, pack, values):
    """Every lora_B with these values first, and zeros after them."""
    data = b"".join(struct.pack(pack, value) for value in values)
    size = 64 * struct.calcsize(pack)

    def change(tensors):
        for name in list(tensors):
            if "lora_B" in name:
                tensors[name] = (dtype, [32, 2], data.ljust(size, b"\0"))

    return change


HARDLY = [
    ("F32", "<I", [1]),
    ("F32", "<I", [1] * 64),  # every value subnormal
    ("F64", "<Q", [1] * 64),
    ("BF16", "<H", [1] * 64),
    ("F32", "<f", [1e-20] * 64),
    ("F32", "<f", [1.0]),  # one value of 64
    ("F16", "<H", [1]),
    ("F32", "<I", [0x80000001] * 64),  # below zero
]


@pytest.mark.parametrize(("dtype", "pack", "values"), HARDLY)
def test_values_that_change_next_to_nothing(tmp_path, dtype, pack, values):
    found = verdicts(tmp_path, with_tensors(b_of(dtype, pack, values)))["weights trained"]
    assert found.share == 0
    assert "nearly every value of every lora_B is zero, or smaller than 1e-12" in found.reason


@pytest.mark.parametrize(
    ("dtype", "pack", "values"),
    [("F32", "<f", [1e-7] * 64), ("F16", "<H", [1] * 64), ("BF16", "<H", [0x3380] * 64), ("F32", "<f", [-1e-11] * 4)],
)
def test_small_values_are_trained_values(tmp_path, dtype, pack, values):
    assert verdicts(tmp_path, with_tensors(b_of(dtype, pack, values)))["weights trained"].share == 1


def test_an_embedding_trained_for_few_tokens(tmp_path):
    def change(tensors):
        tensors.clear()
        seen = [1e-4] + [0.0] * 999
        stem = "base_model.model.model.embed_tokens.lora_embedding"
        tensors[f"{stem}_A"] = submissions.floats([2, 1000], seen * 2)
        tensors[f"{stem}_B"] = submissions.floats([3, 2], [0.5] * 6)

    both = with_config(target_modules=["embed_tokens"])
    found = verdicts(tmp_path, lambda folder: (both(folder), with_tensors(change)(folder)))
    assert found["weights trained"].share == found["weights format"].share == 1


def test_names_of_tensors_are_found(tmp_path):
    """The tests above change the tensors that they mean to change."""
    assert {A, B} <= set(submissions.adapter_tensors())


QUICK = [r".*\.layers\.\d+\..*(q_proj|v_proj)", r".*\.(?:q|k|v|o)_proj", "q_proj", "model.layers.3.mlp"]
SLOW = [
    r"(a+)+$", r"(.*a){30}", r"(m|m)(o|o)(d|d)(e|e)(l|l)x", r"(.*)\1x", "a?" * 30 + "a" * 30, r"(?=(a+))x",
    ".*" * 5 + "x", "x" * 1001,
]  # fmt: skip


def test_expressions_that_may_take_very_long():
    def slow(**changes):
        return parse_config(json.dumps(submissions.adapter_config(**changes)).encode()).expressions

    for text in QUICK:
        assert slow(target_modules=text) == slow(rank_pattern={text: 2}) == ()
    for text in SLOW:
        assert slow(target_modules=text) == ("target_modules",)
        assert slow(exclude_modules=text) == ("exclude_modules",)
        assert slow(modules_to_save=[text, "x"]) == ("modules_to_save",)
        assert slow(rank_pattern={text: 2}, alpha_pattern={text: 2}) == ("rank_pattern", "alpha_pattern")
        assert slow(layers_to_transform=0, layers_pattern=text) == ("layers_pattern",)


def test_peft_agrees():
    """PEFT itself, on a small model: it fails on none of the configurations that are taken here."""
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")

    def model():
        layer = torch.nn.Module()
        layer.self_attn = torch.nn.ModuleDict({name: torch.nn.Linear(4, 4) for name in ("q_proj", "v_proj", "o_proj")})
        inner = torch.nn.Module()
        inner.layers = torch.nn.ModuleList([layer])
        outer = torch.nn.Module()
        outer.model = inner
        outer.score = torch.nn.Linear(4, 2)
        return outer

    def fails(changes):
        if not set(changes) <= set(peft.LoraConfig.__dataclass_fields__):
            return False  # an older PEFT, which drops what it does not know
        values = {**submissions.adapter_config(), **changes}
        del values["peft_type"]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = peft.PeftModel(model(), peft.LoraConfig(**values))
        except (ValueError, TypeError, AttributeError, RuntimeError, AssertionError):
            return True
        scales = [scale for module in made.modules() for scale in getattr(module, "scaling", {}).values()]
        return not all(0 < abs(scale) < float("inf") for scale in scales)

    usable = [changes for changes in USABLE if "target_parameters" not in changes]
    assert [changes for changes in usable if changes.get("target_modules") != "all-linear" and fails(changes)] == []
    # PEFT is laxer than the grader with numbers that make no sense, and stricter nowhere
    surely = [{"lora_alpha": 0}, {"lora_alpha": "four"}, {"lora_alpha": None}, {"alpha_pattern": None}, {"r": 2.0}]
    surely += [{"rank_pattern": None}, {"lora_dropout": 2}, {"lora_dropout": "0.1"}, {"bias": "some"}]
    assert [changes for changes in surely if not fails(changes)] == []
    for changes in surely:
        with pytest.raises(ConfigError):
            parse_config(json.dumps(submissions.adapter_config(**changes)).encode())
