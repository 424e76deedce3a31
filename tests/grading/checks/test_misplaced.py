"""A file that lies elsewhere, or is spelled differently, is named beside the one that is missing. It earns nothing."""

import os

import pytest
from support import submissions

from grading.checks.answer_key import read_keys
from grading.checks.misplaced import find_misplaced
from grading.contract.near_names import differs_in_spelling_only, is_near
from grading.grader import OpenExam
from grading.submission.folder import MOST_NAMES, Submission

RESULT = "result/result_CoLA.txt"
TRAIN = "pre_data/CoLA/CoLA_train.json"
CONFIG = "saved_model/CoLA/adapter_config.json"
WEIGHTS = "saved_model/CoLA/adapter_model.safetensors"

CASES = [
    (RESULT, "result/result_cola.txt"),
    (RESULT, "result/result_CoLA .txt"),
    (RESULT, "result/result_CoLA.txt.txt"),
    (RESULT, "result/result_CoLA.csv"),
    (RESULT, "result/result_CoLA (1).txt"),
    (RESULT, "result/result_CoLA_64.txt"),
    (RESULT, "result/result_CLoA.txt"),
    (RESULT, "result/Result-CoLA.txt"),
    (RESULT, "result/CoLA/result_CoLA.txt"),
    (RESULT, "results/result_CoLA.txt"),
    (RESULT, "result_cola.txt"),
    (RESULT, "result/result_ＣｏＬＡ.txt"),
    (TRAIN, "pre_data/cola/cola_train.json"),
    (TRAIN, "pre_data/CoLA/cola_train.json"),
    (TRAIN, "pre_data/CoLA/CoLA_train.jsonl"),
    (TRAIN, "pre_data/CoLA_train.json"),
    (TRAIN, "predata/CoLA/CoLA_train.json"),
    (CONFIG, "saved_model/adapter_config.json"),
    (CONFIG, "saved_model/cola/adapter_config.json"),
    (CONFIG, "saved_model/CoLA/checkpoint-500/adapter_config.json"),
    (CONFIG, "saved_model/CoLA/adapter_config (1).json"),
    (CONFIG, "adapter_config.json"),
    (WEIGHTS, "saved_model/Co-LA/adapter_model.safetensors"),
]


@pytest.mark.parametrize(("path", "found"), CASES, ids=[case[1] for case in CASES])
def test_a_file_that_may_be_meant_is_found(tmp_path, path, found):
    submissions.write(tmp_path / found, b"")
    for other in ("result/result_QQP.txt", "pre_data/QQP/QQP_train.json", "saved_model/QQP/adapter_config.json"):
        submissions.write(tmp_path / other, b"")
    assert find_misplaced(Submission(tmp_path), path, "CoLA") == found


NOTHING = [
    (RESULT, "result/result_QQP.txt"),
    (RESULT, "result/notes.txt"),
    (WEIGHTS, "saved_model/CoLA/adapter_model.bin"),
    (CONFIG, "saved_model/QQP/adapter_config.json"),
    (TRAIN, "pre_data/CoLA/CoLA_dev.json"),
]


@pytest.mark.parametrize(("path", "other"), NOTHING, ids=[case[1] for case in NOTHING])
def test_another_file_is_not_taken_for_it(tmp_path, path, other):
    submissions.write(tmp_path / other, b"")
    assert find_misplaced(Submission(tmp_path), path, "CoLA") is None


def test_the_last_checkpoint_is_named(tmp_path):
    for step in (90, 500, 1000):
        submissions.write(tmp_path / f"saved_model/CoLA/checkpoint-{step}/adapter_config.json", b"")
    assert (
        find_misplaced(Submission(tmp_path), CONFIG, "CoLA") == "saved_model/CoLA/checkpoint-1000/adapter_config.json"
    )


def test_the_report_names_it_and_gives_no_points(tmp_path):
    folder = submissions.write_submission(tmp_path / "submission", "cola")
    keys = read_keys(submissions.write_answers(tmp_path / "answers", name="result_CoLA_64.txt"))
    report = OpenExam(tuple(keys)).grade(Submission(folder))
    verdicts = {verdict.check: verdict for part in report.datasets[0].parts for verdict in part.verdicts}
    assert report.points == 0
    assert verdicts["accuracy"].reason == (
        "result/result_CoLA.txt is missing, and so is result_CoLA.txt; there is 'result/result_cola.txt'"
    )
    assert verdicts["accuracy"].next_step == (
        "if 'result/result_cola.txt' is meant, move it to result/result_CoLA.txt; else write the predictions "
        "again, one label a line, in UTF-8 (with labeltune: --stages predict)"
    )
    assert verdicts["config file"].reason == (
        "saved_model/CoLA/adapter_config.json is missing; there is 'saved_model/cola/adapter_config.json'"
    )
    assert verdicts["weights file"].reason.endswith("there is 'saved_model/cola/adapter_model.safetensors'")
    assert verdicts["train file"].reason.endswith("there is 'pre_data/cola/cola_train.json'")


def test_odd_names_are_escaped(tmp_path):
    (tmp_path / "result").mkdir()
    os.close(os.open(os.fsencode(tmp_path) + b"/result/result_CoLA\x1b\n\xff.txt", os.O_CREAT))
    keys = read_keys(submissions.write_answers(tmp_path / "answers", name="result_CoLA.txt"))
    report = OpenExam(tuple(keys)).grade(Submission(tmp_path))
    reason = report.datasets[0].parts[2].verdicts[0].reason
    assert reason.endswith(r"there is 'result/result_CoLA\x1b\n\udcff.txt'")


def test_links_out_and_loops_are_not_followed(tmp_path):
    submissions.write(tmp_path / "outside/adapter_config.json", b"")
    inside = tmp_path / "inside"
    (inside / "saved_model/CoLA").mkdir(parents=True)
    (inside / "saved_model/CoLA/out").symlink_to(tmp_path / "outside")
    (inside / "saved_model/CoLA/loop").symlink_to(".")
    (inside / "result").symlink_to(tmp_path / "outside")
    assert find_misplaced(Submission(inside), CONFIG, "CoLA") is None
    assert Submission(inside).names("result") == []
    assert Submission(inside).names("saved_model/CoLA/loop") == ["loop", "out"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_no_folder(tmp_path):
    os.mkfifo(tmp_path / "result")
    assert Submission(tmp_path).names("result") == []
    assert Submission(tmp_path).names("nowhere") == []


def test_a_folder_of_many_names_is_read_in_part(tmp_path):
    for number in range(MOST_NAMES + 5):
        submissions.write(tmp_path / f"result/{number}", b"")
    assert len(Submission(tmp_path).names("result")) == MOST_NAMES


@pytest.mark.parametrize(
    ("expected", "found", "spelling", "near"),
    [
        ("CoLA", "cola", True, True),
        ("SST-2", "SST_2", True, True),
        ("SST-2", "sst2 ", True, True),
        ("CoLA", "COLA_46", False, True),
        ("CoLA", "CLoA", False, True),
        ("CoLA", "Col", False, False),
        ("CoLA", "CoLAA", False, True),
        ("QQP", "QNP", False, False),
        ("QQP", "qqp", True, True),
        ("CoLA", "CoLA", False, False),
        ("CoLA", "QQP", False, False),
    ],
)
def test_near_names(expected, found, spelling, near):
    assert (differs_in_spelling_only(expected, found), is_near(expected, found)) == (spelling, near)
