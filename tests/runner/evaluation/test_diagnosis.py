"""The warning about an adapter that is not better than a baseline, and each of the causes, word for word."""

import dataclasses
import math

import pytest

from runner.evaluation.diagnosis import HIGHEST, LOWEST, TrainingFacts, cause, not_worse, training_facts, warning
from runner.training.learning_rate import RATES

STUCK = TrainingFacts(
    rows=2000,
    epochs=2,
    learning_rate=2e-4,
    losses=[2.0, 0.7, 0.69, 0.7, 0.68, 0.69, 0.69, 0.69],
    label_shares={"0": 1000, "1": 1000},
    holdout_loss=0.69,
)
"""A training that learned the label shares and nothing else."""

LOW = (
    "train.learning_rate 0.0002 is too low for this base, or 2,000 rows × 2 epochs are too few: the training loss ended at "
    "0.69, and the label shares alone give 0.69; raise it, for instance to 0.001, or raise samples.train, or "
    "raise train.epochs"
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, LOW),
        (
            {"learning_rate": 1e-6},
            "train.learning_rate 1e-06 is far below the usual ones: the training loss ended at 0.69, and the label shares "
            "alone give 0.69; set train.learning_rate: auto, which takes a usual one",
        ),
        (
            {"losses": [0.7, 0.5, 0.6, 1.4], "learning_rate": 1e-2},
            "train.learning_rate 0.01 is too high: the training loss rose from 0.50 to 1.40; lower it, for instance to 0.002",
        ),
        (
            {"skipped_steps": 3, "learning_rate": 1e-2},
            "train.learning_rate 0.01 is too high: 3 steps were skipped because their loss or gradient was not finite; "
            "lower it, for instance to 0.002",
        ),
        ({"losses": [], "epochs": 1}, "2,000 rows × 1 epoch are too few; raise samples.train, or raise train.epochs"),
        (
            {"losses": [0.7, 0.5, 0.3, 0.1]},
            "too few rows (2,000), or damaged labels: the training loss fell to 0.10, and the hold-out loss is 0.69; raise "
            "samples.train, and read some training records",
        ),
        (
            {"losses": [0.7, 0.6, 0.5, 0.4], "holdout_loss": 0.5},
            "2,000 rows × 2 epochs are too few, or the base is too small for this task; raise samples.train, or take a "
            "larger base",
        ),
        (
            {"losses": [], "more_rows": False},
            "2,000 rows × 2 epochs are too few; add labelled rows (all of the file's are used), or raise train.epochs",
        ),
        (
            {"learning_rate": 1.0},
            "train.learning_rate 1 is above the usual ones: the training loss ended at 0.69, and the label shares alone give "
            "0.69; set train.learning_rate: auto, which takes a usual one",
        ),
        (
            {"learning_rate": HIGHEST},
            "2,000 rows × 2 epochs are too few: the training loss ended at 0.69, and the label shares alone give 0.69; raise "
            "samples.train, or raise train.epochs",
        ),
        (
            {"losses": [1.22, 0.94, 0.7, 1.35, 1.2, 1.16, 1.12, 1.1, 1.08, 1.11, 1.1, 1.1], "learning_rate": 0.3},
            "train.learning_rate 0.3 is too high: the training loss rose from 0.70 to 1.10; lower it, for instance to 0.002",
        ),
        (
            {"losses": [], "planned_epochs": 8},
            "2,000 rows × 2 epochs are too few; raise samples.train, or raise train.patience, which stopped the training "
            "after epoch 2 of 8",
        ),
        (
            {"planned_epochs": 8},
            LOW.replace("raise train.epochs", "raise train.patience, which stopped the training after epoch 2 of 8"),
        ),
        ({"planned_epochs": 2}, LOW),
    ],
    ids=[
        "too low",
        "far too low",
        "rose",
        "skipped",
        "short",
        "damaged",
        "small",
        "all rows",
        "above",
        "highest",
        "rose from one",
        "short, stopped",
        "low, stopped",
        "low, not stopped",
    ],
)
def test_the_likeliest_cause(changes: dict[str, object], expected: str) -> None:
    assert cause(dataclasses.replace(STUCK, **changes)) == expected


