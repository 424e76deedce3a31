"""The command, as an examiner runs it: exit codes, the two reports, and that it needs nothing but Python."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import submissions

from grading import score
from grading.report.json_report import SCHEMA

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture
def folder(tmp_path):
    return submissions.write_submission(tmp_path / "submission")


@pytest.fixture
def answers(tmp_path):
    return submissions.write_answers(tmp_path / "answers")


def run(folder, answers, *more):
    return score.main(["--submission", str(folder), "--answers", str(answers), *more])


def command(*arguments, **options):
    """The command in a process of its own, without third-party packages."""
    return subprocess.run(
        [sys.executable, "-S", "-m", "grading.score", *map(str, arguments)],
        cwd=CHECKOUT, capture_output=True, check=False, timeout=60, **options,
    )  # fmt: skip


def test_the_text_report(folder, answers, capsys):
    wrong = "".join("01"[answer == "0"] for answer in submissions.ANSWERS[:2])
    result = folder / "result/result_QQP.txt"
    result.write_text("\n".join([*wrong, *submissions.ANSWERS[2:]]) + "\n")
    (folder / "pre_data/QQP/QQP_dev.json").unlink()
    assert run(folder, answers) == 0
    assert (
        capsys.readouterr().out
        == """\
QQP, answer key result_QQP_46.txt
  pre_data                      6 / 10
    train file                  3 / 3      pre_data/QQP/QQP_train.json is a JSON array
    train records               3 / 3      pre_data/QQP/QQP_train.json: 4 of 4 records are as the contract says
    dev file                    0 / 2      pre_data/QQP/QQP_dev.json is not there
                                           next: run the prepare stage: accelerate launch runner/main.py RECIPE \
--stages prepare
    dev records                 0 / 2      could not be checked
                                           next: mend 'dev file' first
  saved_model                  20 / 20
    config file                 2 / 2      saved_model/QQP/adapter_config.json is there
    weights file                4 / 4      saved_model/QQP/adapter_model.safetensors is there
    weights size                4 / 4      664 bytes
    config format               4 / 4      saved_model/QQP/adapter_config.json describes a LoRA of rank 2
    weights format              4 / 4      safetensors with 2 complete lora pairs of the config's rank and target modules
    weights trained             2 / 2      all values are finite, 2 of 2 lora_B are not zero
  result                       56 / 70
    accuracy                   56 / 70     result/result_QQP.txt: 8 of 10 rows are right
                                           next: try other settings, compared on a hold-out of the training records
  accuracy 8/10 = 80.0 % (95 % interval 49.0-94.3 %), MCC 0.52, F1 0.67; majority class would give 70.0 %
    answer, predicted as       0       1  no label
                     0         6       1         0
                     1         1       2         0

for the examiner to look at, no points
  QQP dev inputs in training: not known: records cannot be read
  QQP files and the run record: not known: saved_model/QQP/run.json is not there

