"""The report of a run: whole, the same again, small with many rows, and never in the way of the run."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from support.evaluated_runs import HOSTILE, evaluated, rows_of
from support.finished_runs import predict, tiny, write_dev, write_evaluation
from support.finished_runs import train as train_only

from runner.commands.report import main
from runner.evaluation.holdout import HoldoutPrediction
from runner.reporting.charts import ChartData, charts_of
from runner.reporting.facts import _time
from runner.reporting.report import PAGE, SWITCH, report_in_place
from runner.reporting.rows import rows_of as rows_in_a_report
from runner.reporting.run_files import read_run_files
from runner.reporting.verdict import verdict_of
from runner.workspace.manifest import finish, read_manifest
from runner.workspace.paths import RECIPE
from runner.workspace.runs import kept_runs, run_in_place

pytest.importorskip("matplotlib")

CHARTS = {"accuracy", "confusion", "learning", "length", "reliability", "scores"}


class Parsed(HTMLParser):
    """A page: its elements, and the text of those with the class `text` and of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, Any]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.words = ""
        self._within = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        own = dict(attrs)
        self.elements.append((tag, own))
        if tag == "td" and own.get("class") == "text":
            self.texts.append("")
            self._within = "td"
        elif tag in ("script", "style"):
            self._within = tag
            self.scripts += [""] if tag == "script" else []

    def handle_endtag(self, tag: str) -> None:
        self._within = "" if tag == self._within else self._within

    def handle_data(self, data: str) -> None:
        if self._within == "td":
            self.texts[-1] += data
        elif self._within == "script":
            self.scripts[-1] += data
        if self._within not in ("script", "style"):
            self.words += data


def page_of(root: Path) -> str:
    return (root / "result/tiny" / PAGE).read_text(encoding="utf-8")


def test_the_page_says_what_the_run_is_worth(tmp_path: Path, capsys: Any) -> None:
    evaluated(tmp_path, rows_of(200), one_order={"accuracy": 0.79})
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"written: {tmp_path}/result/tiny/report.html\n"
    page = Parsed(page_of(tmp_path))
    words = " ".join(page.words.split())
    assert "Hold-out accuracy 82.0% (76.1 to 86.7) on 200 rows: clearly better than the majority (50.0%), " in words
    assert (
        "the untuned base (48.0%) and a bag of words (60.0%). Expect 57 of 70 points for accuracy on 150 graded rows"
        in words
    )
    assert "The last epoch has the lowest hold-out loss: it may learn more with train.epochs=4." in words
    assert "Hold-out accuracy after each epoch: 65.0%, 75.0%, 85.0%." in words
    assert "of 100 rows with label 0: 83 as 0, 17 as 1" in words
    assert "7 inputs are in several labelled rows" in words
    assert "2 bad training rows skipped" in words
    for name, after, before in (
        ("log loss", 0.5, 0.625),
        ("Brier score", 0.25, 0.281),
        ("calibration error", 0.04, 0.093),
    ):
        assert f"{name}{after:.3f} ({before:.3f} before calibration)" in words
    assert "(the calibration error, in 15 groups of rows): before calibration 0.093, after calibration 0.040." in words
    assert "hold-out accuracy with one order of each pair79.0%" in words
    assert "labeltune run saved_model/tiny/recipe.yaml" in words
    assert len(page.texts) == 200
    assert {path.stem for path in (tmp_path / "result/tiny").glob("*.png")} == CHARTS
    assert sum(tag == "svg" for tag, _ in page.elements) == len(CHARTS)


def test_the_reliability_chart_has_the_answers_before_and_after_calibration(tmp_path: Path) -> None:
    # label 1 is always preferred, and the calibration turns the answer of 30 of 60 rows
    calibrated = {"0": (0.75, 0.25), "1": (0.25, 0.75)}
    rows = [
        HoldoutPrediction(number, str(number), label, label, (0.0, 1.0), probabilities=calibrated[label])
        for number, label in enumerate("01" * 30, 1)
    ]
    run = run_in_place(evaluated(tmp_path, rows))
    assert run is not None
    files = read_run_files(run)
    shown = rows_in_a_report(files.predictions, files.labels, files.evaluation["calibration"])
    chart = charts_of(ChartData(files, verdict_of(files), files.labels, shown))["reliability"]
    assert chart.numbers == [
        ("before calibration", "73.1%", "50.0%", "60"),
        ("after calibration", "75.0%", "100.0%", "60"),
    ]
    assert chart.words.endswith("After calibration, each row is answered by calibrations that were fitted without it.")


