"""The command `ask`: the answers of a run to new rows, from files, pipes and a terminal; and what it leaves alone."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

import pytest
from conftest import ROOT
from support.answered import NEW_PAIRS, WAYS, answered_run

import labeltune
from runner.commands.ask import main
from runner.system.files import digest_folder

ROWS = [tuple(row.split("\t")[1:]) for row in NEW_PAIRS]


def ask(*arguments: Any) -> int:
    return main([str(each) for each in arguments])


def piped(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Standard input as a pipe with this content."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def predictions(workspace: Path) -> list[dict[str, Any]]:
    text = (workspace / "result/predictions_tiny.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("way", WAYS)
def test_ask_answers_as_the_predict_stage(tiny_base: Path, tmp_path: Path, way: str) -> None:
    workspace = answered_run(tiny_base, way)
    expected, before = predictions(workspace), digest_folder(workspace, ("**/*",))
    with labeltune.Asker.load(workspace / "saved_model/tiny") as asker:
        assert asker.columns == ("first", "second")
        assert asker.notes == []
        assert len(asker.members) == (3 if way == "ensemble" else 1)
        answers = [each.prediction for batch in (1, 4) for each in asker.answer(ROWS, batch)]
    for answer, row in zip(answers, [*expected, *expected]):
        assert answer is not None
        assert answer.label == row["label"]
        assert answer.text == row.get("text")
        assert answer.probabilities == pytest.approx(row["probabilities"], abs=1e-5)
    out = tmp_path / "answers.jsonl"
    assert ask(workspace / "saved_model/tiny", workspace / "data/tiny_dev.tsv", "--out", out) == 0
    written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["row"] for row in written] == [1, 2, 3, 4, 5, 6]
    assert [row["id"] for row in written] == [pair.split("\t")[0] for pair in NEW_PAIRS]
    for found, row in zip(written, expected):
        assert found["predicted"] == row["label"]
        shares = {label: found[f"probability_{label}"] for label in ("0", "1")}
        assert shares == pytest.approx(row["probabilities"], abs=1e-5)
    assert digest_folder(workspace, ("**/*",)) == before, "nothing of the run has changed"


def test_the_calibration_and_both_orders_are_really_used(tiny_base: Path) -> None:
    """The run that the test above calls `all` is one in which they matter."""
    folder = answered_run(tiny_base, "all") / "saved_model/tiny"
    assert json.loads((folder / "calibration.json").read_text())["temperature"] > 1.5
    prompt = json.loads((folder / "prompt.json").read_text())
    assert len(prompt["label_sequences"][1]) == 3
    assert any(abs(value) > 0.1 for value in prompt["prior_shift"].values())
    with labeltune.Asker.load(folder) as asker:
        one, other = (each.prediction for each in asker.answer([("ab x", "ba y"), ("ba y", "ab x")]))
        assert one is not None
        assert other is not None
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)


def test_an_ensemble_whose_members_are_elsewhere_says_so(tiny_base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(answered_run(tiny_base, "ensemble") / "saved_model/tiny", folder)
    with labeltune.Asker.load(folder) as asker:
        assert asker.notes == [
            f"{folder} is the first member of an ensemble; the others are not here, and it answers alone"
        ]
        assert len(asker.answer(ROWS)) == 6


def as_text(delimiter: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(
        [("second", "first"), *(r[::-1] for r in ROWS)]
    )
    return text.getvalue()


def write_parquet(path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"first": [row[0] for row in ROWS], "second": [row[1] for row in ROWS]}), path)


def test_every_format_and_encoding_gives_the_same_answers(tiny_base: Path, tmp_path: Path) -> None:
    folder = answered_run(tiny_base, "plain") / "saved_model/tiny"
    objects = [dict(zip(("first", "second"), row)) for row in ROWS]
    files = {
        "a.tsv": as_text("\t").encode(),
        "b.csv": as_text(",").encode("utf-8-sig"),
        "c.csv": as_text(";").encode("utf-16"),
        "d.jsonl": "".join(json.dumps(each) + "\n" for each in objects).encode(),
        "e.json": json.dumps(objects, indent=1).encode(),
        # two texts a line, as in a pipe, and no header
        "f.txt": "".join("\t".join(row) + "\n" for row in ROWS).encode(),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    write_parquet(tmp_path / "g.parquet")
    expected = [row["label"] for row in predictions(folder.parent.parent)]
    for path in sorted(tmp_path.iterdir()):
        assert ask(folder, path, "--out", tmp_path / "out.jsonl", "--overwrite") == 0, path
        rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert [row["predicted"] for row in rows] == expected, path
        assert [(row["first"], row["second"]) for row in rows] == ROWS, path


def test_chinese_in_gbk_is_found_in_the_bytes(tiny_base: Path, tmp_path: Path) -> None:
    folder = answered_run(tiny_base, "plain") / "saved_model/tiny"
    (tmp_path / "gbk.tsv").write_bytes(
        "first\tsecond\n这个手机怎么样\t这部手机好不好\n我想退货\t可以退货吗\n".encode("gbk")
    )
    assert ask(folder, tmp_path / "gbk.tsv", "--out", tmp_path / "out.jsonl") == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["first"] for row in rows] == ["这个手机怎么样", "我想退货"]


def test_every_written_format_has_the_same_rows(tiny_base: Path, tmp_path: Path) -> None:
    from pyarrow import parquet

    folder = answered_run(tiny_base, "plain") / "saved_model/tiny"
    (tmp_path / "rows.tsv").write_text(
        "first\tsecond\tpredicted\n=1+1\tab\told\nonly one\n中文\tba\t\n", encoding="utf-8"
    )
    for name in ("out.csv", "out.jsonl", "out.parquet"):
        assert ask(folder, tmp_path / "rows.tsv", "--out", tmp_path / name) == 2
    objects = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert list(objects[0])[:5] == ["row", "first", "second", "asked_predicted", "predicted"]
    assert [each["row"] for each in objects] == [2, 3, 4]
    assert parquet.read_table(tmp_path / "out.parquet").to_pylist() == objects
    text = (tmp_path / "out.csv").read_bytes()
    assert text.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(text.decode("utf-8-sig"))))
    assert [row["first"] for row in rows] == ["'=1+1", "only one", "中文"]
    assert [row["predicted"] for row in rows] == [each["predicted"] or "" for each in objects]
    assert float(rows[0]["probability"]) == objects[0]["probability"]
    assert rows[1]["problem"] == objects[1]["problem"] != ""


def test_rows_that_cannot_be_read_are_named_and_the_others_answered(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = answered_run(tiny_base, "plain") / "saved_model/tiny"
    long = "x" * 80
    piped(monkeypatch, f"ab one\tba two\nalone\n\nx\t{long}\n\xff\ty\nab\tba\n\n\n".encode("latin-1"))
    assert ask(folder) == 2
    out, err = capsys.readouterr()
    lines = [line.split("\t") for line in out.splitlines()]
    assert [bool(line[0]) for line in lines] == [True, False, False, False, False, True]
    assert lines[0][2:] == ["ab one", "ba two"]
    assert err.splitlines()[1:] == [
        "line 2: not answered: expected 2 texts with a tab between them (first, second), found 1",
        "line 3: not answered: expected a row, found a blank line",
        "line 4: not answered: its prompt has 98 tokens, more than prompt.max_length = 64",
        "line 5: not answered: expected text in UTF-8; --encoding gbk, for example, reads another encoding",
    ]


def test_a_pipe_in_gbk(tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    folder = answered_run(tiny_base, "plain") / "saved_model/tiny"
    piped(monkeypatch, "狗\t猫\n".encode("gbk"))
    assert ask(folder, "--encoding", "gbk") == 0
    assert capsys.readouterr().out.endswith("\t狗\t猫\n")


@pytest.mark.parametrize("options", [["--header"], ["--format", "csv"], ["--encoding", "utf-16"]])
def test_options_of_a_file_are_refused_for_a_pipe(
    tiny_base: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert ask(answered_run(tiny_base, "plain") / "saved_model/tiny", *options) == 2
    err = capsys.readouterr().err
    assert "for a file; a pipe" in err
    assert "loading torch" not in err


def test_a_terminal_does_not_obey_a_text(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = answered_run(tiny_base, "plain") / "saved_model/tiny"
    hostile = "ab\x1b[31m\u202e"
    (tmp_path / "rows.jsonl").write_text(json.dumps({"first": hostile, "second": "ba"}) + "\n")
    assert ask(folder, tmp_path / "rows.jsonl") == 0
    assert hostile in capsys.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert ask(folder, tmp_path / "rows.jsonl") == 0
    assert "ab\\x1b[31m\\u202e\tba" in capsys.readouterr().out


def test_nothing_is_overwritten_or_put_beside_the_results(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = answered_run(tiny_base, "plain")
    rows, there = workspace / "data/tiny_dev.tsv", tmp_path / "there.csv"
    there.write_text("mine")
    for out, message in (
        (there, "is there already\n  next: choose another name, or add --overwrite"),
        (tmp_path / "a.xlsx", "expected a name that ends with .csv or .jsonl or .parquet"),
        (workspace / "result/more.csv", "lies in a folder that is handed in or graded"),
        (tmp_path / "nowhere/a.csv", "does not exist"),
    ):
        assert ask(workspace / "saved_model/tiny", rows, "--out", out) == 2
        assert message in capsys.readouterr().err
    assert there.read_text() == "mine"
    assert ask(workspace / "saved_model/tiny", rows, "--out", there, "--overwrite") == 0
    assert there.read_text(encoding="utf-8-sig").startswith("row,")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.tsv", b"one\ttwo\tthree\tfour\tfive\n", "name the columns first, second in its first line"),
        ("b.xlsx", b"PK\x03\x04", "an Excel file"),
        ("c.jsonl", b'{"first": "x"}\n', "expected the columns first, second, found first"),
        ("d.csv", b"", "found an empty file"),
        ("e.csv", None, "expected a file of rows, there is none\n  next: name a file of rows"),
    ],
)
def test_a_file_that_cannot_be_used_is_explained_before_the_model_is_loaded(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, data: Optional[bytes], message: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    assert ask(answered_run(tiny_base, "plain") / "saved_model/tiny", tmp_path / name) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "loading torch" not in err


def test_a_first_line_is_never_lost_as_a_header(tiny_base: Path, tmp_path: Path) -> None:
    folder = answered_run(tiny_base, "plain") / "saved_model/tiny"
    rows = ["title\tbody", *("\t".join(row) for row in ROWS), *["ab\tba"] * 30]
    (tmp_path / "rows.tsv").write_text("".join(f"{row}\n" for row in rows))
    for more, count in (([], 37), (["--header"], 36)):
        assert ask(folder, tmp_path / "rows.tsv", "--out", tmp_path / "out.jsonl", "--overwrite", *more) == 0
        assert len((tmp_path / "out.jsonl").read_text().splitlines()) == count


def test_a_run_without_a_recipe_takes_the_input_as_one_text(tiny_base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(answered_run(tiny_base, "plain") / "saved_model/tiny", folder)
    for name in ("run.json", "recipe.yaml"):
        (folder / name).unlink()
    with labeltune.Asker.load(folder) as asker:
        assert asker.columns == ("text",)
        assert asker.notes == [f"{folder} has no recipe that can be read: the whole input is one text"]
        (answer,) = asker.answer(["\n".join(ROWS[0])])
    assert answer.prediction is not None
    assert answer.prediction.probabilities == pytest.approx(
        predictions(answered_run(tiny_base, "plain"))[0]["probabilities"], abs=1e-5
    )


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_conversation_in_a_terminal(tiny_base: Path) -> None:
    import pty

    folder = answered_run(tiny_base, "plain") / "saved_model/tiny"
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "labeltune", "ask", str(folder), "--why", "--prompt"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        os.write(ours, b"ab new 0\nba other\n\n")
        text = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:
                break
            if not part:
                break
            text += part
        assert process.wait() == 0
    shown = text.decode()
    expected = predictions(folder.parent.parent)[0]
    assert f"  {expected['label']}   (0: {expected['probabilities']['0']:.4f}" in shown
    assert "  | <bos>Which?" in shown
    assert "each word was left out once" in shown
    assert "\x1b[0m" in shown