points: 82 / 100
"""
    )


def test_the_json_report(folder, answers, tmp_path, capsys):
    assert run(folder, answers, "--json", str(tmp_path / "report.json")) == 0
    text = capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report) == {"schema", "points", "max_points", "problem", "parts", "datasets", "advice"}
    assert (report["schema"], report["points"], report["max_points"]) == (SCHEMA, 100, 100)
    for part in report["parts"]:
        assert set(part) == {"dataset", "part", "points", "max_points", "reasons", "checks"}
        assert part["reasons"]
        assert all(isinstance(reason, str) for reason in part["reasons"])
        assert sum(check["points"] for check in part["checks"]) == pytest.approx(part["points"], abs=1e-9)
    assert report["parts"][2]["reasons"] == ["accuracy 70/70: result/result_QQP.txt: 10 of 10 rows are right"]
    (dataset,) = report["datasets"]
    assert set(dataset) == {"dataset", "answer_key", "labels", "rows", "measures"}
    assert set(dataset["measures"]) == {
        "correct", "accuracy", "interval", "mcc", "f1", "majority", "confusion",
    }  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers", "report.json", "submission"]
    assert text.endswith("\npoints: 100 / 100\n")
    assert run(folder, answers, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out) == report


def test_a_report_does_not_depend_on_where_it_was_made(folder, answers, tmp_path, capsys):
    run(folder, answers, "--json", "-")
    here = capsys.readouterr().out
    folder.rename(tmp_path / "elsewhere")
    run(tmp_path / "elsewhere", answers, "--json", "-")
    assert capsys.readouterr().out == here
    assert str(tmp_path) not in here


def test_the_report_never_shows_more_than_was_earned(folder, answers, capsys):
    records = json.loads((folder / "pre_data/QQP/QQP_train.json").read_text()) * 1000
    submissions.write_json(folder / "pre_data/QQP/QQP_train.json", [*records[1:], {}])
    run(folder, answers)
    out = capsys.readouterr().out
    assert "train records            2.99 / 3 " in out
    assert out.endswith("points: 99.99 / 100\n")


def test_datasets_in_the_order_that_was_asked(folder, answers, capsys):
    submissions.write_answers(answers, name="result_CoLA_64.txt")
    assert run(folder, answers, "--datasets", "QQP,CoLA") == 0
    out = capsys.readouterr().out
    assert out.startswith("QQP (counts 1/2), answer key result_QQP_46.txt\n")
    assert out.endswith("points: 50 / 100\n")
    assert run(folder, answers, "--datasets", "QQP") == 0
    assert capsys.readouterr().out.endswith("points: 100 / 100\n")


def refusal(capsys, *arguments):
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("grading: could not grade: ")
    assert "Next: " in err
    return err


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (b"", "result_QQP_46.txt: the answer key is empty"),
        (
            b"1\n\n0\n",
            "result_QQP_46.txt:2: bad answer key: expected one label of 1 to 32 visible ASCII characters, found 0 "
            "characters",
        ),
        (
            b"1\n0 \n",
            "result_QQP_46.txt:2: bad answer key: expected one label of 1 to 32 visible ASCII characters, found 2 "
            "characters",
        ),
        (b"1\n\xff\n", "result_QQP_46.txt: bad answer key: expected UTF-8 text, found byte 0xff at offset 2"),
    ],
)
def test_a_bad_key_costs_nobody_points(folder, answers, capsys, key, words):
    (answers / "result_QQP_46.txt").write_bytes(key)
    assert words in refusal(capsys, folder, answers)


def test_two_keys_of_one_dataset(folder, answers, capsys):
    submissions.write_answers(answers, name="result_QQP.txt")
    found = refusal(capsys, folder, answers)
    assert "2 answer keys for 'QQP': result_QQP.txt, result_QQP_46.txt. Next: leave one" in found


def test_no_keys_and_no_such_key(folder, answers, tmp_path, capsys):
    assert "expected the folder of the answer keys: No such file or directory. Next: pass it with --answers DIR" in (
        refusal(capsys, folder, tmp_path / "nothing")
    )
    assert "no answer key, expected result_{dataset}.txt or result_{dataset}_{number}.txt" in (
        refusal(capsys, folder, folder)
    )
    assert "no answer key for 'SST-2', only for QQP" in refusal(capsys, folder, answers, "--datasets", "QQP,SST-2")
    (answers / "result_A.txt").mkdir()
    assert "result_A.txt: the answer key cannot be read: Is a directory" in refusal(capsys, folder, answers)


def test_no_submission(answers, tmp_path, capsys):
    assert "expected the submission's folder, found nothing" in refusal(capsys, tmp_path / "nothing", answers)


def test_a_json_report_that_cannot_be_written(folder, answers, tmp_path, capsys):
    for target, words in ((tmp_path / "no/report.json", "cannot be written"), (tmp_path, "needs a regular file")):
        assert run(folder, answers, "--json", str(target)) == 2
        out, err = capsys.readouterr()
        assert out.endswith("points: 100 / 100\n")
        assert words in err


@pytest.mark.parametrize("names", ["", "QQP,", "QQP,QQP", "../QQP", "QQP CoLA"])
def test_dataset_names_on_the_command_line(folder, answers, names, capsys):
    with pytest.raises(SystemExit) as caught:
        run(folder, answers, "--datasets", names)
    assert caught.value.code == 2
    assert "--datasets" in capsys.readouterr().err


def test_the_rubric_is_printed(capsys):
    assert score.main(["--rubric"]) == 0
    rows = [line[12:].split() for line in capsys.readouterr().out.splitlines()]
    points = {" ".join(row[:2]): int(row[2]) for row in rows if len(row) > 2 and row[2].isdigit()}
    assert points.pop("= all") == 100
    assert [points.pop(f"= {part}") for part in ("pre_data", "saved_model", "result")] == [10, 20, 70]


def test_only_the_standard_library_is_loaded(folder, answers):
    """Every module that the command loads is Python's own or the grader's."""
    program = f"""
import sys, os
sys.path.insert(0, {str(CHECKOUT)!r})
before = set(sys.modules)
from grading import score
assert score.main(sys.argv[1:]) == 0
own = os.path.join({str(CHECKOUT)!r}, "grading", "")
library = os.path.join(os.path.dirname(os.path.realpath(os.__file__)), "")
for name in set(sys.modules) - before:
    path = getattr(sys.modules[name], "__file__", None)
    if path is not None and not path.startswith(own):
        path = os.path.realpath(path)
        assert path.startswith(library) and "site-packages" not in path, (name, path)
