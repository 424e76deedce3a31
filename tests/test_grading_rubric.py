"""Each row of the rubric: a good submission earns it, a defect loses exactly what the table here says, in its words."""

import json
import os
import struct
from fractions import Fraction

import pytest
import submissions

from grading import adapter, rubric
from grading.answers import read_keys
from grading.report import as_json, as_text
from grading.score import grade
from grading.submission import Submission

TRAIN = "pre_data/QQP/QQP_train.json"
DEV = "pre_data/QQP/QQP_dev.json"
CONFIG = "saved_model/QQP/adapter_config.json"
WEIGHTS = "saved_model/QQP/adapter_model.safetensors"
RESULT = "result/result_QQP.txt"
STEM = "base_model.model.model.layers.0.self_attn.q_proj"
A, B = f"{STEM}.lora_A.weight", f"{STEM}.lora_B.weight"


def removed(path):
    return lambda folder: (folder / path).unlink()


def replaced(path, data):
    return lambda folder: submissions.write(folder / path, data)


def with_records(path, change):
    """The records at `path` after `change` was made to the list."""

    def build(folder):
        records = json.loads((folder / path).read_bytes())
        change(records)
        submissions.write_json(folder / path, records)

    return build


def with_config(**changes):
    return lambda folder: submissions.write_json(folder / CONFIG, submissions.adapter_config(**changes))


def with_tensors(change, header=None):
    """The weights after `change` was made to the tensors, and `header` to what the file says about them."""

    def build(folder):
        tensors = submissions.adapter_tensors()
        change(tensors)
        submissions.write(folder / WEIGHTS, submissions.safetensors(tensors, header))

    return build


def with_header(**changes):
    return with_tensors(lambda tensors: None, changes)


def emptied_folder(path):
    def build(folder):
        (folder / path).unlink()
        (folder / path).mkdir()

    return build


def linked_out(path):
    def build(folder):
        outside = folder.parent / "outside"
        (folder / path).rename(outside)
        (folder / path).symlink_to(outside)

    return build


def zero_b(tensors):
    for name in list(tensors):
        if "lora_B" in name:
            tensors[name] = submissions.floats([4, 2], [0.0, -0.0] * 4)


def cut_short(folder):
    os.truncate(folder / WEIGHTS, (folder / WEIGHTS).stat().st_size - 1)


def lengthened(folder):
    submissions.write(folder / WEIGHTS, (folder / WEIGHTS).read_bytes() + b"\0")


def too_large(folder):
    with (folder / WEIGHTS).open("r+b") as file:
        file.truncate(adapter.WEIGHTS_LIMIT + 1)  # a hole: takes no room on the disk


def pickled(folder):
    (folder / WEIGHTS).rename(folder / "saved_model/QQP/adapter_model.bin")


SAVE = "save the adapter with PEFT: model.save_pretrained(folder), safe_serialization on"
FINETUNE = "run the fine-tune stage again: accelerate launch runner/main.py RECIPE --stages finetune --fresh"
PREPARE = "run the prepare stage: accelerate launch runner/main.py RECIPE --stages prepare"
PREDICT = "run the predict stage: accelerate launch runner/main.py RECIPE --stages predict"
MEND = "mend or leave out the records that are named, or " + PREPARE
WRITE = "write one of 0, 1 and nothing else on each of the 10 lines"
TRY = "try other settings, compared on a hold-out of the training records"

