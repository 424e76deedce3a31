"""Predictions over both orders of a pair: the mean of their log-probabilities, the same for (a, b) and (b, a)."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import recipe_tree, tiny_tokenizer, write_recipe, write_tables
from support.runs import cut_at
from support.shapes import model

import grading
from grading import contract
from grading.score import main as grade
from runner.commands.run import execute, main
from runner.errors import UserError
from runner.evaluation.holdout import read_holdout_predictions
from runner.evaluation.intervals import with_interval
from runner.evaluation.significance import compare
from runner.prediction import predict as prediction
from runner.prediction.decoders import Scored
from runner.prediction.one_order import one_order
from runner.recipe.loader import load_recipes
from runner.recipe.schema import PromptShape
from runner.scoring.dataset import encode_orders
from runner.scoring.label_logits import averaged_label_logits, predict_label_logits
from runner.scoring.prompt import build_prompt
from runner.scoring.proof import subject_of
from runner.scoring.scorer import LabelScorer
from runner.stages import STAGES

TASK = {"columns": ["id", "label", "one", "two"], "input": "{one}\n{two}", "swap": ["one", "two"]}
DEV = [("ab", "ba word"), ("first", "second one"), ("x", "x"), ("", "y"), ("ba word", "ab"), ("second one", "first")]
"""Rows 5 and 6 are rows 1 and 2 in the other order."""


@pytest.fixture
def pairs(workspace: Path) -> Path:
    train = [f"{n}\t{n % 2}\t{'ab' if n % 2 else 'ba'} {n}\tword {n}" for n in range(24)]
    return write_tables(workspace, train=train, dev=[f"{n}\t{one}\t{two}" for n, (one, two) in enumerate(DEV)])


def tree(base: Path, **changes: Any) -> dict[str, Any]:
    changes = {"decoding": {"average": "swap"}, "train": {"epochs": 1}, **changes}
    return recipe_tree(base, task=TASK, **{**changes, "samples": {"dev": len(DEV), "holdout": 8}})


HOLDOUT = "saved_model/tiny/holdout_predictions.jsonl"


def read_evaluation(workspace: Path) -> Any:
    return json.loads((workspace / "saved_model/tiny/evaluation.json").read_text())


def run(workspace: Path, base: Path, stages: Any = STAGES, fresh: bool = False, **changes: Any) -> list[dict[str, Any]]:
    """Runs the stages and returns the predictions."""
    execute(load_recipes([write_recipe(workspace, tree(base, **changes))]), workspace, stages, fresh)
    return [json.loads(line) for line in (workspace / "result/predictions_tiny.jsonl").read_text().splitlines()]


def test_both_orders_of_a_pair_get_the_same_answer(
    pairs: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = run(pairs, tiny_base, decoding={"average": "none"})
    evaluations, holdouts = [read_evaluation(pairs)], [read_holdout_predictions(pairs / HOLDOUT)]
    found = run(pairs, tiny_base)
    evaluations, holdouts = (
        [*evaluations, read_evaluation(pairs)],
        [*holdouts, read_holdout_predictions(pairs / HOLDOUT)],
    )
    _both_orders_are_compared_with_one(evaluations, holdouts, capsys.readouterr().out)
    assert len(found) == len(DEV)
    for row, other in ((0, 4), (1, 5)):
        assert found[row]["probabilities"] == found[other]["probabilities"]
        assert found[row]["label"] == found[other]["label"]
        assert plain[row]["probabilities"] != plain[other]["probabilities"]
        logs = [torch.tensor([*plain[each]["probabilities"].values()]).log() for each in (row, other)]
        expected = ((logs[0] + logs[1]) / 2).softmax(0).tolist()
        assert [*found[row]["probabilities"].values()] == pytest.approx(expected, abs=1e-6)
    assert found[2]["probabilities"] == pytest.approx(plain[2]["probabilities"], abs=1e-6)


def _both_orders_are_compared_with_one(evaluations: list[Any], holdouts: list[Any], out: str) -> None:
    """`holdouts`: the rows as one order answers them, and as both do."""
    right = [[row.label == row.target for row in one] for one in holdouts]
    one, both, paired = evaluations[0]["accuracy"], evaluations[1]["accuracy"], compare(*right)
    assert evaluations[0]["one_order"] is None
    assert evaluations[1]["one_order"] == {
        "accuracy": one,
        "interval": evaluations[0]["interval"],
        "only_one_order": paired.only_first,
        "only_both_orders": paired.only_second,
        "difference": paired.difference,
        "difference_interval": list(paired.interval),
        "p": paired.p,
    }
    assert (
        f"tiny evaluate: decoding.average: swap: hold-out accuracy with one order {with_interval(one, 8)}, with the mean "
        f"of both {with_interval(both, 8)}; exact McNemar test: {paired.sentence('one order', 'the mean of both')}\n"
    ) in out


def test_one_order_is_compared_with_both_row_by_row() -> None:
    """One order alone gets rows 1 and 2 right, both orders get rows 2, 3 and 4 right."""
    rows = [(0, 0, 1), (1, 1, 1), (0, 1, 0), (1, 0, 1)]
    logits = torch.eye(2)
    scored = [Scored(logits[both], own_order=logits[own]) for _, own, both in rows]
    found = one_order(scored, [target for target, _, _ in rows])
    assert found is not None
    assert {name: found[name] for name in ("accuracy", "only_one_order", "only_both_orders", "difference", "p")} == {
        "accuracy": 0.5, "only_one_order": 1, "only_both_orders": 2, "difference": 0.25, "p": 1.0,
    }  # fmt: skip
    assert one_order([Scored(each) for each in logits], [0, 1]) is None


@pytest.mark.parametrize("batch", [2, 4])
def test_batches_give_the_same_answers(pairs: Path, tiny_base: Path, batch: int) -> None:
    one = run(pairs, tiny_base)
    together = run(pairs, tiny_base, decoding={"average": "swap", "batch": batch})
    for alone, other in zip(one, together):
        assert other["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-5)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_prediction_that_was_cut_resumes_to_the_same_bytes(
    pairs: Path, tiny_base: Path, batch: int, capsys: pytest.CaptureFixture[str]
) -> None:
    how: dict[str, Any] = {"decoding": {"average": "swap", "batch": batch}}
    run(pairs, tiny_base, **how)
    names = ("result/result_tiny.txt", "result/predictions_tiny.jsonl")
    expected = [(pairs / name).read_bytes() for name in names]
    with pytest.MonkeyPatch.context() as patch:
        cut_at(patch, prediction, "prediction_line", 4)
        with pytest.raises(KeyboardInterrupt):
            run(pairs, tiny_base, ("predict",), fresh=True, **how)
    run(pairs, tiny_base, ("predict",), **how)
    assert f"resuming after row {3 // batch * batch} of {len(DEV)}" in capsys.readouterr().out
    assert [(pairs / name).read_bytes() for name in names] == expected


def test_a_missing_swapped_file_names_prepare(pairs: Path, tiny_base: Path) -> None:
    run(pairs, tiny_base)
    (pairs / "pre_data/tiny/tiny_dev_swapped.json").unlink()
    with pytest.raises(UserError) as error:
        run(pairs, tiny_base, ("predict",))
    assert error.value.what == "pre_data/tiny/tiny_dev_swapped.json: No such file or directory"
    assert error.value.next_step == (
        "run the prepare stage again: leave --stages out; an adapter that is replaced is kept, and `labeltune runs` lists it"
    )


def test_records_that_were_prepared_without_the_key_name_prepare(pairs: Path, tiny_base: Path) -> None:
    run(pairs, tiny_base)
    manifest = pairs / "pre_data/tiny/manifest.json"
    written = json.loads(manifest.read_text())
    written["outputs"] = {name: value for name, value in written["outputs"].items() if "swapped" not in name}
    manifest.write_text(json.dumps(written))
    with pytest.raises(UserError, match="is not what the prepare stage wrote"):
        run(pairs, tiny_base, ("predict",))


PROMPT = build_prompt(PromptShape(), "Which?", ("0", "1"), tiny_tokenizer())


def records(texts: list[str]) -> list[dict[str, str]]:
    return [{"instruction": "Which?", "input": text} for text in texts]


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("start", [0, 6])
@torch.no_grad()
def test_the_logits_are_the_mean_of_both_orders(size: int, start: int) -> None:
    subject = subject_of(LabelScorer(model("Gemma"), PROMPT).eval())
    texts, swapped = ([f"{one} {two}" for one, two in some] for some in (DEV + DEV, [pair[::-1] for pair in DEV + DEV]))
    both = encode_orders(PROMPT, records(texts), records(swapped), "dev")
    found = torch.stack(list(averaged_label_logits(subject, both, size, start)))
    assert len(found) == len(texts) - start
    alone = [
        torch.stack(list(predict_label_logits(subject, encode_orders(PROMPT, records(one), None, "dev"), 1)))
        for one in (texts, swapped)
    ]
    expected = (alone[0].log_softmax(1) + alone[1].log_softmax(1)) / 2
    torch.testing.assert_close(found, expected[start:], atol=1e-5, rtol=1e-5)
    plain = encode_orders(PROMPT, records(texts), None, "dev")
    found = torch.stack(list(averaged_label_logits(subject, plain, size, start)))
    torch.testing.assert_close(found, alone[0][start:], atol=1e-5, rtol=1e-5)


def test_a_different_number_of_swapped_records_is_refused() -> None:
    with pytest.raises(UserError, match="dev: expected 2 swapped records, found 1"):
        encode_orders(PROMPT, records(["a", "b"]), records(["a"]), "dev")


def test_the_grader_ignores_the_swapped_files_and_reruns_without_them(
    pairs: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write_recipe(pairs, tree(tiny_base))
    assert main([str(path), "--workspace", str(pairs)]) == 0
    answers = tmp_path_factory.mktemp("answers")
    (answers / "result_tiny_6.txt").write_text("1\n0\n1\n0\n1\n1\n")
    with_them = grading.grade(pairs, answers=answers)
    report = answers / "report.json"
    arguments = ["--submission", str(pairs), "--answers", str(answers), "--json", str(report)]
    assert grade([*arguments, "--rerun", "6", "--recipes", str(path)]) == 0
    rerun = [each for each in json.loads(report.read_text())["advice"] if each["check"] == "predictions and a rerun"]
    assert [each["reason"] for each in rerun] == ["6 of 6 drawn rows come out as submitted"]
    for name in ("dev", "holdout"):
        (pairs / f"pre_data/tiny/tiny_{name}_swapped.json").write_text("nothing")
    changed = grading.grade(pairs, answers=answers)
    for name in ("dev", "holdout"):
        (pairs / f"pre_data/tiny/tiny_{name}_swapped.json").unlink()
    without = grading.grade(pairs, answers=answers)
    assert with_them.points == changed.points == without.points > 30
    assert contract.parse_json((pairs / "pre_data/tiny/tiny_dev.json").read_bytes())