"""
    arguments = ["--submission", folder, "--answers", answers]
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", program, *map(str, arguments)],
        capture_output=True, check=False, text=True, timeout=60,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stdout.endswith("points: 100 / 100\n")


def test_nothing_of_the_submission_is_imported(folder, answers):
    trap = b"import os\nos._exit(99)\n"
    for name in ("json.py", "sitecustomize.py", "usercustomize.py", "grading/__init__.py", "grading/score.py", "re.py"):
        submissions.write(folder / name, trap)
    found = command("--submission", folder, "--answers", answers)
    assert (found.returncode, found.stderr) == (0, b"")


def test_a_named_pipe_does_not_hang_the_command(folder, answers):
    for path in ("result/result_QQP.txt", "saved_model/QQP/adapter_model.safetensors", "pre_data/QQP/QQP_dev.json"):
        (folder / path).unlink()
        os.mkfifo(folder / path)
    found = command("--submission", folder, "--answers", answers)
    assert found.returncode == 0
    assert found.stdout.decode().count("is a named pipe") == 3


def test_a_terminal_that_knows_only_ascii(folder, answers):
    foreign = "\u00e9\u4e2d\x1b[2J"
    record = {"instruction": "", "input": "", "output": "", foreign: ""}
    submissions.write_json(folder / "pre_data/QQP/QQP_train.json", [record])
    (folder / "result/result_QQP.txt").write_bytes(f"{foreign}\n".encode())
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    found = command("--submission", folder, "--answers", answers, env=environment)
    assert (found.returncode, found.stderr) == (0, b"")
    assert b"\x1b" not in found.stdout
    assert rb"key '\xe9\u4e2d\x1b[2J' is not part of the record" in found.stdout
    assert rb"the first is row 1: '\xe9\u4e2d\x1b[2J'" in found.stdout


def test_colour_is_for_terminals(folder, answers):
    pty = pytest.importorskip("pty")
    ends = pty.openpty()
    command_line = [sys.executable, "-S", "-m", "grading.score", "--submission", str(folder), "--answers", str(answers)]
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(command_line, cwd=CHECKOUT, stdout=ends[1], env=environment)
    os.close(ends[1])
    shown = b""
    while b"points: " not in shown:
        shown += os.read(ends[0], 65536)
    assert process.wait(60) == 0
    os.close(ends[0])
    assert b"\x1b[32m" in shown
    assert b"\x1b" not in command("--submission", folder, "--answers", answers).stdout


def test_gradescopes_results(folder, answers, tmp_path, capsys):
    (folder / "pre_data/QQP/QQP_dev.json").unlink()
    assert run(folder, answers, "--gradescope", str(tmp_path / "results.json")) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results) == {"score", "output", "output_format", "visibility", "tests"}
    assert results["score"] == 96
    assert results["output"] == capsys.readouterr().out
    assert sum(test["score"] for test in results["tests"]) == pytest.approx(96)
    assert sum(test["max_score"] for test in results["tests"]) == pytest.approx(100)
    assert results["tests"][2]["name"] == "QQP: pre_data: dev file"
    assert "is not there" in results["tests"][2]["output"]


def test_a_report_is_written_when_the_examiner_is_mistaken(folder, answers, tmp_path, capsys):
    (answers / "result_QQP_46.txt").write_bytes(b"")
    files = [tmp_path / "report.json", tmp_path / "results.json"]
    assert run(folder, answers, "--json", str(files[0]), "--gradescope", str(files[1])) == 2
    report, results = (json.loads(path.read_text()) for path in files)
    assert (report["points"], report["parts"], report["datasets"], report["advice"]) == (0, [], [], [])
    assert report["problem"]["fault"] == "examiner"
    assert report["problem"]["reason"] == "the examiner's own files cannot be used"
    assert (results["score"], results["tests"]) == (0, [])
    assert results["output"].startswith("not graded, the examiner's mistake: ")
    out, err = capsys.readouterr()
    assert out == ""
    assert "result_QQP_46.txt: the answer key is empty. Next: write one label a line into it" in err


@pytest.mark.parametrize("line", ["0 ", "1 "])
def test_a_line_of_a_bad_key_is_in_no_report(folder, answers, tmp_path, capsys, line):
    submissions.write_answers(answers, [*submissions.ANSWERS[:6], line])
    assert (
        run(folder, answers, "--json", str(tmp_path / "report.json"), "--gradescope", str(tmp_path / "results.json"))
        == 2
    )
    said = (tmp_path / "report.json").read_text() + (tmp_path / "results.json").read_text() + capsys.readouterr().err
    assert f"'{line}'" not in said


def test_a_report_is_written_when_the_grader_breaks(folder, answers, tmp_path, capsys, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("grading.grader.check_records", broken)
    assert run(folder, answers, "--json", str(tmp_path / "report.json")) == 1
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["problem"]["fault"] == "grader"
    assert report["problem"]["reason"].startswith("ZeroDivisionError in test_grading_score.py, line ")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("ZeroDivisionError: oh\n")


def test_an_archive_is_graded_like_its_folder(folder, answers, tmp_path, capsys):
    run(folder, answers)
    expected = capsys.readouterr().out
    for name, root in (("plain.zip", folder), ("around.zip", folder.parent)):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for path in sorted(folder.rglob("*")):
                archive.write(path, path.relative_to(root))
        assert run(tmp_path / name, answers) == 0
        assert capsys.readouterr().out == expected


def test_a_broken_archive_scores_zero(answers, tmp_path, capsys):
    submissions.write(tmp_path / "handin.zip", b"PK\3\4 and no more")
    assert run(tmp_path / "handin.zip", answers, "--json", str(tmp_path / "report.json")) == 0
    out = capsys.readouterr().out
    assert out.startswith("not graded, the submission's fault: ")
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["points"], report["problem"]["fault"]) == (0, "submission")


def test_the_base_models_shapes(folder, answers, tmp_path, capsys):
    config = {
        "model_type": "gemma", "num_hidden_layers": 1, "hidden_size": 3, "intermediate_size": 6,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 2, "vocab_size": 9,
    }  # fmt: skip
    submissions.write_json(tmp_path / "base/config.json", config)
    assert run(folder, answers, "--base", str(tmp_path / "base")) == 0
    assert "target modules and the base model's shapes (2 of 2 are known)" in capsys.readouterr().out
    for change, words in (
        ({"num_key_value_heads": 1}, "v_proj' takes 3 values to 4, in the base model 3 to 2"),
        ({"hidden_size": 4}, "q_proj' takes 3 values to 4, in the base model 4 to 4"),
    ):
        submissions.write_json(tmp_path / "base/config.json", {**config, **change})
        assert run(folder, answers, "--base", str(tmp_path / "base/config.json")) == 0
        assert words in capsys.readouterr().out
    tensors = {name.replace("layers.0", "layers.1"): value for name, value in submissions.adapter_tensors().items()}
    submissions.write(folder / "saved_model/QQP/adapter_model.safetensors", submissions.safetensors(tensors))
    submissions.write_json(tmp_path / "base/config.json", config)
    run(folder, answers, "--base", str(tmp_path / "base"))
    assert "the base model has 1 layers, counted from 0" in capsys.readouterr().out
    for change, words in (
        ({"model_type": "bert"}, "model_type is 'bert', shapes are known of gemma"),
        ({"hidden_size": 0}, "hidden_size is 0, expected a whole number > 0"),
    ):
        submissions.write_json(tmp_path / "base/config.json", {**config, **change})
        assert words in refusal(capsys, folder, answers, "--base", str(tmp_path / "base"))
    assert "cannot be read" in refusal(capsys, folder, answers, "--base", str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--out", "x"], "--submissions and --out go together"),
        (["--submissions", "x"], "--submissions and --out go together"),
        (["--rerun", "3"], "--rerun and --recipes go together"),
        (["--rerun", "0", "--recipes", "x"], "expected a whole number > 0"),
        (["--submissions", "x", "--out", "y", "--json", "-"], "--json is for one hand-in"),
        (["--resume"], "--resume is for a class"),
    ],
)
def test_options_that_mean_nothing_together(options, words, capsys):
    with pytest.raises(SystemExit) as caught:
        score.main(options)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_a_reader_that_has_seen_enough(folder, answers):
    read, write = os.pipe()
    os.close(read)
    found = subprocess.run(
        [sys.executable, "-S", "-m", "grading.score", "--submission", str(folder), "--answers", str(answers)],
        cwd=CHECKOUT, stdout=write, stderr=subprocess.PIPE, check=False, timeout=60,
    )  # fmt: skip
    os.close(write)
    assert (found.returncode, found.stderr) == (0, b"")


def test_a_submission_that_takes_too_much_memory_is_its_own_fault(folder, answers, tmp_path, monkeypatch):
    def full(*arguments):
        raise MemoryError

    monkeypatch.setattr("grading.grader.check_records", full)
    assert run(folder, answers, "--json", str(tmp_path / "report.json")) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["points"], report["problem"]["fault"]) == (0, "submission")


def test_names_that_are_too_long_are_said(folder, answers, tmp_path, capsys):
    long = "x" * 300
    assert "File name too long" in refusal(capsys, tmp_path / long, answers)
    assert run(folder, answers, "--json", str(tmp_path / long)) == 2
    assert "File name too long" in capsys.readouterr().err


def test_gradescope_has_no_dash(folder, answers, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(folder, answers, "--gradescope", "-") == 0
    assert json.loads((tmp_path / "-").read_text())["score"] == 100
