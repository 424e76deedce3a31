"""Ensembles with a real tiny model: the mean of the members' log-probabilities, and what is run again after which change."""

import dataclasses
import json
import math
import re
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest
from conftest import recipe_tree, write_recipe, write_tables
from support.runs import before_call, cut_at

import grading
import labeltune
from grading.score import main as grade
from runner.commands.run import execute, main
from runner.ensemble.mean import logarithms, mean_log_probabilities
from runner.ensemble.shortfall import below_baselines, below_first
from runner.errors import UserError
from runner.evaluation.diagnosis import TrainingFacts, cause
from runner.evaluation.expected_points import expected_points
from runner.evaluation.intervals import with_interval
from runner.evaluation.log_probabilities import log_softmax
from runner.evaluation.significance import PairedComparison
from runner.model import base
from runner.prediction import predict as prediction
from runner.prediction.classifier import Classifier
from runner.recipe.loader import load_recipes
from runner.stages import STAGES
from runner.training import finetune
from runner.training.trainer import Trainer
from runner.workspace.runs import all_runs

SEEDS = {"seeds": [0, 1, 2]}
ADAPTER = "saved_model/tiny/adapter_model.safetensors"
RESULTS = ("result/result_tiny.txt", "result/predictions_tiny.jsonl")
TRAIN = [f"{number}\t{number % 2}\t{'ab' if number % 3 else 'ba'} word {number}" for number in range(32)]
"""The texts do not say the label, so the members differ."""
ROWS = {"train": 16, "holdout": 12, "dev": 5}


def run(root: Path, base: Path, stages: Any = STAGES, fresh: bool = False, **changes: Any) -> Path:
    """Runs the recipe, with three seeds unless `changes` says otherwise."""
    tree = recipe_tree(base, **{"ensemble": SEEDS, "samples": ROWS, **changes})
    execute(load_recipes([write_recipe(root, tree)]), root, stages, fresh)
    return root


def unchanged(out: str) -> int:
    """How many members' trainings are not done again."""
    return len(re.findall(r"^tiny finetune \(seed [0-3]\): nothing changed$", out, re.M))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def member_folders(root: Path) -> list[Path]:
    """The first member's predictions' folder, and the workspaces of the others."""
    folder = root / "saved_model/.ensemble/tiny"
    return [folder / "first", *sorted(folder.glob("seed-*"))]


def outputs(root: Path) -> dict[str, bytes]:
    """All that an ensemble writes and that does not depend on the time."""
    folders = [root, *member_folders(root)]
    names = (ADAPTER, "saved_model/tiny/ensemble.json", "saved_model/tiny/holdout_predictions.jsonl", *RESULTS)
    paths = [folder / name for folder in folders for name in names]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths if path.exists()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A workspace after an ensemble of three seeds. Not to be changed."""
    return run(write_tables(tmp_path_factory.mktemp("made"), train=TRAIN), tiny_base)


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A workspace after the run of the same recipe without an ensemble."""
    return run(write_tables(tmp_path_factory.mktemp("alone"), train=TRAIN), tiny_base, ensemble={})


def test_dev_rows_get_the_mean_of_the_members_log_probabilities(made: Path, tiny_base: Path) -> None:
    """The members' label logits are computed anew, from their adapters."""
    texts = [line.split("\t")[1] for line in (made / "data/tiny_dev.tsv").read_text().splitlines()]
    folders = [made, *member_folders(made)[1:]]
    logits = []
    for folder in folders:
        with Classifier.load(folder / "saved_model/tiny") as classifier:
            logits.append(classifier.label_logits(texts))
    assert not logits[0].allclose(logits[1])
    expected = sum(each.double().log_softmax(1) for each in logits) / 3
    found = lines(made / RESULTS[1])
    assert len(found) == len(texts) == 5
    for row, mean in zip(found, expected):
        logs = [math.log(row["probabilities"][label]) for label in "01"]
        assert logs == pytest.approx(mean.log_softmax(0).tolist(), abs=1e-6)
        assert logs[1] - logs[0] == pytest.approx(float(mean[1] - mean[0]), abs=1e-6)
    labels = "".join("01"[int(mean[1] > mean[0])] + "\n" for mean in expected)
    assert (made / RESULTS[0]).read_text() == labels == "".join(row["label"] + "\n" for row in found)
    for number, one in enumerate(logits):
        assert [row["members"][number] for row in found] == ["01"[int(label)] for label in one.argmax(1)]


