"""A fine-tune whose model answers in words: every file keeps the labels, and answers of several tokens are learned."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import DEV_ROWS, recipe_tree, write_recipe, write_tables
from safetensors.torch import load_file

from runner.commands.run import execute
from runner.errors import UserError
from runner.prediction.classifier import Classifier
from runner.recipe.loader import load_recipes
from runner.stages import STAGES

YES_NO = {"answers": {"0": " no", "1": " yes"}}
NEWS = ("World", "Sports", "Business", "Sci/Tech")
LEARNS = {"epochs": 8, "batch_size": 8, "learning_rate": 0.02}
LORA = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"}


def run(workspace: Path, base: Path, stages: Sequence[str] = tuple(STAGES), **changes: Any) -> None:
    execute(load_recipes([write_recipe(workspace, recipe_tree(base, **changes))]), workspace, stages)


def figures(workspace: Path) -> Any:
    return json.loads((workspace / "saved_model/tiny/manifest.json").read_text())["figures"]


def predictions(workspace: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workspace / "result/predictions_tiny.jsonl").read_text().splitlines()]


def trained_on(workspace: Path) -> Any:
    return json.loads((workspace / "saved_model/tiny/prompt.json").read_text())


def test_files_keep_the_labels_where_the_model_answers_in_words(workspace: Path, tiny_base: Path) -> None:
    run(workspace, tiny_base, prompt={"max_length": 64, **YES_NO})
    records = json.loads((workspace / "pre_data/tiny/tiny_train.json").read_text())
    assert {record["output"] for record in records} == {"0", "1"}
    assert trained_on(workspace)["answers"] == YES_NO["answers"]
    assert len(trained_on(workspace)["label_sequences"]) == 2
    found = predictions(workspace)
    assert {one["label"] for one in found} <= {"0", "1"}
    assert all(set(one["probabilities"]) == {"0", "1"} for one in found)
    assert (workspace / "result/result_tiny.txt").read_text().splitlines() == [one["label"] for one in found]
    with Classifier.load(workspace / "saved_model/tiny") as classifier:
        again = classifier.predict([row.split("\t")[1] for row in DEV_ROWS])
    for one, other in zip(again, found):
        assert one.label == other["label"]
        assert one.probabilities == pytest.approx(other["probabilities"], abs=1e-5)


def test_other_answers_are_another_prompt(workspace: Path, tiny_base: Path) -> None:
    words = {"max_length": 64, "answers": {"0": "a", "1": "b"}}
    run(workspace, tiny_base, ["prepare", "finetune"], prompt=words)
    assert "label_sequences" not in trained_on(workspace)
    with pytest.raises(UserError, match="the finetune stage was run with another recipe"):
        run(workspace, tiny_base, ["predict"])
    path = workspace / "saved_model/tiny/prompt.json"
    saved = trained_on(workspace)
    path.write_text(json.dumps({name: value for name, value in saved.items() if name != "answers"}))
    with pytest.raises(UserError, match=r"(?s)another prompt\n.*label_ids: trained with "):
        Classifier.load(workspace / "saved_model/tiny")


def test_an_adapter_saved_before_there_were_answers_is_loaded(workspace: Path, tiny_base: Path) -> None:
    run(workspace, tiny_base)
    older = ["instruction", "label_ids", "labels", "max_length", "prefix", "tail", "template", "tokenizer_digest"]
    assert sorted(trained_on(workspace)) == older, "as version 1 wrote it"
    with Classifier.load(workspace / "saved_model/tiny") as classifier:
        assert classifier.prompt.answers == ("0", "1")


def write_news(workspace: Path) -> list[str]:
    """Texts whose letter gives the label; the dev rows' labels."""
    labels = [NEWS[number % 4] for number in range(160)]
    texts = ["wsbt"[NEWS.index(label)] * 3 + f" {number}" for number, label in enumerate(labels)]
    write_tables(
        workspace,
        [f"{number}\t{label}\t{text}" for number, (label, text) in enumerate(zip(labels, texts))],
        [f"{number}\t{text}" for number, text in enumerate(texts[:20])],
    )
    return labels[:20]


NEWS_RECIPE = {"task": {"labels": list(NEWS)}, "samples": {"train": 120, "holdout": 40, "dev": 20}, "lora": LORA}


@pytest.mark.parametrize("loss", ["vocabulary", "labels"])
@pytest.mark.parametrize("batch", [1, 8])
def test_labels_of_several_tokens_are_learned(tmp_path: Path, tiny_base: Path, loss: str, batch: int) -> None:
    right = write_news(tmp_path)
    decoding = {"kind": "label", "batch": batch}
    run(tmp_path, tiny_base, train={**LEARNS, "loss": loss}, decoding=decoding, **NEWS_RECIPE)
    found = figures(tmp_path)
    assert found["layout"] == "packed"
    assert found["tuned"]["accuracy"] > 0.9 > found["untuned"]["accuracy"]
    assert (tmp_path / "result/result_tiny.txt").read_text().splitlines() == right


def test_generated_words_are_read_as_labels(tmp_path: Path, tiny_base: Path) -> None:
    right = write_news(tmp_path)
    # as long as what is generated: nothing follows them
    words = {"World": " globe", "Sports": " games", "Business": " trade", "Sci/Tech": " atoms"}
    changes = {**NEWS_RECIPE, "prompt": {"max_length": 64, "answers": words}, "train": LEARNS}
    with pytest.raises(UserError) as error:
        run(tmp_path, tiny_base, decoding={"kind": "generate"}, **changes)
    assert str(error.value) == (
        "decoding.max_new_tokens = 4 cuts an answer that has 5 tokens\n  next: set decoding.max_new_tokens: 5"
    )
    run(tmp_path, tiny_base, **changes)
    scored = predictions(tmp_path)
    run(tmp_path, tiny_base, decoding={"kind": "generate", "max_new_tokens": 5}, **changes)
    found = predictions(tmp_path)
    for one, other, label in zip(found, scored, right):
        assert one["label"] == other["label"] == label
        assert one["text"].startswith(words[label].strip())
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_frozen_layers_and_layouts_give_the_same_adapter(workspace: Path, tiny_base: Path, layout: str) -> None:
    upper = {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1]}
    found = []
    for train in ({"layout": "padded"}, {"layout": layout, "cache_frozen_layers": True}):
        run(
            workspace,
            tiny_base,
            ["prepare", "finetune"],
            lora=upper,
            prompt={"max_length": 64, **YES_NO},
            train={"epochs": 2, **train},
        )
        found.append(load_file(workspace / "saved_model/tiny/adapter_model.safetensors"))
    whole, stored = found
    assert whole.keys() == stored.keys()
    assert max((whole[name] - stored[name]).abs().max().item() for name in whole) < 2e-5
