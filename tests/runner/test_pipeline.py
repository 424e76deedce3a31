"""The whole path on a tiny base: what is skipped, what is shared, what is recorded, and what the grader makes of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import DEV_ROWS, recipe_tree, write_recipe

from grading import contract
from grading.score import main as grade
from runner.commands.run import execute, main
from runner.model import base as base_model
from runner.recipe.loader import load_recipes
from runner.stages import STAGES


def write_answers(workspace: Path, dataset: str) -> None:
    folder = workspace / contract.ANSWER_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"result_{dataset}_5.txt").write_text("1\n0\n1\n0\n1\n")


def test_a_run_earns_all_points_but_those_for_wrong_answers(workspace: Path, tiny_base: Path, tmp_path: Path) -> None:
    path = write_recipe(workspace, recipe_tree(tiny_base))
    write_answers(workspace, "tiny")
    assert main([str(path), "--workspace", str(workspace)]) == 0
    report = tmp_path.with_suffix(".json")
    assert (
        grade(
            [
                "--submission",
                str(workspace),
                "--answers",
                str(workspace / contract.ANSWER_FOLDER),
                "--json",
                str(report),
            ]
        )
        == 0
    )
    points = {part["part"]: part["points"] for part in json.loads(report.read_text())["parts"]}
    lines = (workspace / "result/result_tiny.txt").read_text().split()
    right = sum(line == answer for line, answer in zip(lines, "10101"))
    assert points == {"pre_data": 10, "saved_model": 20, "result": pytest.approx(70 * right / len(DEV_ROWS))}


def test_a_missing_base_is_reported_before_the_data_is_prepared(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    path = write_recipe(workspace, recipe_tree(tiny_base))
    assert main([str(path), "--workspace", str(workspace), "base=/nowhere"]) == 2
    assert "base: the folder /nowhere does not exist" in capsys.readouterr().err
    assert not list((workspace / "pre_data").rglob("*.json"))
    assert main([str(path), "--workspace", str(workspace), "base=/nowhere", "--stages", "prepare"]) == 0


def test_stages_whose_inputs_have_not_changed_are_skipped(
    workspace: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*extra: str, **changes: object) -> list[str]:
        path = write_recipe(workspace, recipe_tree(tiny_base, **changes))
        assert main([str(path), "--workspace", str(workspace), *extra]) == 0
        lines = capsys.readouterr().out.splitlines()
        return [stage for stage in STAGES if f"tiny {stage}: nothing changed" in lines]

    assert run() == []
    assert run() == ["prepare", "finetune", "evaluate", "predict"]
    assert run("--fresh") == []
    assert run(decoding={"kind": "generate"}) == ["prepare", "finetune"]
    assert run(decoding={"kind": "generate"}, train={"epochs": 1}) == ["prepare"]
    assert run("train.epochs=1", decoding={"kind": "generate"}) == ["prepare", "finetune", "evaluate", "predict"]
    (workspace / "saved_model/tiny/adapter_model.safetensors").write_bytes(b"damaged")
    assert run("train.epochs=1", decoding={"kind": "generate"}) == ["prepare", "predict"]
    assert run("task.labels=['1', '0']", "train.epochs=1") == []
    config = workspace / "saved_model/tiny/adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 4', '"lora_alpha": 5'))
    path = write_recipe(workspace, recipe_tree(tiny_base))
    changed = [str(path), "--workspace", str(workspace), "task.labels=['1', '0']", "train.epochs=1"]
    assert main([*changed, "--stages", "prepare,predict"]) == 2
    assert "adapter_config.json: is not what the finetune stage wrote" in capsys.readouterr().err


def test_recipes_of_one_launch_load_their_base_once_and_do_not_touch_each_other(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Path] = []
    real = base_model.load_base

    def counted(folder: Path, *rest: Any) -> base_model.Base:
        loads.append(folder)
        return real(folder, *rest)

    monkeypatch.setattr(base_model, "load_base", counted)
    one = write_recipe(workspace, recipe_tree(tiny_base), "one.yaml")
    other = write_recipe(workspace, recipe_tree(tiny_base, task={"name": "other"}), "other.yaml")
    execute(load_recipes([one, other]), workspace)
    assert loads == [tiny_base]
    together = (workspace / "saved_model/other/adapter_model.safetensors").read_bytes()
    assert together == (workspace / "saved_model/tiny/adapter_model.safetensors").read_bytes()
    execute(load_recipes([other]), workspace, fresh=True)
    assert (workspace / "saved_model/other/adapter_model.safetensors").read_bytes() == together


def test_the_run_record_says_what_was_run_and_what_came_of_it(workspace: Path, tiny_base: Path) -> None:
    path = write_recipe(workspace, recipe_tree(tiny_base))
    loaded = load_recipes([path])
    execute(loaded, workspace)
    record = json.loads((workspace / "saved_model/tiny/run.json").read_text())
    assert record["recipe_digest"] == loaded[0].recipe.digest()
    assert record["recipe"]["train"]["epochs"] == 2
    assert record["seeds"] == {"samples": 0, "train": 0}
    assert record["versions"]["torch"].startswith(__import__("torch").__version__.split("+")[0])
    stages = record["stages"]
    assert list(stages) == ["prepare", "finetune", "evaluate", "predict"]
    assert set(stages["prepare"]["inputs"]) == {"recipe", "train", "dev", "code"}
    assert stages["finetune"]["inputs"]["train"] == stages["prepare"]["outputs"]["pre_data/tiny/tiny_train.json"]
    assert (
        stages["predict"]["inputs"]["adapter"]
        == stages["finetune"]["outputs"]["saved_model/tiny/adapter_model.safetensors"]
    )
    assert len(stages["finetune"]["figures"]["prompt_digest"]) == 64
    assert {"majority", "untuned", "tuned", "train_seconds"} <= set(stages["finetune"]["figures"])
    written = [path.stat().st_mtime_ns for path in workspace.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert (workspace / "saved_model/tiny/run.json").stat().st_mtime_ns == max(written)


def test_the_run_record_never_speaks_of_another_run(workspace: Path, tiny_base: Path) -> None:
    def record(*arguments: str) -> dict[str, object]:
        assert main([str(path), "--workspace", str(workspace), *arguments]) == 0
        return json.loads((workspace / "saved_model/tiny/run.json").read_text())

    path = write_recipe(workspace, recipe_tree(tiny_base))
    assert list(record()["stages"]) == ["prepare", "finetune", "evaluate", "predict"]
    assert record("--stages", "prepare", "lora.r=7")["recipe"]["lora"]["r"] == 2
    assert list(record("--stages", "finetune", "train.epochs=1")["stages"]) == ["prepare", "finetune"]
    (workspace / "pre_data/tiny/manifest.json").write_text("[]")
    assert main([str(path), "--workspace", str(workspace), "--stages", "finetune"]) == 2


def test_files_in_the_way_are_named(workspace: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "pre_data").write_text("in the way")
    assert main([str(write_recipe(workspace, recipe_tree(tiny_base))), "--workspace", str(workspace)]) == 2
    assert "pre_data" in capsys.readouterr().err


def test_a_run_leaves_nothing_half_done_lying_about(workspace: Path, tiny_base: Path) -> None:
    assert main([str(write_recipe(workspace, recipe_tree(tiny_base))), "--workspace", str(workspace)]) == 0
    names = {str(path.relative_to(workspace)) for path in workspace.rglob("*") if path.is_file()}
    names = {name for name in names if not name.startswith("pre_data/tiny/store/tokens/")}
    assert names == {
        "tiny.yaml",
        "data/tiny_train.tsv",
        "data/tiny_dev.tsv",
        "pre_data/tiny/tiny_train.json",
        "pre_data/tiny/tiny_holdout.json",
        "pre_data/tiny/tiny_dev.json",
        "pre_data/tiny/manifest.json",
        "saved_model/tiny/adapter_model.safetensors",
        "saved_model/tiny/adapter_config.json",
        "saved_model/tiny/classifier.json",
        "saved_model/tiny/prompt.json",
        "saved_model/tiny/recipe.yaml",
        "saved_model/tiny/metrics.jsonl",
        "saved_model/tiny/manifest.json",
        "saved_model/tiny/holdout_predictions.jsonl",
        "saved_model/tiny/prompt_example.json",
        "saved_model/tiny/evaluation.json",
        "saved_model/tiny/manifest_evaluate.json",
        "saved_model/tiny/run.json",
        "saved_model/.tiny.lock",
        "result/result_tiny.txt",
        "result/predictions_tiny.jsonl",
        "result/manifest_tiny.json",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.yaml"], "no.yaml: cannot read no.yaml"),
        (["train.epochs=2"], "no recipe named"),
        (["{recipe}", "--workspace", "nowhere"], "--workspace nowhere: no such folder"),
        (["{recipe}", "--workspace", "{workspace}", "base=./nowhere"], "base: the folder"),
        (
            ["{recipe}", "--workspace", "{workspace}", "base=no-such/model"],
            "base: no-such/model is not a folder, and it cannot be downloaded",
        ),
        (["{recipe}", "--workspace", "{workspace}", "base={workspace}"], "has no config.json"),
        (
            ["{recipe}", "--workspace", "{workspace}", "task.dev=data/none.tsv"],
            "data/none.tsv: cannot read it: No such file",
        ),
    ],
)
def test_the_users_mistakes_end_with_2_and_a_sentence(
    workspace: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    recipe = write_recipe(workspace, recipe_tree(tiny_base))
    assert main([argument.format(recipe=recipe, workspace=workspace) for argument in arguments]) == 2
    assert message in capsys.readouterr().err


def test_unknown_stages_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["recipes/qqp.yaml", "--stages", "train"])
    assert "expected some of prepare, finetune, evaluate, predict" in capsys.readouterr().err