def test_the_members_predictions_have_the_precision_of_their_logits(made: Path) -> None:
    """By hand from the members' files, in full precision."""
    members = [lines(folder / RESULTS[1]) for folder in member_folders(made)]
    for row, *each in zip(lines(made / RESULTS[1]), *members):
        odds = [math.log(one["probabilities"]["1"]) - math.log(one["probabilities"]["0"]) for one in each]
        found = math.log(row["probabilities"]["1"]) - math.log(row["probabilities"]["0"])
        assert found == pytest.approx(math.fsum(odds) / 3, abs=1e-12)


def test_the_hold_out_says_mean_spread_and_what_all_are_worth(made: Path) -> None:
    found = json.loads((made / "saved_model/tiny/ensemble.json").read_text())
    folders = [made, *member_folders(made)[1:]]
    predictions = [lines(folder / "saved_model/tiny/holdout_predictions.jsonl") for folder in folders]
    rights = [[row["label"] == row["target"] for row in one] for one in predictions]
    accuracies = [sum(right) / 12 for right in rights]
    assert [member["accuracy"] for member in found["members"]] == accuracies
    assert [member["seed"] for member in found["members"]] == [0, 1, 2]
    assert found["mean"] == pytest.approx(statistics.fmean(accuracies))
    assert found["standard_deviation"] == pytest.approx(statistics.stdev(accuracies))
    together = []
    for rows in zip(*predictions):
        odds = math.fsum(row["logits"][1] - row["logits"][0] for row in rows)
        together.append("01"[odds > 0] == rows[0]["target"])
    assert found["together"]["accuracy"] == sum(together) / 12
    paired = found["against_first"]
    assert paired["only_first"] == sum(one and not all_ for one, all_ in zip(rights[0], together))
    assert paired["only_together"] == sum(all_ and not one for one, all_ in zip(rights[0], together))
    assert not paired["distinguishable"]


def test_the_log_has_every_member(tmp_path: Path, copy: Path, tiny_base: Path, capsys: Any) -> None:
    (copy / "saved_model/tiny/ensemble.json").unlink()
    run(copy, tiny_base)
    out = capsys.readouterr().out
    for number in (1, 2, 3):
        assert f"tiny ensemble: member {number} (seed {number - 1}): hold-out accuracy " in out
    assert "tiny ensemble: 3 members: mean " in out
    assert " points\n" in out
    assert "against the first member (exact McNemar test): not distinguishable on 12 rows; " in out
    assert "tiny ensemble: WARNING: the 3 members together (" in out


def test_the_exams_adapter_is_that_of_a_run_without_an_ensemble(made: Path, alone: Path) -> None:
    for name in (ADAPTER, "saved_model/tiny/adapter_config.json", "saved_model/tiny/recipe.yaml"):
        assert (made / name).read_bytes() == (alone / name).read_bytes()


def test_a_second_run_does_nothing(copy: Path, tiny_base: Path, capsys: Any) -> None:
    before = outputs(copy)
    run(copy, tiny_base)
    out = capsys.readouterr().out
    assert unchanged(out) == 3
    assert "tiny ensemble: nothing changed" in out
    assert "tiny predict: nothing changed" in out
    assert "loading" not in out
    assert outputs(copy) == before


def test_another_seed_trains_the_new_member_only(copy: Path, tiny_base: Path, capsys: Any) -> None:
    before = outputs(copy)
    # in another order: members are found by their seed
    run(copy, tiny_base, ensemble={"seeds": [3, 2, 0, 1]})
    out = capsys.readouterr().out
    assert unchanged(out) == 3
    after = outputs(copy)
    for name in before:
        if "ensemble/" in name and "ensemble.json" not in name:
            assert after[name] == before[name]
    assert [len(row["members"]) for row in lines(copy / RESULTS[1])] == [4] * 5
    assert len(json.loads((copy / "saved_model/tiny/ensemble.json").read_text())["members"]) == 4


@pytest.mark.parametrize(("where", "call"), [("training", 2), ("training", 3), ("prediction", 3), ("prediction", 8)])
def test_a_killed_ensemble_continues_to_the_same_bytes(
    made: Path, tmp_path: Path, tiny_base: Path, where: str, call: int, capsys: Any
) -> None:
    root = write_tables(tmp_path, train=TRAIN)
    owner, name = {"training": (finetune, "finetune"), "prediction": (prediction, "prediction_line")}[where]
    with pytest.MonkeyPatch.context() as patch:
        cut_at(patch, owner, name, call)
        with pytest.raises(KeyboardInterrupt):
            run(root, tiny_base)
    capsys.readouterr()
    run(root, tiny_base)
    out = capsys.readouterr().out
    assert unchanged(out) == (call - 1 if where == "training" else 3)
    assert outputs(root) == outputs(made)