def test_after_an_early_stop_the_page_advises_patience(tmp_path: Path) -> None:
    evaluated(tmp_path, rows_of(60))
    workspace = tiny(tmp_path)
    manifest = read_manifest(workspace.manifest("finetune"))
    assert manifest is not None
    manifest.figures["planned_epochs"] = 8
    finish(manifest, workspace.manifest("finetune"), workspace.root, list(manifest.outputs))
    assert main([str(tmp_path)]) == 0
    words = " ".join(Parsed(page_of(tmp_path)).words.split())
    assert (
        "train.patience stopped the training after epoch 3 of 8: it may learn more with a higher train.patience."
        in words
    )
    assert "train.epochs=4" not in words


def test_the_page_loads_nothing_and_runs_only_its_own_script(tmp_path: Path) -> None:
    evaluated(tmp_path, rows_of(60))
    assert main([str(tmp_path)]) == 0
    page = page_of(tmp_path)
    parsed = Parsed(page)
    assert len(parsed.scripts) == 1
    addresses = [
        value for _, own in parsed.elements for name, value in own.items() if name in ("src", "href", "xlink:href")
    ]
    assert addresses
    assert {address[:1] for address in addresses} <= {"#", "d"}
    assert not re.search(r"https?:|url\((?!#)|@import", page)
    ids = [own["id"] for _, own in parsed.elements if "id" in own]
    assert len(set(ids)) == len(ids)
    assert {address[1:] for address in addresses if address[0] == "#"} <= set(ids)
    (policy,) = (own["content"] for _, own in parsed.elements if own.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")


def test_the_same_files_give_the_same_bytes_and_are_not_written_twice(
    tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    evaluated(tmp_path, rows_of(100))
    monkeypatch.setenv(SWITCH, "on")
    report_in_place(tiny(tmp_path))
    folder = tmp_path / "result/tiny"
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    assert capsys.readouterr().out == "up to date: result/tiny/report.html\n"
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == times
    for path in folder.iterdir():
        path.unlink()
    assert main(["saved_model/tiny"]) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    (folder / "scores.png").unlink()
    assert main([]) == 0
    assert (folder / "scores.png").read_bytes() == first["scores.png"]
    monkeypatch.setenv("LABELTUNE_LANG", "zh")
    assert main([]) == 0
    page = (folder / PAGE).read_text(encoding="utf-8")
    assert '<html lang="zh-CN">' in page
    assert "明显好于" in page


def test_hostile_texts_stay_text(tmp_path: Path) -> None:
    labels = ["<b onclick=alert(1)>$x_{", "{{ 7 * 7 }}\u202e"]
    rows = rows_of(40, texts=HOSTILE, labels=labels)
    evaluated(tmp_path, rows)
    recipe = tmp_path / "saved_model/tiny" / RECIPE
    text = recipe.read_text().replace('"Which?"', json.dumps("</pre><script>alert(1)</script>{{ 7 * 7 }}"))
    recipe.write_text(text.replace('["0", "1"]', json.dumps(labels)))
    assert main([str(tmp_path)]) == 0
    page = page_of(tmp_path)
    parsed = Parsed(page)
    assert len(parsed.scripts) == 1
    assert not {"img", "b", "a href=javascript:alert(1)"} & {tag for tag, _ in parsed.elements}
    assert not [own for _, own in parsed.elements for name in own if name.startswith("on")]
    assert "{{ 7 * 7 }}" in parsed.words
    assert "49" not in re.findall(r"\b\d+\b", "".join(parsed.texts))
    shown = set(parsed.texts)
    for hostile in HOSTILE[:4] + HOSTILE[8:10]:
        assert hostile in shown
    assert "\\u202eright to left \\u2066 isolate \\u2028 line \\x07 bell \\x1b[31m red" in shown
    assert "long " + "x" * 595 + "…" in shown
    assert not set("\u202e\u2066\u2028\x07\x1b") & set(page)
    assert "</pre><script>alert(1)</script>" in parsed.words


def test_many_rows_make_a_small_page_that_says_what_it_leaves_out(tmp_path: Path) -> None:
    rows = rows_of(20_000, texts=["'<&>\"" * 300] * 20_000)
    evaluated(tmp_path, rows)
    assert main([str(tmp_path)]) == 0
    assert (tmp_path / "result/tiny" / PAGE).stat().st_size < 3_000_000
    page = Parsed(page_of(tmp_path))
    assert len(page.texts) == 1000
    assert "This page shows 1,000 of them" in page.words
    assert "19,000 are left out" in page.words
    kinds = [own["data-kinds"] for _, own in page.elements if "data-kinds" in own]
    assert all(sum(kind in each.split() for each in kinds) == 50 for kind in ("hardest", "unsure", "doubtful"))


def test_three_labels_and_an_answer_that_is_none(tmp_path: Path) -> None:
    rows = rows_of(90, labels=["a", "b", "c"])
    rows[0] = type(rows[0])(**{**vars(rows[0]), "label": "?"})
    evaluated(tmp_path, rows)
    recipe = tmp_path / "saved_model/tiny" / RECIPE
    recipe.write_text(recipe.read_text().replace('["0", "1"]', '["a", "b", "c"]'))
    assert main([str(tmp_path)]) == 0
    assert "1 as no label" in page_of(tmp_path)


def test_a_run_of_an_earlier_version_has_a_report_too(tmp_path: Path) -> None:
    train_only(tmp_path, 2)
    write_evaluation(tmp_path / "saved_model/tiny", [True] * 30 + [False] * 10, majority=0.8)
    assert main([str(tmp_path)]) == 0
    words = " ".join(Parsed(page_of(tmp_path)).words.split())
    assert "not better than the majority (80.0%)" in words
    assert "Their texts are not kept: the run is of an earlier version." in words
    assert "The tokens are not known" in words
    assert "There is no training log beside this adapter." in words
    assert "lora.r" in words
    assert "ensemble.seeds [] []" not in words, "an equal value is no difference"


def test_a_short_time_is_in_seconds() -> None:
    assert [_time(each) for each in (None, 1.84, 59.9, 90)] == ["", "1.8 s", "59.9 s", "1.5 min"]


def test_a_kept_run_has_a_report_in_a_folder_of_its_own(tmp_path: Path) -> None:
    evaluated(tmp_path, rows_of(50))
    workspace = evaluated(tmp_path, rows_of(50, seed=1), rank=4, day=2)
    (kept,) = kept_runs(workspace)
    assert main([str(kept.folder)]) == 0
    page = (tmp_path / "result/tiny" / kept.id / PAGE).read_text(encoding="utf-8")
    assert f"labeltune run saved_model/.runs/tiny/{kept.id}/recipe.yaml" in page
    assert "kept, not in place" in page


def test_a_failure_is_a_warning_with_the_command(tmp_path: Path, monkeypatch: Any, caplog: Any) -> None:
    workspace = evaluated(tmp_path, rows_of(30))
    monkeypatch.setenv(SWITCH, "off")
    report_in_place(workspace)
    assert not (tmp_path / "result/tiny").exists()
    monkeypatch.delenv(SWITCH)
    (tmp_path / "result").mkdir(exist_ok=True)
    (tmp_path / "result/tiny").write_text("a file in the way")
    report_in_place(workspace)
    (warning,) = caplog.messages
    assert warning.startswith("result/tiny/report.html: the report could not be written: ")
    assert warning.endswith(f". The run is complete; to write its report: labeltune report {tmp_path}")


def test_mistakes(tmp_path: Path, capsys: Any) -> None:
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(
        f"{tmp_path}: has no adapter\n  next: name a workspace, which has saved_model/"
    )
    train_only(tmp_path, 2)
    assert main([str(tmp_path)]) == 2
    assert "saved_model/tiny: the adapter has not been evaluated\n  next: run its recipe:" in capsys.readouterr().err
    (tmp_path / "saved_model/tiny/holdout_predictions.jsonl").write_text("{")
    assert main([str(tmp_path / "saved_model/tiny")]) == 2
    assert "holdout_predictions.jsonl: cannot be read" in capsys.readouterr().err


def test_it_needs_no_torch(tmp_path: Path) -> None:
    evaluated(tmp_path, rows_of(30))
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from runner.commands.report import main\n"
        "code = main(sys.argv[1:])\n"
        "assert not {'torch', 'transformers', 'peft', 'datasets', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(code)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)


def test_the_folder_changes_no_result(tmp_path: Path, monkeypatch: Any) -> None:
    from grading.score import main as grade

    # the grader writes no report into a submission
    root = tmp_path / "submission"
    root.mkdir()
    workspace = evaluated(root, rows_of(30))
    write_dev(root)
    predict(root, "01")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/result_tiny.txt").write_text("0\n0\n")
    report = tmp_path / "grade.json"
    grades = []
    for written in (False, True):
        assert not written or main([str(root)]) == 0
        grade(["--submission", str(root), "--answers", str(tmp_path / "keys"), "--json", str(report)])
        grades.append(json.loads(report.read_text()))
    assert grades[0] == grades[1]
    assert (root / workspace.report / PAGE).exists()
