"""What a report says about its key: attacks that try to read answers off one, and the bound counted over all keys."""

import itertools
import json
import math

import pytest
from support import submissions

from grading.checks.predictions import check_predictions
from grading.contract import label_set
from grading.grades import AnswerKey, DatasetGrade, PartGrade, Report
from grading.report.disclosure import most_bits, shows_confusion
from grading.report.gradescope import as_gradescope
from grading.report.json_report import as_json
from grading.report.text import as_text
from grading.rubric import RESULT
from grading.submission.folder import Submission


def reports(folder, answers, labels=None):
    """All that a candidate may see of the result that lies in the folder."""
    key = AnswerKey("QQP", "result_QQP.txt", tuple(answers), labels or label_set(answers))
    verdicts, metrics, predictions = check_predictions(Submission(folder), key)
    part = PartGrade("QQP", RESULT, 1, tuple(verdicts))
    report = Report((DatasetGrade(key, (part,), metrics, predictions, None),))
    value, text = as_json(report), as_text(report)
    return json.dumps([value, text, as_gradescope(value, text)])


def result(folder, lines):
    submissions.write(folder / "result/result_QQP.txt", "".join(f"{line}\n" for line in lines).encode())


def test_a_key_of_many_labels_cannot_be_read_off_a_report(tmp_path):
    """Row i predicted as label i: the matrix of counts had the answer of each of 150 rows."""
    labels = [f"label{number:03}" for number in range(150)]
    result(tmp_path, labels)
    keys = [labels[shift:] + labels[:shift] for shift in range(1, 150)]
    found = {reports(tmp_path, key) for key in keys}
    assert len(found) == 1  # all are 0 of 150
    assert not any(
        label in report for report in found for label in labels[1:]
    )  # the first is the line that is quoted nowhere
    assert '"confusion": null' in next(iter(found))


@pytest.mark.parametrize("count", [9, 20, 149])
def test_names_of_many_labels_are_in_no_report(tmp_path, count):
    labels = [f"label{number:03}" for number in range(count)]
    result(tmp_path, ["x"] * 150)
    report = reports(tmp_path, (labels * 150)[:150])
    assert "label0" not in report
    assert f"not one of the {count} labels and count as wrong" in report


@pytest.mark.parametrize(
    ("rows", "labels", "shown"),
    [(150, 1, True), (1, 2, True), (150, 2, True), (150, 3, True), (89, 3, False), (90, 3, True), (159, 4, False),
     (160, 4, True), (640, 8, True), (10**6, 9, False)],
)  # fmt: skip
def test_where_the_matrix_is_shown(tmp_path, rows, labels, shown):
    assert shows_confusion(rows, labels) == shown
    if rows < 1000 and labels > 1:
        result(tmp_path, ["0"] * rows)
        report = reports(tmp_path, [str(row % labels) for row in range(rows)], tuple(map(str, range(labels))))
        assert ('"confusion": null' in report) != shown
        assert ("answer, predicted as" in report) == shown


def test_the_bound_is_far_below_a_key():
    assert round(most_bits(150, 2), 1) == 17.0
    for rows, labels in ((150, 2), (150, 3), (160, 4), (640, 8), (150, 20), (150, 150), (390_965, 2), (4096, 4096)):
        assert most_bits(rows, labels) < rows * math.log2(labels) / 4


RESULTS = ["000000", "000111", "012012", "xxxxxx", "01xx01", "0", "201021", "00xx11"]


@pytest.mark.parametrize("lines", RESULTS)
@pytest.mark.parametrize("labels", ["01", "012"])
def test_all_keys_give_few_reports(tmp_path, lines, labels):
    """Every key of six rows: the number of different reports is at most that of the bound, whatever was submitted."""
    result(tmp_path, lines)
    found = {reports(tmp_path, key, tuple(labels)) for key in itertools.product(labels, repeat=6)}
    assert math.log2(len(found)) <= most_bits(6, len(labels)) + 1e-9
    assert len(found) < len(labels) ** 6 / 2


def test_all_orders_of_different_labels_give_a_report_for_each_count(tmp_path):
    result(tmp_path, "012345")
    found = {reports(tmp_path, key) for key in itertools.permutations("012345")}
    assert len(found) == 6  # 0 to 6 right, but never 5


@pytest.mark.parametrize("lines", [["0"] * 100, ["0"] * 50 + ["1"] * 50, ["0"] * 33 + ["1"] * 33 + ["x"] * 34])
def test_two_labels_divide_each_column_once(tmp_path, lines):
    """Answers that are exchanged between rows of the same prediction change nothing."""
    result(tmp_path, lines)
    key = ["1" if row % 3 else "0" for row in range(100)]
    whole = reports(tmp_path, key)
    for first, second in itertools.combinations(range(0, 100, 7), 2):
        if lines[first] == lines[second]:
            other = list(key)
            other[first], other[second] = other[second], other[first]
            assert reports(tmp_path, other) == whole