def test_the_first_member_alone_gives_the_result_of_its_run(
    copy: Path, alone: Path, tiny_base: Path, capsys: Any
) -> None:
    run(copy, tiny_base, ensemble={**SEEDS, "answer": "first"})
    assert "members together (" not in capsys.readouterr().out
    for name in RESULTS:
        assert (copy / name).read_bytes() == (alone / name).read_bytes()
    assert json.loads((copy / "saved_model/tiny/ensemble.json").read_text())["answer"] == "first"


def test_a_run_without_the_ensemble_leaves_nothing_of_it(
    copy: Path, made: Path, alone: Path, tiny_base: Path, capsys: Any
) -> None:
    run(copy, tiny_base, ensemble={})
    assert "tiny finetune: nothing changed" in capsys.readouterr().out
    for name in RESULTS:
        assert (copy / name).read_bytes() == (alone / name).read_bytes()
    assert not (copy / "saved_model/tiny/ensemble.json").exists()
    assert not (copy / "saved_model/tiny/manifest_ensemble.json").exists()
    record = json.loads((copy / "saved_model/tiny/run.json").read_text())
    assert list(record["stages"]) == ["prepare", "finetune", "evaluate", "predict"]
    run(copy, tiny_base)
    assert unchanged(capsys.readouterr().out) == 3
    assert outputs(copy) == outputs(made)


LABELLED = {
    "task": {"dev_columns": [["id", "label", "text"]]},
    "samples": {**ROWS, "dev": 12},
    "train": {"epochs": 1, "learning_rate": 0.3},
}
"""Labelled dev rows, and settings with which the three members have other answers."""


def test_the_score_is_that_of_the_answers(tmp_path: Path, tiny_base: Path, capsys: Any) -> None:
    dev = [f"{number}\t{number % 2}\t{'ab' if number % 3 else 'ba'} dev {number}" for number in range(12)]
    root = run(write_tables(tmp_path, train=TRAIN, dev=dev), tiny_base, **LABELLED)
    out = capsys.readouterr().out
    rows, path = lines(root / RESULTS[1]), root / "result/score_tiny.json"
    right = [row["label"] == str(number % 2) for number, row in enumerate(rows)]
    first = [row["members"][0] == str(number % 2) for number, row in enumerate(rows)]
    assert sum(right) != sum(first)
    assert json.loads(path.read_text())["correct"] == sum(right)
    manifest = json.loads((root / "result/manifest_tiny.json").read_text())
    assert manifest["figures"]["score"]["accuracy"] == pytest.approx(sum(right) / 12)
    assert "result/score_tiny.json" in manifest["outputs"]
    assert out.count(f"score on 12 labelled rows: accuracy {sum(right) / 12:.2%}") == 1
    run(root, tiny_base, **LABELLED)
    assert "tiny predict: nothing changed" in capsys.readouterr().out
    # the first member alone, and the ensemble again
    run(root, tiny_base, **{**LABELLED, "ensemble": {**SEEDS, "answer": "first"}})
    assert json.loads(path.read_text())["correct"] == sum(first)
    run(root, tiny_base, **LABELLED)
    assert json.loads(path.read_text())["correct"] == sum(right)


def test_the_summary_says_what_the_answers_are_worth(tmp_path: Path, tiny_base: Path, capsys: Any) -> None:
    # rows and a rate with which the ensemble and its first member are not equally good
    settings = {"train": {"epochs": 1, "learning_rate": 0.3}, "samples": {**ROWS, "seed": 1}}
    root = run(write_tables(tmp_path, train=TRAIN), tiny_base, ("prepare",), **settings)
    command = [str(root / "tiny.yaml"), "--workspace", str(root)]
    assert main(command) == 0
    together = json.loads((root / "saved_model/tiny/ensemble.json").read_text())["together"]
    first = json.loads((root / "saved_model/tiny/evaluation.json").read_text())
    assert together["accuracy"] != first["accuracy"]
    points = expected_points(together["accuracy"], 12, 5)
    assert json.loads(json.dumps(dataclasses.asdict(points))) == together["expected_points"]
    shown = (
        f"tiny: hold-out accuracy of the 3 members together {with_interval(together['accuracy'], 12)}; {points.words()}"
    )
    assert f"\n{shown}\n" in capsys.readouterr().out
    # the answers in place are still those of all members
    assert main([*command, "ensemble.seeds=[]", "--stages", "prepare"]) == 0
    assert f"\n{shown}\n" in capsys.readouterr().out
    for change in ("ensemble.answer=first", "ensemble.seeds=[]"):
        assert main([*command, change]) == 0
        out = capsys.readouterr().out
        assert f"\ntiny: hold-out accuracy {with_interval(first['accuracy'], 12)}; " in out


