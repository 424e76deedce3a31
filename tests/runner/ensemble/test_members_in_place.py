"""After a restored run: the folders of the other members have adapters of another setting, and nobody takes them for its own."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import recipe_tree, write_recipe, write_tables

import labeltune
from grading import contract
from runner.commands.compare import main as compare_main
from runner.commands.report import main as report_main
from runner.commands.run import execute
from runner.commands.run import main as run_main
from runner.commands.runs import main as runs_main
from runner.errors import UserError
from runner.recipe.loader import load_recipes
from runner.stages import STAGES
from runner.system.files import digest
from runner.workspace.ensemble_record import read_ensemble
from runner.workspace.paths import Workspace

MEMBERS = {"ensemble": {"seeds": [0, 1]}, "train": {"epochs": 1}}
ROWS = {"train": 16, "holdout": 12, "dev": 5}
TRAIN = [f"{number}\t{number % 2}\t{'ab' if number % 3 else 'ba'} word {number}" for number in range(32)]
ADAPTER = "saved_model/tiny"


def run(root: Path, base: Path, stages: Any = STAGES, **changes: Any) -> None:
    tree = recipe_tree(base, **{**MEMBERS, "samples": ROWS, **changes})
    execute(load_recipes([write_recipe(root, tree)]), root, stages)


@pytest.fixture(scope="module")
def restored(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """An ensemble that a later one has replaced, put in place again. Not to be changed."""
    root = write_tables(tmp_path_factory.mktemp("restored"), train=TRAIN)
    run(root, tiny_base)
    run(root, tiny_base, train={"epochs": 1, "learning_rate": 0.02})
    (kept,) = (root / "saved_model/.runs/tiny").iterdir()
    assert runs_main(["restore", kept.name, "--workspace", str(root)]) == 0
    return root


@pytest.fixture
def copy(restored: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return Path(shutil.copytree(restored, tmp_path / "copy"))


def second_member(root: Path) -> Path:
    (folder,) = root.glob("saved_model/.ensemble/tiny/seed-1-*")
    return folder / ADAPTER


def files(root: Path) -> dict[str, str]:
    """All files but the lock, which a run opens."""
    return {str(path): digest(path) for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"}


def refusal(root: Path) -> str:
    """How the message about the second member begins, as a pattern."""
    found = digest(second_member(root) / contract.ADAPTER_WEIGHTS)
    expected = json.loads((root / ADAPTER / "ensemble.json").read_text())["members"][1]["adapter"]
    assert found != expected
    return re.escape(
        f"{second_member(root)}: member 2 of the ensemble (seed 1) is not here: ensemble.json names the adapter "
        f"{expected[:8]}, found {found[:8]}, which another run has put there\n  next: "
    )


def test_no_answer_comes_from_a_member_of_another_setting(copy: Path, tiny_base: Path, monkeypatch: Any) -> None:
    with pytest.raises(UserError, match=refusal(copy)) as caught:
        labeltune.Asker.load(copy / ADAPTER)
    # the run record is gone where the data has changed, and recipe.yaml is that of the first member alone
    (copy / ADAPTER / "run.json").unlink()
    with pytest.raises(UserError, match=refusal(copy)):
        labeltune.Asker.load(copy / ADAPTER)
    # the next step that the message names
    command = shlex.split(caught.value.next_step.rpartition(": ")[2])
    assert command[3:] == ["ensemble.seeds=[0, 1]", "--workspace", str(copy)]
    assert run_main(command[2:]) == 0
    with labeltune.Asker.load(copy / ADAPTER) as asker:
        assert len(asker.members) == 2
        (answer,) = asker.answer(["ab"])
    assert answer.prediction is not None
    # in the workspace itself the command is shorter
    monkeypatch.chdir(copy)
    record = read_ensemble(Path(ADAPTER))
    assert record is not None
    again = record.run_command(Workspace(Path("."), "tiny"))
    assert again == "labeltune run saved_model/tiny/recipe.yaml 'ensemble.seeds=[0, 1]'"


@pytest.mark.parametrize("stages", [("predict",), ("evaluate",), ("prepare", "evaluate", "predict")], ids=",".join)
def test_nothing_is_written_about_a_member_of_another_setting(copy: Path, tiny_base: Path, stages: Any) -> None:
    write_recipe(copy, recipe_tree(tiny_base, **MEMBERS, samples=ROWS))
    before = files(copy)
    with pytest.raises(UserError, match=refusal(copy) + "leave --stages out"):
        run(copy, tiny_base, stages)
    assert files(copy) == before


def test_a_member_that_is_not_recorded_is_named_too(copy: Path, tiny_base: Path) -> None:
    (copy / ADAPTER / "ensemble.json").unlink()
    write_recipe(copy, recipe_tree(tiny_base, **MEMBERS, samples=ROWS))
    before = files(copy)
    problem = "member 2 of the ensemble (seed 1): tiny: the finetune stage was run with another recipe"
    with pytest.raises(UserError, match=f"^{re.escape(problem)}"):
        run(copy, tiny_base, ("predict",))
    assert files(copy) == before
    with pytest.raises(UserError, match=r"has no ensemble\.json, which names the adapters of all members"):
        labeltune.Asker.load(copy / ADAPTER)
    shutil.rmtree(second_member(copy))
    with pytest.raises(UserError, match=r"^member 2 of the ensemble \(seed 1\): tiny: the finetune stage has not fini"):
        run(copy, tiny_base, ("predict",))


def test_a_run_of_all_stages_trains_the_member_again(copy: Path, tiny_base: Path, capsys: Any) -> None:
    first = digest(copy / ADAPTER / contract.ADAPTER_WEIGHTS)
    members = json.loads((copy / ADAPTER / "ensemble.json").read_text())["members"]
    run(copy, tiny_base)
    assert "tiny finetune (seed 0): nothing changed" in capsys.readouterr().out
    assert digest(copy / ADAPTER / contract.ADAPTER_WEIGHTS) == first == members[0]["adapter"]
    assert digest(second_member(copy) / contract.ADAPTER_WEIGHTS) == members[1]["adapter"]
    run(copy, tiny_base, ("predict",))


def test_restoring_says_that_one_member_is_kept(copy: Path, capsys: Any) -> None:
    (kept,) = (copy / "saved_model/.runs/tiny").iterdir()
    assert runs_main(["restore", kept.name, "--workspace", str(copy)]) == 0
    assert capsys.readouterr().out.endswith(
        "of the 2 members of this ensemble, only the first one's adapter is kept\n"
        f"next: labeltune run {copy}/saved_model/tiny/recipe.yaml 'ensemble.seeds=[0, 1]' --workspace {copy}  "
        "(it trains those that a later run has replaced)\n"
    )


def test_the_record_gives_the_block_of_the_recipe(tmp_path: Path) -> None:
    tree: dict[str, Any] = {
        "answer": "first",
        "members": [
            {"seed": seed, "instruction": text, "adapter": f"{seed}{text}"}
            for text in ("A?", "B's?")
            for seed in (4, 2)
        ],
        "together": {"accuracy": 0.5, "interval": [0.4, 0.6]},
    }
    (tmp_path / "ensemble.json").write_text(json.dumps(tree))
    record = read_ensemble(tmp_path)
    assert record is not None
    assert (record.ensemble.seeds, record.ensemble.instructions) == ((4, 2), ("A?", "B's?"))
    assert record.adapter_of(2, "B's?") == "2B's?"
    assert record.adapter_of(3, "A?") is None
    words = shlex.split(record.run_command(Workspace(tmp_path, "tiny")))
    assert words[3:6] == ["ensemble.seeds=[4, 2]", 'ensemble.instructions=["A?", "B\'s?"]', 'ensemble.answer="first"']
    for damage in ({"members": None}, {"together": {}}, {"together": {"accuracy": 0.5, "interval": [1]}}):
        (tmp_path / "ensemble.json").write_text(json.dumps({**tree, **damage}))
        assert read_ensemble(tmp_path) is None


def test_every_command_says_whose_accuracy_it_shows(restored: Path, capsys: Any) -> None:
    """`runs` and `compare` know the first member alone; the summary and the report are about all of them."""
    record = read_ensemble(restored / ADAPTER)
    assert record is not None
    together = {"members": 2, "accuracy": record.accuracy, "interval": list(record.interval)}
    assert runs_main([str(restored)]) == 0
    shown = f"the first of 2 members alone; all together, which give the result: {record.accuracy:.1%} ("
    out = " ".join(capsys.readouterr().out.split())
    assert shown in out
    assert out.count("the first of 2 members alone; ") == 2
    assert runs_main([str(restored), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["datasets"]["tiny"]
    assert rows[0]["ensemble"] == together
    runs = [str(restored / ADAPTER), rows[1]["id"], "--workspace", str(restored)]
    assert compare_main([*runs, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["ensemble"] == together
    page = restored.parent / "compared.html"
    assert compare_main([*runs, "--html", str(page)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for text in (out, page.read_text(encoding="utf-8")):
        assert text.count("is the first of 2 members of an ensemble, and is compared alone; all together, which") == 2
    assert report_main([str(restored / ADAPTER)]) == 0
    report = (restored / "result/tiny/report.html").read_text(encoding="utf-8")
    assert f"; all 2 members {record.accuracy:.1%}." in report
    assert "this adapter" not in report


def test_a_run_by_itself_has_no_such_note(tmp_path: Path, tiny_base: Path, capsys: Any) -> None:
    root = write_tables(tmp_path, train=TRAIN)
    command = [str(write_recipe(root, recipe_tree(tiny_base, **MEMBERS, samples=ROWS))), "--workspace", str(root)]
    for change in ("ensemble.seeds=[]", "ensemble.answer=first"):
        assert run_main([*command, change]) == 0
        capsys.readouterr()
        assert runs_main([str(root)]) == 0
        assert "members" not in capsys.readouterr().out
        assert runs_main([str(root), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["datasets"]["tiny"][0]["ensemble"] is None
        assert report_main([str(root)]) == 0
        assert "; this adapter " in (root / "result/tiny/report.html").read_text(encoding="utf-8")
