"""Predictions: one line per dev row, in order, by the saved adapter and the prompt it was trained with."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import DEV_ROWS, recipe_tree, write_recipe
from safetensors.torch import load_file, save_file

from runner.commands.run import execute
from runner.errors import UserError
from runner.model.adapter import saved_adapter
from runner.model.base import load_base
from runner.prediction.decoders import finite, parse_answer
from runner.recipe.loader import load_recipes
from runner.scoring.scorer import LabelScorer
from runner.stages import STAGES


def run(workspace: Path, base: Path, stages: tuple[str, ...] = STAGES, **changes: Any) -> None:
    changes = {"train": {"epochs": 1}, **changes}
    execute(load_recipes([write_recipe(workspace, recipe_tree(base, **changes))]), workspace, stages)


def predictions(workspace: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workspace / "result/predictions_tiny.jsonl").read_text().splitlines()]


def test_line_i_answers_row_i_with_its_probabilities(workspace: Path, tiny_base: Path) -> None:
    run(workspace, tiny_base)
    labels = (workspace / "result/result_tiny.txt").read_text().splitlines()
    found = predictions(workspace)
    assert [one["row"] for one in found] == list(range(1, len(DEV_ROWS) + 1))
    assert [one["label"] for one in found] == labels
    for one in found:
        assert sum(one["probabilities"].values()) == pytest.approx(1)
        assert one["label"] == max(one["probabilities"], key=one["probabilities"].get)


def test_a_row_is_answered_alike_wherever_it_stands(workspace: Path, tiny_base: Path) -> None:
    run(workspace, tiny_base)
    forward = predictions(workspace)
    (workspace / "data/tiny_dev.tsv").write_text("".join(f"{row}\n" for row in reversed(DEV_ROWS)))
    run(workspace, tiny_base, ("prepare", "predict"))
    backward = predictions(workspace)
    assert [one["probabilities"] for one in forward] == [one["probabilities"] for one in reversed(backward)]


def test_another_prompt_than_the_trained_one_is_refused_with_both_shown(workspace: Path, tiny_base: Path) -> None:
    run(workspace, tiny_base)
    before = (workspace / "result/result_tiny.txt").read_bytes()
    manifest = workspace / "saved_model/tiny/manifest.json"
    tree = recipe_tree(tiny_base, train={"epochs": 1}, prompt={"template": "{instruction}\n{input}\nIs:"})
    other = load_recipes([write_recipe(workspace, tree)])[0].recipe.digest(*STAGES["finetune"].recipe_keys)
    changed = json.loads(manifest.read_text())
    changed["inputs"]["recipe"] = other  # an adapter from elsewhere, say: the prompt beside it is what counts
    manifest.write_text(json.dumps(changed))
    with pytest.raises(UserError) as error:
        run(workspace, tiny_base, ("predict",), prompt={"template": "{instruction}\n{input}\nIs:"})
    assert "template: trained with '{instruction}\\n{input}\\nAnswer:'" in str(error.value)
    assert "now '{instruction}\\n{input}\\nIs:'" in str(error.value)
    assert (workspace / "result/result_tiny.txt").read_bytes() == before


def test_predicting_without_an_adapter_says_what_to_run(workspace: Path, tiny_base: Path) -> None:
    with pytest.raises(UserError, match="tiny: the finetune stage has not finished"):
        run(workspace, tiny_base, ("prepare", "predict"))


def test_a_stage_is_not_run_over_what_another_recipe_left(workspace: Path, tiny_base: Path) -> None:
    run(workspace, tiny_base)
    with pytest.raises(
        UserError, match="tiny: the prepare stage was run with another recipe: one of task, instruction, samples"
    ):
        run(workspace, tiny_base, ("finetune", "predict"), samples={"train": 8})
    with pytest.raises(UserError, match="tiny: the finetune stage was run with another recipe"):
        run(workspace, tiny_base, ("predict",), lora={"r": 7})


def test_another_base_than_the_adapters_is_refused(workspace: Path, tiny_base: Path, tmp_path: Path) -> None:
    run(workspace, tiny_base)
    other = tmp_path / "other"
    shutil.copytree(tiny_base, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))
    with pytest.raises(UserError, match="the adapter was trained on another base than"):
        run(workspace, other, ("predict",))


@pytest.mark.parametrize("damage", ["renamed", "cut", "config"])
def test_an_adapter_that_does_not_fit_is_refused(workspace: Path, tiny_base: Path, damage: str) -> None:
    run(workspace, tiny_base)
    path = workspace / "saved_model/tiny/adapter_model.safetensors"
    if damage == "renamed":
        save_file({name.replace("self_attn", "attn_self"): value for name, value in load_file(path).items()}, path)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        (workspace / "saved_model/tiny/adapter_config.json").write_text("[]")
    with pytest.raises(UserError, match="is not what the finetune stage wrote"):
        run(workspace, tiny_base, ("predict",))
    base = load_base(tiny_base, "fp32", torch.device("cpu"))
    refused = pytest.raises(UserError, match=r"the adapter in .* does not (fit|load)")
    with refused, saved_adapter(base, workspace / "saved_model/tiny"):
        pass


def test_a_generation_config_of_the_base_changes_nothing(workspace: Path, tiny_base: Path, tmp_path: Path) -> None:
    found = []
    for name, settings in (("plain", {}), ("beams", {"num_beams": 3, "repetition_penalty": 5.0, "do_sample": True})):
        base = tmp_path / name
        shutil.copytree(tiny_base, base)
        (base / "generation_config.json").write_text(json.dumps({"eos_token_id": 1, "bos_token_id": 2, **settings}))
        run(workspace, base, decoding={"kind": "generate"})
        found.append([{**one, "row": 0} for one in predictions(workspace)])
    assert found[0] == found[1]


def test_a_blank_field_is_answered_for_itself_in_bulk_too(workspace: Path, tiny_base: Path) -> None:
    (workspace / "data/tiny_dev.tsv").write_text("0\tabc\n1\t\n2\txyz\n3\t\n4\tab\n")
    run(workspace, tiny_base)
    one = [one["probabilities"] for one in predictions(workspace)]
    run(workspace, tiny_base, decoding={"kind": "label", "batch": 4})
    for alone, together in zip(one, predictions(workspace)):
        assert together["probabilities"] == pytest.approx(alone, abs=1e-5)


def test_generated_answers_without_a_label_are_counted_and_shown(
    workspace: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(
        workspace,
        tiny_base,
        train={"learning_rate": 1e-9, "epochs": 1},
        decoding={"kind": "generate", "max_new_tokens": 3},
    )
    out = capsys.readouterr().out  # an untrained random model answers with rubbish
    lines = (workspace / "result/result_tiny.txt").read_text().splitlines()
    assert len(lines) == len(DEV_ROWS)
    assert "?" in lines
    assert f"{lines.count('?')} of {len(lines)} answers are not labels" in out
    for line, one in zip(lines, predictions(workspace)):
        assert one["label"] == line
        assert (parse_answer(one["text"], ("0", "1")) or "?") == line
        assert set(one["probabilities"]) == {"0", "1"}


def test_generation_and_label_scoring_see_the_same_logits(workspace: Path, tiny_base: Path) -> None:
    run(workspace, tiny_base)
    scored = predictions(workspace)
    run(workspace, tiny_base, ("predict",), decoding={"kind": "generate"})
    for one, other in zip(scored, predictions(workspace)):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)


@pytest.mark.parametrize("decoding", [{"kind": "label"}, {"kind": "label", "batch": 2}, {"kind": "generate"}], ids=str)
def test_an_adapter_with_nan_gives_no_answer(workspace: Path, tiny_base: Path, decoding: Any) -> None:
    run(workspace, tiny_base)
    before = (workspace / "result/result_tiny.txt").read_bytes()
    folder = workspace / "saved_model/tiny"
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({name: weight * float("nan") for name, weight in weights.items()}, folder / "adapter_model.safetensors")
    manifest = json.loads((folder / "manifest.json").read_text())
    data = (folder / "adapter_model.safetensors").read_bytes()
    manifest["outputs"]["saved_model/tiny/adapter_model.safetensors"] = hashlib.sha256(data).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"not finite|NaN"):
        run(workspace, tiny_base, ("predict",), decoding=decoding)
    assert (workspace / "result/result_tiny.txt").read_bytes() == before


def test_logits_of_one_row_that_are_not_finite_are_named() -> None:
    assert finite(torch.tensor([0.0, 1.0]), "dev row 3").tolist() == [0.0, 1.0]
    with pytest.raises(UserError, match=r"dev row 3: the model's logits are not finite"):
        finite(torch.tensor([float("nan"), 0.0]), "dev row 3")


def test_a_batch_that_does_not_fit_is_predicted_in_parts(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, calls, last = LabelScorer.forward, [0], [-1]

    def full(scorer: LabelScorer, batch: Any) -> Any:
        calls[0] += len(batch.rows) == 4
        # the calls before are the proof's
        if calls[0] == last[0]:
            last[0] = 0
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(scorer, batch)

    run(workspace, tiny_base)
    monkeypatch.setattr(LabelScorer, "forward", full)
    run(workspace, tiny_base, ("predict",), decoding={"batch": 4})
    whole = predictions(workspace)
    calls[0], last[0] = 0, calls[0]
    execute(load_recipes([workspace / "tiny.yaml"]), workspace, ("predict",), fresh=True)
    assert "WARNING: out of memory in prediction: computing 2 rows at once from now on\n" in capsys.readouterr().out
    for one, other in zip(whole, predictions(workspace)):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("1", "1"),
        (" 0", "0"),
        ("\n1\n", "1"),
        ("1.", "1"),
        ("0, because", "0"),
        ("10", None),
        ("1a", None),
        ("yes", None),
        ("", None),
        ("x 1", None),
    ],
)
def test_an_answer_is_a_label_only_if_it_begins_with_one(text: str, label: Any) -> None:
    assert parse_answer(text, ("0", "1")) == label


def test_labels_that_begin_alike_are_parsed_longest_first() -> None:
    assert parse_answer(" not_entailed", ("not", "not_entailed")) == "not_entailed"