# name, builder, check that is charged, share of it that is lost, the exact reason, the next step, checks that it blocks
DEFECTS = [
    ("train file missing", removed(TRAIN), "train file", 1, f"{TRAIN} is not there", PREPARE, ["train records"]),
    ("train file is a folder", emptied_folder(TRAIN), "train file", 1, f"{TRAIN} is a folder",
     "put a regular file there", ["train records"]),
    ("train file linked out", linked_out(TRAIN), "train file", 1, f"{TRAIN} is a link out of the submission",
     "put the file itself there", ["train records"]),
    ("train file is JSON lines", replaced(TRAIN, b"{}\n{}\n"), "train file", 1,
     f"{TRAIN} is no strict JSON: line 2, column 1: Extra data", PREPARE, ["train records"]),
    ("train file is an object", replaced(TRAIN, b"{}"), "train file", 1, f"{TRAIN} is not a JSON array", PREPARE,
     ["train records"]),
    ("no train records", replaced(TRAIN, b"[]"), "train records", 1,
     f"{TRAIN}: 0 of 0 records are as the contract says; at least 1 needed", PREPARE, []),
    ("one of four train records", with_records(TRAIN, lambda rows: rows[2].update(output=1)), "train records",
     Fraction(1, 4), f"{TRAIN}: 3 of 4 records are as the contract says; the first that is not is record 3: "
     "'output' is a number, expected a string", MEND, []),
    ("label of no key line", with_records(TRAIN, lambda rows: rows[0].update(output="2")), "train records",
     Fraction(1, 4), f"{TRAIN}: 3 of 4 records are as the contract says; the first that is not is record 1: "
     "'output' is '2', expected one of 0, 1", MEND, []),
    ("dev file missing", removed(DEV), "dev file", 1, f"{DEV} is not there", PREPARE, ["dev records"]),
    ("dev file not UTF-8", replaced(DEV, b'["\xe9"]'), "dev file", 1,
     f"{DEV} is no strict JSON: expected UTF-8 text, found byte 0xe9 at offset 2", PREPARE, ["dev records"]),
    ("dev records with answers", with_records(DEV, lambda rows: rows[0].update(output="1")), "dev records",
     Fraction(1, 10), f"{DEV}: 9 of 10 records are as the contract says; the first that is not is record 1: "
     "key 'output' is not part of the record", PREPARE, []),
    ("two dev records too few", with_records(DEV, lambda rows: rows.__delitem__(slice(8, None))), "dev records",
     Fraction(1, 5), f"{DEV}: 8 of 8 records are as the contract says; at least 10 needed", PREPARE, []),
    ("config missing", removed(CONFIG), "config file", 1, f"{CONFIG} is not there", SAVE, ["config format"]),
    ("config repeats a key", replaced(CONFIG, b'{"r": 1, "r": 2}'), "config format", 1,
     f"{CONFIG} is no strict JSON: key 'r' is repeated in one object", SAVE, []),
    ("config is a list", replaced(CONFIG, b"[]"), "config format", 1, f"{CONFIG} is not a JSON object", SAVE, []),
    ("config of IA3", with_config(peft_type="IA3"), "config format", 1,
     f"{CONFIG} has peft_type 'IA3', expected 'LORA'", SAVE, []),
    ("rank 0", with_config(r=0), "config format", 1, f"{CONFIG} has r 0, expected a whole number > 0", SAVE, []),
    ("rank true", with_config(r=True), "config format", 1, f"{CONFIG} has r True, expected a whole number > 0",
     SAVE, []),
    ("no targets", with_config(target_modules=[]), "config format", 1,
     f"{CONFIG} has target_modules [], expected a list of names or a string", SAVE, []),
    ("rank pattern a list", with_config(rank_pattern=[4]), "config format", 1,
     f"{CONFIG} has rank_pattern [4], expected an object of whole numbers > 0", SAVE, []),
    ("weights missing", removed(WEIGHTS), "weights file", 1, f"{WEIGHTS} is not there", SAVE,
     ["weights size", "weights format", "weights trained"]),
    ("weights pickled", pickled, "weights file", 1,
     f"{WEIGHTS} is not there; adapter_model.bin is a pickle, which may run code, and is not opened", SAVE,
     ["weights size", "weights format", "weights trained"]),
    ("weights empty", replaced(WEIGHTS, b""), "weights size", 1, f"{WEIGHTS} is empty", SAVE,
     ["weights format", "weights trained"]),
    ("weights cut short", cut_short, "weights size", 1, f"{WEIGHTS} has 663 bytes, its header speaks of 664",
     f"copy it again, or {SAVE}", ["weights trained"]),
    ("a byte behind the weights", lengthened, "weights size", 1,
     f"{WEIGHTS} has 665 bytes, its header speaks of 664", f"copy it again, or {SAVE}", ["weights trained"]),
    ("weights too large", too_large, "weights size", 1,
     f"{WEIGHTS} has 1,073,741,825 bytes, more than the 1,073,741,824 of any adapter",
     "save the adapter alone, without the base model", ["weights trained"]),
    ("a pickle named safetensors", replaced(WEIGHTS, b"PK\x03\x04" + b"\0" * 60), "weights format", 1,
     f"{WEIGHTS}: expected a header of at most 56 bytes, found a zip archive, as torch.save writes it", SAVE,
     ["weights trained"]),
    ("a Git LFS pointer", replaced(WEIGHTS, b"version https://git-lfs.github.com/spec/v1\n"), "weights format", 1,
     f"{WEIGHTS}: expected a header of at most 35 bytes, found a Git LFS pointer instead of the file", SAVE,
     ["weights trained"]),
    ("three bytes", replaced(WEIGHTS, b"abc"), "weights format", 1,
     f"{WEIGHTS}: expected a safetensors file, found 3 bytes", SAVE, ["weights trained"]),
    ("header behind the end", replaced(WEIGHTS, struct.pack("<Q", 3) + b"{}"), "weights format", 1,
     f"{WEIGHTS}: expected a header of at most 2 bytes, found one of 3", SAVE, ["weights trained"]),
    ("header is no object", replaced(WEIGHTS, submissions.framed(b"[]")), "weights format", 1,
     f"{WEIGHTS}: the header does not start with '{{'", SAVE, ["weights trained"]),
    ("header is no JSON", replaced(WEIGHTS, submissions.framed(b'{"a": NaN}')), "weights format", 1,
     f"{WEIGHTS}: the header is no strict JSON: NaN is no JSON value", SAVE, ["weights trained"]),
    ("metadata of numbers", with_header(__metadata__={"format": 1}), "weights format", 1,
     f"{WEIGHTS}: '__metadata__' is not an object of strings", SAVE, ["weights trained"]),
    ("tensor without dtype", with_header(**{A: {"shape": [2, 3], "data_offsets": [0, 24]}}), "weights format", 1,
     f"{WEIGHTS}: tensor '{A}': expected an object of dtype, shape and data_offsets", SAVE, ["weights trained"]),
    ("unknown dtype", with_header(**{A: {"dtype": "F12", "shape": [2, 3], "data_offsets": [0, 24]}}),
     "weights format", 1, f"{WEIGHTS}: tensor '{A}': dtype 'F12' is not one of F64, F32, F16, BF16, F8_E4M3, F8_E5M2, "
     "I64, I32, I16, I8, U64, U32, U16, U8, BOOL", SAVE, ["weights trained"]),
    ("negative shape", with_header(**{A: {"dtype": "F32", "shape": [-2, -3], "data_offsets": [0, 24]}}),
     "weights format", 1, f"{WEIGHTS}: tensor '{A}': shape is not a list of at most 8 whole numbers >= 0", SAVE,
     ["weights trained"]),
    ("shape of booleans", with_header(**{A: {"dtype": "F32", "shape": [True, 6], "data_offsets": [0, 24]}}),
     "weights format", 1, f"{WEIGHTS}: tensor '{A}': shape is not a list of at most 8 whole numbers >= 0", SAVE,
     ["weights trained"]),
    ("offsets backwards", with_header(**{A: {"dtype": "F32", "shape": [2, 3], "data_offsets": [24, 0]}}),
     "weights format", 1, f"{WEIGHTS}: tensor '{A}': data_offsets is not a pair of whole numbers, 0 <= begin <= end",
     SAVE, ["weights trained"]),
    ("size not shape x dtype", with_header(**{A: {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 24]}}),
     "weights format", 1, f"{WEIGHTS}: tensor '{A}': F32 of shape [2, 4] needs 32 bytes, its offsets span 24", SAVE,
     ["weights trained"]),
    ("overlap", with_header(**{B: {"dtype": "F32", "shape": [4, 2], "data_offsets": [20, 52]}}), "weights format", 1,
     f"{WEIGHTS}: tensor '{B}' overlaps the values before it: starts at byte 20, expected 24", SAVE,
     ["weights trained"]),
    ("gap", with_header(**{A: {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}), "weights format", 1,
     f"{WEIGHTS}: tensor '{B}' leaves a gap before its values: starts at byte 24, expected 16", SAVE,
     ["weights trained"]),
    ("no pairs", with_tensors(lambda tensors: [tensors.update({name.replace("lora_", "LORA_"): tensors.pop(name)})
     for name in list(tensors)]), "weights format", 1,
     f"{WEIGHTS}: holds no lora_A or lora_B as PEFT names them (...q_proj.lora_A.weight)", SAVE, ["weights trained"]),
    ("half a pair", with_tensors(lambda tensors: tensors.pop(A)), "weights format", 1,
     f"{WEIGHTS}: tensor '{B}' has no lora_A beside it", SAVE, []),
    ("pair of two ranks", with_tensors(lambda tensors: tensors.update({A: submissions.floats([3, 3], [1.0] * 9)})),
     "weights format", 1, f"{WEIGHTS}: '{STEM}': lora_A has rank 3, lora_B 2", SAVE, []),
    ("rank not the config's", with_config(r=8), "weights format", 1,
     f"{WEIGHTS}: '{STEM}' has rank 2, adapter_config.json states 8", SAVE, []),
    ("one dimension", with_tensors(lambda tensors: tensors.update({A: submissions.floats([6], [1.0] * 6)})),
     "weights format", 1, f"{WEIGHTS}: tensor '{A}' has shape [6], expected two dimensions, each > 0", SAVE, []),
    ("lora_A of integers", with_tensors(lambda tensors: tensors.update({A: ("I8", [2, 3], b"\1" * 6)})),
     "weights format", 1, f"{WEIGHTS}: tensor '{A}' is I8, expected one of F64, F32, F16, BF16", SAVE, []),
    ("untrained", with_tensors(zero_b), "weights trained", 1,
     f"{WEIGHTS}: every lora_B is zero, so the adapter changes nothing", FINETUNE, []),
    ("NaN in a weight", with_tensors(lambda tensors: tensors.update({B: submissions.floats([4, 2], [float("nan")]
     + [1.0] * 7)})), "weights trained", 1, f"{WEIGHTS}: tensor '{B}' holds an infinity or NaN",
     f"lower the learning rate, then {FINETUNE}", []),
    ("result missing", removed(RESULT), "accuracy", 1, f"{RESULT} is not there, nor is result_QQP.txt", PREDICT, []),
    ("result not UTF-8", replaced(RESULT, b"1\n\xff\n"), "accuracy", 1,
     f"{RESULT}: expected UTF-8 text, found byte 0xff at offset 2", PREDICT, []),
    ("result empty", replaced(RESULT, b""), "accuracy", 1,
     f"{RESULT}: 0 of 10 rows are right; it has 0 lines for 10 rows, those without a line count as wrong", WRITE, []),
    ("result too short", replaced(RESULT, b"1\n0\n0\n1\n0\n0\n1\n"), "accuracy", Fraction(3, 10),
     f"{RESULT}: 7 of 10 rows are right; it has 7 lines for 10 rows, those without a line count as wrong", WRITE, []),
    ("result shifted by a blank line", replaced(RESULT, b"1\n\n0\n0\n1\n0\n0\n1\n0\n0\n"), "accuracy", Fraction(5, 10),
     f"{RESULT}: 5 of 10 rows are right; no label of 0, 1 on 1 of its lines, which count as wrong, "
     "the first is line 2: ''", WRITE, []),
    ("two labels that are none", replaced(RESULT, b"label: 1\n0\n\xef\xbc\x90\n1\n0\n0\n1\n0\n0\n0\n"), "accuracy",
     Fraction(2, 10), f"{RESULT}: 8 of 10 rows are right; no label of 0, 1 on 2 of its lines, which count as wrong, "
     "the first is line 1: 'label: 1'", WRITE, []),
    ("three wrong", replaced(RESULT, b"0\n1\n1\n1\n0\n0\n1\n0\n0\n0\n"), "accuracy", Fraction(3, 10),
     f"{RESULT}: 7 of 10 rows are right", TRY, []),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    return submissions.write_submission(tmp_path / "submission")


def graded(folder, answers=submissions.ANSWERS):
    keys = read_keys(submissions.write_answers(folder.parent / "answers", answers))
    return grade(Submission(folder), keys)


def verdicts(report):
    return {verdict.check: verdict for part in report.datasets[0].parts for verdict in part.verdicts}


def test_the_rubric_is_the_exams():
    assert sum(check.points for check in rubric.RUBRIC) == rubric.MAX_POINTS == 100
    assert [sum(check.points for check in rubric.checks_of(part)) for part in rubric.parts()] == [10, 20, 70]
    assert len({check.name for check in rubric.RUBRIC}) == len(rubric.RUBRIC)


def test_a_good_submission_earns_every_row(folder):
    report = graded(folder)
    assert report.points == 100
    found = verdicts(report)
    assert list(found)
    assert set(found) == {check.name for check in rubric.RUBRIC}
    assert {name: (verdict.share, verdict.next_step) for name, verdict in found.items()} == dict.fromkeys(
        found, (1, None)
    )
    assert found["weights trained"].reason == "all values are finite, 2 of 2 lora_B are not zero"


@pytest.mark.parametrize(
    ("build", "check", "share", "reason", "next_step", "blocked"),
    [row[1:] for row in DEFECTS],
    ids=[row[0] for row in DEFECTS],
)
def test_a_defect_loses_exactly_its_points(folder, build, check, share, reason, next_step, blocked):
    build(folder)
    report = graded(folder)
    found = verdicts(report)
    assert (found[check].reason, found[check].next_step, found[check].share) == (reason, next_step, 1 - share)
    lost = {name: verdict.next_step for name, verdict in found.items() if verdict.share < 1 and name != check}
    assert lost == {name: f"mend {first!r} first" for name in blocked for first in [check]}
    points = {row.name: row.points for row in rubric.RUBRIC}
    assert report.points == 100 - points[check] * share - sum(points[name] for name in blocked)


def test_every_row_has_a_defect_here():
    assert {row[2] for row in DEFECTS} == {check.name for check in rubric.RUBRIC}


def test_a_missing_submission_scores_zero(tmp_path):
    (tmp_path / "submission").mkdir()
    report = graded(tmp_path / "submission")
    assert report.points == 0
    assert report.datasets[0].measures is None
    assert all(verdict.next_step for verdict in verdicts(report).values())


def test_two_datasets_carry_half_each(folder):
    answers = submissions.write_answers(folder.parent / "both")
    submissions.write_answers(answers, ["0", "1"], "result_CoLA_64.txt")
    report = grade(Submission(folder), read_keys(answers))
    assert [
        (part["dataset"], part["part"], part["points"], part["max_points"]) for part in as_json(report)["parts"]
    ] == [
        ("CoLA", "pre_data", 0, 5),
        ("CoLA", "saved_model", 0, 10),
        ("CoLA", "result", 0, 35),
        ("QQP", "pre_data", 5, 5),
        ("QQP", "saved_model", 10, 10),
        ("QQP", "result", 35, 35),
    ]
    assert report.points == 50
    for part in as_json(report)["parts"]:
        assert sum(check["points"] for check in part["checks"]) == pytest.approx(part["points"], abs=1e-9)
        assert sum(check["max_points"] for check in part["checks"]) == pytest.approx(part["max_points"], abs=1e-9)
    assert as_json(report)["parts"][5]["reasons"][0].startswith("accuracy 35/35: ")
    assert "    train file                1.5 / 1.5    " in as_text(report)


def test_three_datasets_still_add_up_to_100(tmp_path):
    for dataset in ("A", "B", "C"):
        submissions.write_submission(tmp_path / "submission", dataset)
        submissions.write_answers(tmp_path / "answers", name=f"result_{dataset}.txt")
    value = as_json(grade(Submission(tmp_path / "submission"), read_keys(tmp_path / "answers")))
    assert value["points"] == 100.0
    assert sum(part["points"] for part in value["parts"]) == pytest.approx(100, abs=1e-9)


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf1\n0\n0\n1\n0\n0\n1\n0\n0\n0\n",
        b"1\r\n0\r\n0\r\n1\r\n0\r\n0\r\n1\r\n0\r\n0\r\n0\r\n",
        b"1\n0\n0\n1\n0\n0\n1\n0\n0\n0",
        b"1\n0\n0\n1\n0\n0\n1\n0\n0\n0\nwhatever\n\xef\xbc\x91\n\n",
    ],
    ids=["byte order mark", "CRLF", "no final newline", "lines beyond"],
)
def test_what_a_result_file_may_have(folder, data):
    submissions.write(folder / RESULT, data)
    assert graded(folder).points == 100


