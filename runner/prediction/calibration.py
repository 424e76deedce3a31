"""Calibration: a temperature and a bias for each label, fitted on the hold-out, and the decision whether they help.

The calibrated logits are `logits / temperature + bias`. This is Platt's scaling for any number of labels: temperature scaling
(Guo et al. 2017, arXiv:1706.04599) with a bias, which undoes a shifted prior (Saerens et al. 2002). Both are fitted together by
log loss, with a little shrinkage. A threshold that maximises the accuracy instead depends on the few rows near it only: its
error falls with the cube root of the rows (Kim and Pollard 1990), that of the log loss with the square root.

Each of the two is used only where repeated stratified cross-validation within the hold-out says that it helps: it must lower
the log loss by more than the standard error of the gain, and with a bias the accuracy must not fall. On logits that are well
calibrated already, that happens by chance in about two of a hundred cases.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from runner.language import tr
from runner.prediction.calibration_file import Calibration

FOLDS = 5
"""Folds of one cross-validation."""

REPEATS = 10
"""Cross-validations, each with folds of its own."""

SEED = 0
"""Seed of the folds."""

SMALLEST_SCALE = 0.02
"""The least of 1 / temperature."""

SMALLEST = 1e-300
"""A probability counts as this much at least in a logarithm."""

Array = Any
"""A NumPy array of float64."""

FORMS: Mapping[str, tuple[bool, bool]] = {
    "none": (False, False),
    "temperature": (True, False),
    "bias": (False, True),
    "temperature and bias": (True, True),
}
"""What is fitted: a temperature, a bias."""


@dataclass(frozen=True)
class Gain:
    """How much a part of the calibration lowers the cross-validated log loss."""

    log_loss: float
    """Mean over the rows, in nats; more than 0 is better."""
    error: float
    """Its standard error."""
    accuracy: float
    """Change of the cross-validated accuracy."""

    @property
    def helps(self) -> bool:
        """Whether the log loss falls by more than the noise."""
        return self.log_loss > self.error


@dataclass(frozen=True)
class Decision:
    """Whether to calibrate."""

    calibration: Optional[Calibration]
    """Fitted on the whole hold-out; None: the logits stay as they are."""
    form: str
    """A key of `FORMS`."""
    reason: str
    """For the user."""
    gains: Mapping[str, Gain]
    """The gains that were compared; empty where nothing was."""
    probabilities: Sequence[list[float]]
    """(rows, labels), the hold-out's probabilities out of fold: each row by the mean of the `REPEATS` calibrations that were
    fitted without its fold. Without calibration the model's own."""


def decide(logits: Sequence[Sequence[float]], targets: Sequence[int]) -> Decision:
    """Decide by cross-validation, and fit.

    Args:
        logits: (rows, labels), the hold-out's label logits.
        targets: (rows,), the number of each row's right label.
    """
    table, answers = np.asarray(logits, dtype=np.float64), np.asarray(targets)
    counts = [int((answers == label).sum()) for label in range(table.shape[1])]
    if min(counts) < 2 * FOLDS:
        reason = tr(
            "a label has {counts} hold-out rows; cross-validation needs {folds} of each",
            counts=min(counts),
            folds=2 * FOLDS,
        )
        return uncalibrated(logits, reason)
    found = _cross_validate(table, answers)
    form, reason, gains = _choose(found, answers)
    if form == "none":
        return uncalibrated(logits, reason, gains)
    return Decision(fit(table, answers, form), form, reason, gains, found[form].tolist())


def uncalibrated(
    logits: Sequence[Sequence[float]], reason: str, gains: Optional[Mapping[str, Gain]] = None
) -> Decision:
    """The decision to leave the logits as they are."""
    return Decision(None, "none", reason, gains or {}, softmax(np.asarray(logits, dtype=np.float64)).tolist())


def fit(logits: Array, targets: Array, form: str) -> Calibration:
    """Minimise the log loss by Newton's method. The objective is convex in 1 / temperature and the bias.

    Shrinkage: the scale 1 / temperature has the prior N(1, 1) and each bias N(0, 1), as heavy as about one row. It keeps
    both finite where the labels can be separated."""
    # what is common to all labels of a row has no effect
    logits = logits - logits.mean(1, keepdims=True)
    used = np.flatnonzero([FORMS[form][0], *[FORMS[form][1]] * logits.shape[1]])
    parameters = np.array([1.0, *[0.0] * logits.shape[1]])
    value = _objective(logits, targets, parameters)
    for _ in range(100):
        gradient, curvature = _derivatives(logits, targets, parameters)
        step = np.zeros_like(parameters)
        step[used] = np.linalg.solve(curvature[np.ix_(used, used)], gradient[used])
        while (lower := _objective(logits, targets, parameters - step)) > value and np.abs(step).max() > 1e-10:
            step = step / 2
        parameters, value = parameters - step, lower
        if np.abs(step).max() <= 1e-8:
            break
    return Calibration(1 / max(float(parameters[0]), SMALLEST_SCALE), tuple(parameters[1:].tolist()))


