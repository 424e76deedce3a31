"""The Python API: its names, what it loads, and the example of the README."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DEV_ROWS, ROOT, recipe_tree, write_recipe

import labeltune

NAMES = [
    "Asker",
    "Classifier",
    "CouldNotGrade",
    "FileProblem",
    "Prediction",
    "RunResult",
    "UserError",
    "__version__",
    "grade",
    "load_recipe",
    "run",
]


def test_the_exported_names() -> None:
    assert labeltune.__all__ == NAMES == dir(labeltune)
    assert all(getattr(labeltune, name) is not None for name in NAMES)
    with pytest.raises(AttributeError, match="no attribute 'fit'"):
        labeltune.fit  # noqa: B018


def test_importing_it_and_loading_a_recipe_load_nothing_heavy() -> None:
    code = (
        "import sys, labeltune; labeltune.load_recipe('recipes/qqp.yaml', 'train.epochs=1'); labeltune.run\n"
        "assert not {'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A workspace with a finished run, by the API, and an answer key."""
    from conftest import write_tables

    workspace = write_tables(tmp_path_factory.mktemp("api"))
    recipe = labeltune.load_recipe(write_recipe(workspace, recipe_tree(tiny_base)), "train.epochs=2")
    labeltune.run(recipe, workspace=workspace)
    (workspace / "keys").mkdir()
    (workspace / "keys/result_tiny_5.txt").write_text("1\n0\n1\n0\n1\n")
    return workspace


def test_a_run_gives_its_metrics_and_history(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = labeltune.load_recipe(finished / "tiny.yaml", "train.epochs=2")
    run = labeltune.run(recipe, workspace=finished)
    assert capsys.readouterr().out == "", "a library prints nothing"
    assert run.dataset == "tiny"
    assert run.tuned is not None
    assert run.untuned is not None
    assert 0 <= run.tuned.accuracy <= 1
    assert run.majority == 0.5
    assert sum(run.tuned.predicted_counts.values()) == 4
    epochs = [row for row in run.history if "holdout_accuracy" in row]
    assert [row["epoch"] for row in epochs] == [1, 2]
    assert run.tuned.accuracy == max(row["holdout_accuracy"] for row in epochs)
    assert run.evaluation is not None
    written = json.loads((run.adapter / "evaluation.json").read_text())
    assert {**written, "seconds": run.evaluation["seconds"]} == run.evaluation
    assert run.evaluation["expected_points"]["rows"] == len(DEV_ROWS)
    assert run.statistics["predict"]["rows"] == len(DEV_ROWS)
    assert (run.adapter / "adapter_model.safetensors").exists()


def test_a_classifier_predicts_as_the_run_did(finished: Path) -> None:
    rows = [json.loads(line) for line in (finished / "result/predictions_tiny.jsonl").read_text().splitlines()]
    texts = [row.split("\t")[1] for row in DEV_ROWS]
    with labeltune.Classifier.load(finished / "saved_model/tiny") as classifier:
        for size in (1, 3):
            found = classifier.predict(texts, batch_size=size)
            assert [each.label for each in found] == [row["label"] for row in rows]
            for each, row in zip(found, rows):
                assert each.probabilities == pytest.approx(row["probabilities"], abs=1e-5)
        logits = classifier.label_logits(texts)
        assert logits.shape == (len(texts), 2)
        assert logits.softmax(1)[0].tolist() == pytest.approx(list(rows[0]["probabilities"].values()), abs=1e-5)
        assert classifier.predict(text for text in texts) == classifier.predict(texts)
        assert classifier.predict([]) == []
        assert classifier.label_logits([]).shape == (0, 2)
        for wrong, message in (
            ((["x" * 100],), r"texts: 1 record is longer than prompt\.max_length = 64 tokens"),
            (
                (["x" * 1000],),
                r"longer than prompt\.max_length = 64 tokens, the longest .*\n  next: shorten the text, or",
            ),
            (("ab",), r"expected a list of texts, found 'ab'\n  next: write predict\(\[text\]\)"),
            (([1],), "expected a list of texts"),
            ((None,), "expected a list of texts, found None"),
            ((texts, 0), "batch_size: expected a whole number, 1 or more, found 0"),
            ((texts, "2"), "batch_size: expected a whole number, 1 or more, found '2'"),
        ):
            with pytest.raises(labeltune.UserError, match=message):
                classifier.predict(*wrong)
        with pytest.raises(labeltune.UserError, match="is in use: another adapter is in it"):
            labeltune.Classifier(classifier.base, classifier.prompt, finished / "saved_model/tiny")
        assert [each.label for each in classifier.predict(texts)] == [row["label"] for row in rows]
    with pytest.raises(labeltune.UserError, match="this classifier is closed"):
        classifier.predict(texts)


def test_a_classifier_proves_its_way_once(finished: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In bf16 too, where nothing is proved without the shallow copy; again only for texts longer than before."""
    import torch

    caplog.set_level("INFO")
    calls: list[int] = []
    with labeltune.Classifier.load(finished / "saved_model/tiny") as classifier:
        classifier.base.model.to(torch.bfloat16)
        embedding = classifier.base.model.get_input_embeddings()
        hook = embedding.register_forward_hook(lambda *_: calls.append(1))
        computed = []
        for text in ("ab", "ba", "ab word and more", "ab"):
            calls.clear()
            classifier.predict([text])
            computed.append(len(calls))
        hook.remove()
    assert computed[1] == computed[3] == 1
    assert computed[0] > 1
    assert computed[2] > 1
    assert not caplog.messages, "padded rows were not needed"


def test_a_classifier_that_cannot_be_loaded_says_why(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(labeltune.UserError, match=r"classifier\.json: cannot be read"):
        labeltune.Classifier.load(tmp_path)
    (tmp_path / "classifier.json").write_text('{"base": "x", "folder": "x", "too_long": "error"}')
    with pytest.raises(labeltune.UserError, match=r"classifier\.json: cannot be read \(precision is missing\)"):
        labeltune.Classifier.load(tmp_path)
    with pytest.raises(labeltune.UserError, match="device: 'gpu' is not a device"):
        labeltune.Classifier.load(finished / "saved_model/tiny", device="gpu")
    with pytest.raises(labeltune.UserError, match="no such folder"):
        labeltune.run(labeltune.load_recipe(finished / "tiny.yaml"), workspace=tmp_path / "nowhere")
    with pytest.raises(labeltune.UserError, match="'fit' is not a stage"):
        labeltune.run(labeltune.load_recipe(finished / "tiny.yaml"), workspace=finished, stages=["fit"])
    with pytest.raises(
        labeltune.UserError, match=r"recipe: expected a loaded recipe, found 'tiny\.yaml'\n  next: write run"
    ):
        labeltune.run("tiny.yaml", workspace=finished)  # type: ignore[arg-type]
    for wrong in ("epochs", ["train.epochs=1"]):
        with pytest.raises(labeltune.UserError, match=r"expected a change such as train\.epochs=1"):
            labeltune.load_recipe(finished / "tiny.yaml", wrong)  # type: ignore[arg-type]


def test_the_example_of_the_readme_runs(finished: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With this test's recipe, adapter and keys in the places of the example's."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(import labeltune\n.*?)```", readme, re.DOTALL)
    for there, here in (
        ("recipes/qqp.yaml", "tiny.yaml"),
        ("saved_model/QQP", "saved_model/tiny"),
        ("handin.zip", "."),
        ("keys/", "keys"),
    ):
        assert there in example
        example = example.replace(there, here)
    monkeypatch.chdir(finished)
    exec(compile(example, "README.md", "exec"), {})
