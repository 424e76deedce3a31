"""Calibration on generated logits whose truth is known: it is recovered, or not used where there is nothing to gain."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runner.errors import UserError
from runner.prediction.calibration import FORMS, decide, fit, softmax
from runner.prediction.calibration_file import Calibration, read_calibration, write_calibration


def generated(rows: int, labels: int = 2, temperature: float = 1.0, shift: float = 0.0, seed: int = 0) -> Any:
    """Logits and labels. The labels are drawn from `logits / temperature`, plus `shift` for the last label."""
    draw = np.random.default_rng(seed)
    true = draw.normal(0, 2, (rows, labels))
    answers = np.array([draw.choice(labels, p=row) for row in softmax(true)])
    true[:, -1] -= shift
    return true * temperature, answers


@pytest.mark.parametrize("labels", [2, 3])
def test_a_known_temperature_and_prior_shift_are_recovered(labels: int) -> None:
    logits, answers = generated(20_000, labels, temperature=2.0, shift=1.0)
    found = fit(logits, answers, "temperature and bias")
    assert found.temperature == pytest.approx(2, rel=0.05)
    assert found.bias[-1] - found.bias[0] == pytest.approx(1, abs=0.08)
    assert sum(found.bias) == pytest.approx(0, abs=1e-6)
    assert fit(logits, answers, "none") == Calibration(1.0, (0.0,) * labels)


def test_what_is_shifted_is_calibrated_and_the_gain_is_out_of_fold() -> None:
    logits, answers = generated(500, temperature=2.0, shift=1.5)
    decision = decide(logits.tolist(), answers.tolist())
    assert decision.form == "temperature and bias"
    assert decision.reason.startswith("temperature and bias: cross-validated log loss ")
    found = np.array(decision.probabilities)
    losses = -np.log(found[np.arange(500), answers])
    assert decision.reason.endswith(f" → {losses.mean():.3f}")
    before = -np.log(softmax(logits)[np.arange(500), answers]).mean()
    inside = fit(logits, answers, decision.form)
    in_sample = -np.log(softmax(logits / inside.temperature + np.array(inside.bias))[np.arange(500), answers]).mean()
    assert in_sample < losses.mean() < before - 0.05
    assert decision == decide(logits.tolist(), answers.tolist())


def test_no_row_is_used_for_its_own_calibration() -> None:
    logits, answers = generated(60, temperature=2.0, shift=1.5)
    logits[0], answers[0] = (30.0, -30.0), 1
    decision = decide(logits.tolist(), answers.tolist())
    assert decision.calibration is not None
    inside = decision.calibration.apply(torch.tensor(logits)).softmax(1)
    # the fit on all rows makes room for the one that is surely wrong, and those without it do not
    assert decision.probabilities[0][1] < float(inside[0, 1]) / 10


def test_a_temperature_alone_changes_no_answer() -> None:
    logits, answers = generated(500, temperature=3.0)
    decision = decide(logits.tolist(), answers.tolist())
    assert decision.form == "temperature"
    assert decision.calibration is not None
    assert decision.calibration.bias == (0.0, 0.0)
    changed = decision.calibration.apply(torch.tensor(logits))
    assert changed.argmax(1).tolist() == logits.argmax(1).tolist()


@pytest.mark.parametrize("labels", [2, 3])
def test_logits_that_are_calibrated_stay_as_they_are(labels: int) -> None:
    used = [decide(*map(list, generated(300, labels, seed=seed))).form != "none" for seed in range(8)]
    assert sum(used) <= 1


def test_logits_that_say_nothing_give_the_majority_and_the_reason_says_so() -> None:
    draw = np.random.default_rng(0)
    logits, answers = draw.normal([1.0, -1.0], 0.3, (400, 2)), (draw.random(400) < 0.7).astype(int)
    decision = decide(logits.tolist(), answers.tolist())
    assert decision.reason.endswith("the logits say no more about the labels than the label shares do")
    assert decision.calibration is not None
    assert decision.calibration.apply(torch.tensor(logits)).argmax(1).float().mean() > 0.95


def test_a_bias_that_costs_accuracy_is_not_used() -> None:
    decisions = [decide(*map(list, generated(200, temperature=2.0, shift=0.5, seed=seed))) for seed in range(8)]
    for seed, decision in enumerate(decisions):
        logits, answers = generated(200, temperature=2.0, shift=0.5, seed=seed)
        right = np.array(decision.probabilities).argmax(1) == answers
        assert right.mean() >= (logits.argmax(1) == answers).mean()


def test_too_few_rows_of_a_label_are_not_calibrated() -> None:
    decision = decide([[0.0, 1.0]] * 30, [1] * 27 + [0] * 3)
    assert (decision.calibration, decision.reason) == (
        None, "a label has 3 hold-out rows; cross-validation needs 10 of each",
    )  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_labels_that_are_separated_or_reversed_give_finite_numbers(form: str) -> None:
    logits = np.array([[40.0, -40.0], [-40.0, 40.0]] * 50)
    for answers in ([0, 1] * 50, [1, 0] * 50):
        found = fit(logits, np.array(answers), form)
        assert np.isfinite([found.temperature, *found.bias]).all()
        assert 0 < found.temperature <= 50


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a calibration beside something that counts as an adapter."""
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    logits, answers = generated(500, temperature=2.0, shift=1.5)
    write_calibration(decide(logits.tolist(), answers.tolist()).calibration, ("no", "yes"), tmp_path)
    return tmp_path


def test_what_is_written_is_read(folder: Path) -> None:
    logits, answers = generated(500, temperature=2.0, shift=1.5)
    found = read_calibration(folder, ("no", "yes"))
    assert found == decide(logits.tolist(), answers.tolist()).calibration
    write_calibration(None, ("no", "yes"), folder)
    assert read_calibration(folder, ("no", "yes")) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0}, "is not a calibration for these labels"),
        ({"temperature": "x"}, "cannot be read"),
        ({"temperature": 10**400}, "cannot be read"),
        ({"bias": [1.0]}, "is not a calibration for these labels"),
        ({"labels": ["yes", "no"]}, "is not a calibration for these labels"),
        ({"schema": "other"}, "is not a calibration for these labels"),
        ({"adapter": "0" * 64}, "was fitted to another adapter"),
        (None, "cannot be read"),
    ],
    ids=str,
)
def test_a_calibration_that_does_not_fit_is_refused(folder: Path, change: Any, message: str) -> None:
    path = folder / "calibration.json"
    path.write_text("[" if change is None else json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=rf"calibration\.json: {message}") as error:
        read_calibration(folder, ("no", "yes"))
    assert error.value.next_step == "run the evaluate stage again, or load with calibrate=False"