def test_other_dev_rows_change_the_points_to_expect(copy: Path, tiny_base: Path) -> None:
    run(copy, tiny_base, samples={**ROWS, "dev": 3})
    found = json.loads((copy / "saved_model/tiny/ensemble.json").read_text())["together"]
    assert found["expected_points"]["rows"] == 3


def test_a_member_that_was_stopped_with_another_setting_starts_over(
    tmp_path: Path, tiny_base: Path, capsys: Any
) -> None:
    root = write_tables(tmp_path, train=TRAIN)
    often = {"epochs": 2, "checkpoint_minutes": 1e-9}
    with pytest.MonkeyPatch.context() as patch:
        # the second member's first steps
        patch.setattr(Trainer, "on_step_end", (_cut_at_step(11),))
        with pytest.raises(KeyboardInterrupt):
            run(root, tiny_base, train=often)
    assert list(root.glob("saved_model/.ensemble/tiny/seed-1-*/saved_model/.checkpoints/tiny/*/step-*"))
    capsys.readouterr()
    run(root, tiny_base, train={**often, "learning_rate": 0.02})
    assert capsys.readouterr().out.count("removed: the checkpoints of an unfinished run with another setting") == 1
    assert len(json.loads((root / "saved_model/tiny/ensemble.json").read_text())["members"]) == 3


def _cut_at_step(number: int) -> Any:
    steps: list[int] = []

    def act(state: Any) -> None:
        steps.append(state.global_step)
        if len(steps) == number:
            raise KeyboardInterrupt

    return act


def test_the_python_api_runs_an_ensemble(made: Path, tmp_path: Path, tiny_base: Path) -> None:
    path = write_recipe(write_tables(tmp_path, train=TRAIN), recipe_tree(tiny_base, ensemble=SEEDS, samples=ROWS))
    result = labeltune.run(labeltune.load_recipe(path), workspace=tmp_path)
    assert outputs(tmp_path) == outputs(made)
    together = json.loads((made / "saved_model/tiny/ensemble.json").read_text())["together"]["accuracy"]
    assert result.statistics["ensemble"]["together"]["accuracy"] == together
    assert result.statistics["predict"]["members"] == 3


def test_the_run_record_has_the_ensemble(made: Path) -> None:
    record = json.loads((made / "saved_model/tiny/run.json").read_text())
    assert list(record["stages"]) == ["prepare", "finetune", "evaluate", "ensemble", "predict"]
    assert record["stages"]["predict"]["figures"]["members"] == 3