def test_lines_beyond_the_key_are_said(folder):
    exact = graded(folder).datasets[0].measures
    submissions.write(folder / RESULT, (folder / RESULT).read_bytes() + b"1\nx\n")
    assert graded(folder).datasets[0].measures == exact
    assert verdicts(graded(folder))["accuracy"].reason == (
        f"{RESULT}: 10 of 10 rows are right; it has 12 lines for 10 rows, those beyond are not read"
    )


def test_the_result_may_lie_at_the_root(folder):
    (folder / RESULT).rename(folder / "result_QQP.txt")
    assert verdicts(graded(folder))["accuracy"].reason == "result_QQP.txt: 10 of 10 rows are right"


def test_the_result_folder_comes_first(folder):
    submissions.write(folder / "result_QQP.txt", b"0\n" * 10)
    assert verdicts(graded(folder))["accuracy"].reason == (
        f"{RESULT}: 10 of 10 rows are right; result_QQP.txt is there too and not read"
    )


def test_other_labels_are_the_keys(tmp_path):
    answers = ["yes", "no", "no", "maybe"]
    folder = submissions.write_submission(tmp_path / "submission", answers=answers)
    assert graded(folder, answers).points == 100
    submissions.write(folder / RESULT, b"yes\nno\n0\nmaybe\n")
    assert verdicts(graded(folder, answers))["accuracy"].reason == (
        f"{RESULT}: 3 of 4 rows are right; no label of maybe, no, yes on 1 of its lines, which count as wrong, "
        "the first is line 3: '0'"
    )