def test_the_usual_rates_are_those_of_auto() -> None:
    assert (min(RATES), max(RATES)) == (LOWEST, HIGHEST)
    for rate in RATES[:-1]:
        advised = cause(dataclasses.replace(STUCK, learning_rate=rate)).partition("for instance to ")[2]
        assert rate < float(advised.partition(",")[0]) <= HIGHEST
    assert "or 2,000 rows × 2 epochs are too few" in cause(dataclasses.replace(STUCK, learning_rate=LOWEST))


def test_a_loss_that_only_varies_has_not_diverged() -> None:
    """The quarters' means are 0.9, 0.8, 0.9 and 1.0."""
    facts = dataclasses.replace(STUCK, losses=[0.2, 1.6, 0.3, 1.3, 0.4, 1.4, 0.3, 1.7])
    assert "is too low" in cause(facts)
    assert "rose from 0.80 to 1.00" in cause(
        dataclasses.replace(facts, losses=[0.9, 0.9, 0.79, 0.81, 0.9, 0.9, 0.99, 1.01])
    )


def test_the_shares_of_the_labels_count() -> None:
    """A loss of 0.5 is good where the labels are equally frequent, and nothing where one of them has 80 %."""
    facts = dataclasses.replace(STUCK, losses=[0.7, 0.5, 0.5, 0.5], holdout_loss=0.5)
    assert cause(facts).startswith("2,000 rows × 2 epochs are too few, or the base")
    assert "too low" in cause(dataclasses.replace(facts, label_shares={"0": 400, "1": 1600}))


def test_only_baselines_that_are_as_good_are_named() -> None:
    found = {"majority": 0.5, "untuned": 0.48, "bag_of_words": 0.71}
    assert warning(0.72, found, STUCK) is None
    assert warning(0.6, found, STUCK) == (
        f"the adapter (60.0%) is not better than a bag of words (71.0%) on the hold-out; likeliest cause: {LOW}"
    )
    assert str(warning(0.5, {**found, "untuned": 0.5}, STUCK)).startswith(
        "the adapter (50.0%) is not better than the majority (50.0%), the untuned base (50.0%) and a bag of words (71.0%) on"
    )


def test_an_adapter_without_a_mistake_lacks_nothing() -> None:
    """Nothing can be better than it, so there is no cause to look for."""
    assert warning(1.0, {"majority": 0.5, "bag_of_words": 1.0}, STUCK) is None


def test_class_weights_change_what_the_label_shares_alone_give() -> None:
    """With balanced weights that is log 2 in training, whatever the file's shares are; on the hold-out they are the file's."""
    trained = {
        "rows": 2000,
        "epochs": [{}, {}],
        "learning_rate": 2e-4,
        "tuned": {"loss": 0.3},
        "skipped_steps": 0,
        "training_shares": {"0": 0.5, "1": 0.5},
        "prior_shift": {"0": math.log(0.9 / 0.5), "1": math.log(0.1 / 0.5)},
    }
    counts, losses = {"train": {"0": 1800, "1": 200}}, [{"loss": loss} for loss in (0.7, 0.6, 0.4, 0.4)]
    assert cause(training_facts(trained, counts, losses)).startswith("too few rows (2,000), or damaged labels")
    assert "too low" in cause(training_facts({**trained, "prior_shift": None}, counts, losses))


@pytest.mark.parametrize(("drawn", "expected"), [(1990, True), (2000, False)])
def test_more_rows_are_advised_only_where_the_file_has_them(drawn: int, expected: bool) -> None:
    trained = {"rows": drawn, "epochs": [{}], "learning_rate": 2e-4, "tuned": {"loss": 0.7}, "skipped_steps": 0}
    assert training_facts({**trained, "planned_epochs": 3}, {"train": {"0": 1}}, []).planned_epochs == 3
    counts = {"0": drawn // 2, "1": drawn // 2}
    prepared = {"train": counts, "drawn": counts, "holdout": {"0": 100, "1": 100}, "labels": {"0": 1100, "1": 1100}}
    assert training_facts(trained, prepared, []).more_rows is expected


def test_baselines_are_listed_in_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABELTUNE_LANG", "zh")
    found = {"majority": 0.5, "untuned": 0.5, "bag_of_words": 1.0}
    assert not_worse(0.5, found) == "多数类（50.0%）、未微调的基座模型（50.0%）、词袋模型（100.0%）"