def test_instructions_and_seeds_are_paired(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    """No member is better than the majority here: each says so by its name, and the ensemble once."""
    write_tables(workspace, train=TRAIN)
    run(workspace, tiny_base, ensemble={"seeds": [1], "instructions": ["Which one?"]}, train={"epochs": 1})
    members = json.loads((workspace / "saved_model/tiny/ensemble.json").read_text())["members"]
    assert [(member["instruction"], member["seed"]) for member in members] == [
        ("Which?", 0), ("Which?", 1), ("Which one?", 0), ("Which one?", 1),
    ]  # fmt: skip
    assert len({member["adapter"] for member in members}) == 4
    assert [len(row["members"]) for row in lines(workspace / RESULTS[1])] == [4] * 5
    out = capsys.readouterr().out
    assert [line.split(": WARNING:")[0] for line in out.splitlines() if "is not better than the majority" in line] == [
        f"tiny evaluate (seed {member['seed']}, “{member['instruction']}”)" for member in members
    ]
    together = json.loads((workspace / "saved_model/tiny/ensemble.json").read_text())["together"]["accuracy"]
    assert (
        out.count(f"tiny ensemble: WARNING: the 4 members together ({together:.1%}) are not better than the majo") == 1
    )
    assert out.count("likeliest cause, by the training of the first member: 16 rows × 1 epoch are too few; ") == 1


def test_both_orders_are_averaged_in_each_member(workspace: Path, tiny_base: Path) -> None:
    train = [f"{n}\t{n % 2}\t{'ab' if n % 2 else 'ba'} {n}\tword {n}" for n in range(32)]
    write_tables(workspace, train=train, dev=["0\tab\tword", "1\tword\tab"])
    task = {"columns": ["id", "label", "one", "two"], "input": "{one}\n{two}", "swap": ["one", "two"]}
    changes = {"task": task, "decoding": {"average": "swap"}, "train": {"epochs": 1}, "ensemble": {"seeds": [1]}}
    run(workspace, tiny_base, samples={**ROWS, "dev": 2}, **changes)
    one, other = lines(workspace / RESULTS[1])
    assert one["probabilities"] == other["probabilities"]


def test_another_setting_replaces_every_member(copy: Path, tiny_base: Path, capsys: Any) -> None:
    before = outputs(copy)
    run(copy, tiny_base, lora={"r": 3})
    assert capsys.readouterr().out.count("to get it back: labeltune runs restore") == 1
    after = outputs(copy)
    assert all(after[name] != before[name] for name in before if name.endswith(".safetensors"))
    # one kept run, with the results of its ensemble; the other members' are not kept
    (kept,) = (copy / "saved_model/.runs/tiny").iterdir()
    assert (kept / "ensemble.json").exists()
    assert (kept / ".result/result_tiny.txt").read_bytes() == before["result/result_tiny.txt"]
    assert not list(copy.glob("saved_model/.ensemble/tiny/*/saved_model/.runs"))
    assert [len(runs) for runs in all_runs(copy).values()] == [2]


def test_the_base_is_loaded_once(tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[int] = []
    for call in (1, 2):
        before_call(monkeypatch, base, "load_base", call, lambda: loaded.append(1))
    run(write_tables(tmp_path, train=TRAIN), tiny_base, ensemble={"seeds": [1]}, train={"epochs": 1})
    assert loaded == [1]


def test_stages_can_be_run_one_by_one(tmp_path: Path, made: Path, tiny_base: Path) -> None:
    root = write_tables(tmp_path, train=TRAIN)
    run(root, tiny_base, ("prepare", "finetune"))
    assert not (root / "saved_model/tiny/ensemble.json").exists()
    with pytest.raises(UserError, match="tiny: the evaluate stage has not finished"):
        run(root, tiny_base, ("predict",))
    run(root, tiny_base, ("evaluate",))
    assert not (root / RESULTS[0]).exists()
    run(root, tiny_base, ("predict",))
    assert outputs(root) == outputs(made)


def test_a_member_with_other_rows_is_refused(copy: Path, tiny_base: Path) -> None:
    name = "saved_model/tiny/holdout_predictions.jsonl"
    folder = member_folders(copy)[1]
    text = (folder / name).read_text()
    (folder / name).write_text("".join(text.splitlines(keepends=True)[1:]))
    with pytest.raises(UserError, match="is not what the evaluate stage wrote"):
        run(copy, tiny_base, ("predict",))
    run(copy, tiny_base)
    assert (folder / name).read_text() == text


def test_the_grader_sees_one_adapter(made: Path, copy: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers"
    answers.mkdir()
    (answers / "result_tiny.txt").write_text("1\n0\n1\n0\n1\n")
    with_members = grading.grade(made, answers=answers)
    shutil.rmtree(copy / "saved_model/.ensemble")
    assert grading.grade(copy, answers=answers).points == with_members.points > 30


def test_a_rerun_says_that_more_adapters_have_answered(copy: Path, tmp_path: Path) -> None:
    answers, report = tmp_path / "answers", tmp_path.with_suffix(".json")
    answers.mkdir()
    (answers / "result_tiny.txt").write_text("1\n0\n1\n0\n1\n")
    # as if the other members had decided differently on every row
    first = [row["members"][0] for row in lines(copy / RESULTS[1])]
    (copy / RESULTS[0]).write_text("".join("01"[label == "0"] + "\n" for label in first))
    arguments = ["--submission", str(copy), "--answers", str(answers), "--json", str(report), "--rerun", "4"]
    assert grade([*arguments, "--recipes", str(copy / "tiny.yaml")]) == 0
    advice = [each for each in json.loads(report.read_text())["advice"] if "rerun" in each["check"]]
    assert [(each["state"], each["reason"]) for each in advice] == [
        (
            "look here",
            "0 of 4 drawn rows come out as submitted; the submission says that its labels are the mean of 3 adapters "
            "(ensemble.json), and it holds one of them, so this one alone may differ",
        )
    ]


STUCK = TrainingFacts(2000, 1, 2e-4, [0.69], {"0": 1, "1": 1}, 0.69)


def test_what_an_ensemble_is_not_better_than() -> None:
    """The accuracies are those of a real run, in which nothing was said."""
    found = {"majority": 0.615, "untuned": 0.5, "bag_of_words": 0.755}
    assert below_baselines(3, 0.61, found, STUCK) == (
        "the 3 members together (61.0%) are not better than the majority (61.5%) and a bag of words (75.5%) on the "
        f"hold-out; likeliest cause, by the training of the first member: {cause(STUCK)}"
    )
    paired = PairedComparison(rows=200, only_first=8, only_second=5, p=0.58, interval=(-0.05, 0.02))
    assert below_first(3, 0.61, 0.625, paired) == (
        "the 3 members together (61.0%) are not better than the first member (62.5%) on the hold-out (exact McNemar test: "
        "not distinguishable on 200 rows; about 2,300 would be needed); with ensemble.answer: first, the first member "
        "answers alone"
    )
    clear = PairedComparison(rows=200, only_first=30, only_second=2, p=0.00001, interval=(-0.19, -0.09))
    assert (
        "test: the first member is 14.0 points better than the ensemble on 200 rows (95 % interval 9.0 to 19.0"
        in str(below_first(3, 0.61, 0.75, clear))
    )


def test_an_ensemble_that_is_better_is_not_warned_about() -> None:
    even = PairedComparison(rows=200, only_first=0, only_second=0, p=1.0, interval=(0.0, 0.0))
    assert below_baselines(3, 0.8, {"majority": 0.6, "bag_of_words": 0.75}, STUCK) is None
    assert below_baselines(3, 1.0, {"bag_of_words": 1.0}, STUCK) is None
    assert below_first(3, 0.8, 0.79, even) is None
    assert below_first(3, 1.0, 1.0, even) is None
    assert below_first(3, 0.8, 0.8, even) is not None


def test_the_mean_of_log_probabilities() -> None:
    two = [log_softmax([1.0, 3.0]), logarithms([0.25, 0.75])]
    assert two[0] == pytest.approx([math.log(1 / (1 + math.exp(2))), math.log(1 / (1 + math.exp(-2)))])
    mean = mean_log_probabilities(two)
    assert mean[1] - mean[0] == pytest.approx((2 + math.log(3)) / 2)
    assert all(map(math.isfinite, logarithms([0.0, 1.0])))
    assert log_softmax([-2000.0, 0.0]) == [-2000.0, 0.0]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"ensemble": {"seeds": [1, 1]}}, "ensemble.seeds: 1 is there twice: the same member would count twice"),
        (
            {"ensemble": {"instructions": ["A?", "A?"]}},
            "ensemble.instructions: 'A?' is there twice: the same member would count twice",
        ),
        ({"ensemble": {"instructions": [" "]}}, "ensemble.instructions: an instruction is empty"),
        (
            {"ensemble": {"seeds": [0], "instructions": ["Which?"]}},
            "ensemble: names only the recipe's own train.seed and instruction; an ensemble needs another one",
        ),
        (
            {"ensemble": {"answer": "first"}},
            "ensemble.answer: first needs ensemble.seeds or ensemble.instructions: there is only one member",
        ),
        (
            {"ensemble": SEEDS, "search": {"minutes": 5}},
            "ensemble: cannot be combined with search.minutes; search first, then run the ensemble with the recipe that was "
            "found, in result/",
        ),
        (
            {"ensemble": SEEDS, "decoding": {"kind": "generate"}},
            "ensemble: cannot be combined with decoding.kind: generate: generated texts have no log-probabilities to average; "
            "use kind: label",
        ),
        (
            {"ensemble": SEEDS, "decoding": {"calibration": "auto"}},
            "ensemble: cannot be combined with decoding.calibration: auto, which is fitted to a single adapter; set "
            "calibration: none, or leave the ensemble out",
        ),
    ],
    ids=str,
)
def test_what_an_ensemble_cannot_be_is_refused(
    workspace: Path, tiny_base: Path, changes: Any, problem: str, capsys: Any
) -> None:
    path = write_recipe(workspace, recipe_tree(tiny_base, **changes))
    assert main(["--check", str(path)]) == 2
    assert f": {problem}\n" in capsys.readouterr().err