def softmax(logits: Array) -> Array:
    """Probabilities of (rows, labels)."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def _cross_validate(logits: Array, targets: Array) -> dict[str, Array]:
    """For each form, and for the label shares alone, the out-of-fold probabilities (rows, labels).

    A row's log-probabilities are averaged over the repeats. The calibrations are affine in the logits, so this is one
    calibration of the same form, with the mean of the parameters that were fitted without the row."""
    draw = random.Random(SEED)
    found: dict[str, Array] = {name: np.zeros_like(logits) for name in (*FORMS, "shares")}
    for _ in range(REPEATS):
        folds = _folds(targets, draw)
        repeat = {name: softmax(logits) for name in found}
        for fold in range(FOLDS):
            train, test = folds != fold, folds == fold
            for name in FORMS:
                fitted = fit(logits[train], targets[train], name)
                repeat[name][test] = softmax(logits[test] / fitted.temperature + np.array(fitted.bias))
            counts = np.bincount(targets[train], minlength=logits.shape[1]) + 1
            repeat["shares"][test] = counts / counts.sum()
        for name, probabilities in repeat.items():
            found[name] += np.log(np.maximum(probabilities, SMALLEST)) / REPEATS
    return {name: softmax(means) for name, means in found.items()}


def _folds(targets: Array, draw: random.Random) -> Array:
    """The fold of each row: each label's rows are dealt out in random order, and the dealing never starts over."""
    folds, dealt = np.zeros(len(targets), dtype=int), 0
    for label in range(int(targets.max()) + 1):
        rows = np.flatnonzero(targets == label).tolist()
        draw.shuffle(rows)
        folds[rows] = (np.arange(len(rows)) + dealt) % FOLDS
        dealt += len(rows)
    return folds


def _choose(found: Mapping[str, Array], targets: Array) -> tuple[str, str, dict[str, Gain]]:
    """The form to use, the reason, and the gains. First the bias, beside a free temperature; then the temperature."""
    losses = {name: _losses(each, targets) for name, each in found.items()}
    accuracy = {name: np.mean(each.argmax(1) == targets) for name, each in found.items()}

    def gain(before: str, after: str) -> Gain:
        rows = losses[before] - losses[after]
        error = float(rows.std(ddof=1)) / math.sqrt(len(rows))
        return Gain(float(rows.mean()), error, float(accuracy[after] - accuracy[before]))

    gains = {"logits": gain("shares", "temperature and bias"), "bias": gain("temperature", "temperature and bias")}
    form, gains["temperature"] = "none", gain("bias", "temperature and bias")
    if gains["bias"].helps:
        form = "temperature and bias" if gains["temperature"].helps else "bias"
    if accuracy[form] < accuracy["none"] or form == "none":
        gains["temperature"] = gain("none", "temperature")
        form = "temperature" if gains["temperature"].helps else "none"
    if form == "none" and gains["bias"].helps:
        return (
            form,
            tr("a temperature does not help by more than the noise of cross-validation, and a bias costs accuracy"),
            gains,
        )
    if form == "none":
        return form, tr("neither a temperature nor a bias helps by more than the noise of cross-validation"), gains
    before, after = float(losses["none"].mean()), float(losses[form].mean())
    reason = tr(
        "{form}: cross-validated log loss {before:.3f} → {after:.3f}", form=tr(form), before=before, after=after
    )
    if not gains["logits"].helps:
        reason += tr("; the logits say no more about the labels than the label shares do")
    return form, reason, gains


def _losses(probabilities: Array, targets: Array) -> Array:
    """(rows,) minus the log-probability of the right label."""
    return -np.log(np.maximum(probabilities[np.arange(len(targets)), targets], SMALLEST))


def _scaled(logits: Array, parameters: Array) -> Array:
    return logits * parameters[0] + parameters[1:]


def _objective(logits: Array, targets: Array, parameters: Array) -> float:
    """The log loss of all rows, and the shrinkage."""
    scaled = _scaled(logits, parameters)
    most = scaled.max(1, keepdims=True)
    totals = most[:, 0] + np.log(np.exp(scaled - most).sum(1))
    right = scaled[np.arange(len(targets)), targets]
    return float((totals - right).sum() + ((parameters[0] - 1) ** 2 + (parameters[1:] ** 2).sum()) / 2)


def _derivatives(logits: Array, targets: Array, parameters: Array) -> tuple[Array, Array]:
    """Gradient and Hessian of the objective, by 1 / temperature first and the biases after it."""
    probabilities = softmax(_scaled(logits, parameters))
    wrong = probabilities.copy()
    wrong[np.arange(len(targets)), targets] -= 1
    means = (probabilities * logits).sum(1, keepdims=True)
    spread = probabilities * (logits - means)
    size = len(parameters)
    curvature = np.eye(size)
    curvature[0, 0] += (spread * logits).sum()
    curvature[0, 1:] = curvature[1:, 0] = spread.sum(0)
    curvature[1:, 1:] += np.diag(probabilities.sum(0)) - probabilities.T @ probabilities
    shrinkage = parameters - np.eye(size)[0]
    return np.array([(wrong * logits).sum(), *wrong.sum(0)]) + shrinkage, curvature