def test_a_report_holds_no_answer_of_the_key(folder):
    """Whatever is on the lines, two keys with the same counts give the same report: rows cannot be told apart."""
    submissions.write(folder / RESULT, b"x\n0\n0\n0\n0\n0\n0\n0\n0\n0\n")
    first = as_json(graded(folder, list("1110000000")))
    second = as_json(graded(folder, list("1000000110")))
    assert first == second


def test_dora_rank_patterns_and_embeddings_are_adapters_too(folder):
    tensors = submissions.adapter_tensors()
    tensors[f"{STEM}.lora_magnitude_vector"] = submissions.floats([4], [1.0] * 4)
    tensors[f"{STEM}.lora_B.bias"] = submissions.floats([4], [0.0] * 4)
    tensors["base_model.model.model.embed_tokens.lora_embedding_A"] = submissions.floats([6, 5], [0.0] * 30)
    tensors["base_model.model.model.embed_tokens.lora_embedding_B"] = submissions.floats([3, 6], [0.0] * 18)
    tensors["base_model.model.steps"] = ("I64", [], b"\7" * 8)
    submissions.write(folder / WEIGHTS, submissions.safetensors(tensors))
    with_config(rank_pattern={"embed_tokens": 6}, use_dora=True)(folder)
    assert graded(folder).points == 100


def test_a_start_that_is_not_zero_proves_nothing(folder):
    with_config(init_lora_weights="pissa")(folder)
    report = graded(folder)
    assert report.points == 100
    assert verdicts(report)["weights trained"].reason == (
        "all values are finite, 2 of 2 lora_B are not zero (which proves no training under init_lora_weights 'pissa')"
    )
