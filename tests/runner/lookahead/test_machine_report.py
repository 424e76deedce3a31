"""The machine report, and the packages: every problem of a machine is named with its fix."""

import dataclasses
import re
import stat
from pathlib import Path
from typing import Optional

import pytest
from conftest import ROOT
from support.lookahead import A10, CPU, with_gpu

from runner.commands.doctor import main
from runner.lookahead.findings import Findings
from runner.lookahead.layout import report_lines
from runner.lookahead.machine import Machine, this_machine
from runner.lookahead.machine_report import look_at_machine
from runner.lookahead.packages import PYTHON, TESTED, check_packages


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with one base."""
    (tmp_path / "hub/models--google--gemma-2b").mkdir(parents=True)
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    return tmp_path / "hub"


def report(machine: Machine, workspace: Path) -> tuple[str, Findings]:
    findings = Findings()
    lines = report_lines(look_at_machine(workspace, findings, machine), findings)
    return " ".join(" ".join(lines).split()), findings


def test_a_machine_that_is_fine(tmp_path: Path) -> None:
    text, findings = report(with_gpu(A10), tmp_path)
    assert not findings.problems
    for line in (
        "GPU NVIDIA A10, 25.8 GB (24.7 GB free), bf16, driver 535.104",
        "torch built for CUDA 12.1",
        f"hub cache {tmp_path / 'hub'}: ",
        "address https://huggingface.co (HF_ENDPOINT is not set)",
        "bases google/gemma-2b",
        "memory 68.7 GB, 64.4 GB free",
    ):
        assert line in text


@pytest.mark.parametrize(
    ("change", "torch_cuda", "kind", "words"),
    [
        (
            {},
            None,
            "PROBLEM",
            "NVIDIA A10 cannot be used: the installed torch is built for CPUs only next pip install torch ",
        ),
        (
            {"driver": "470.57"},
            "12.1",
            "PROBLEM",
            "driver 470.57 is too old for torch's CUDA 12.1: it needs 525 or newer next",
        ),
        (
            {"name": "Tesla T4", "capability": 7.5},
            "12.1",
            "WARNING",
            "Tesla T4 does not compute bf16 next set train.precision",
        ),
        ({"free": 1 << 30}, "12.1", "WARNING", "of its memory are in use next nvidia-smi shows by whom"),
    ],
)
def test_what_is_wrong_with_a_gpu(
    change: dict[str, object], torch_cuda: Optional[str], kind: str, words: str, tmp_path: Path
) -> None:
    text, _ = report(with_gpu(dataclasses.replace(A10, **change), torch_cuda), tmp_path)  # type: ignore[arg-type]
    assert f"{kind} " in text
    assert words in text


def test_a_machine_without_what_a_run_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Path) -> None:
    for path in hub.iterdir():
        path.rmdir()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_ENDPOINT", "hf-mirror.example")
    text, findings = report(dataclasses.replace(CPU, torch_cuda="12.1", available=1 << 30), tmp_path)
    for words in (
        "HF_ENDPOINT=hf-mirror.example is not an address next export HF_ENDPOINT=https://",
        "HF_HUB_OFFLINE is set and the hub cache is empty next name the base's folder",
        "torch is built for CUDA 12.1, and no GPU is found",
        "memory: less than 4 GB are free next",
        "no bf16 instructions: train.precision: fp32 is faster here",
        "HF_HUB_OFFLINE set: nothing is downloaded",
    ):
        assert words in text
    assert len(findings.problems) == 1


def test_gpus_are_those_of_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\n"
        'case "$1" in *compute_cap*) exit 6;; esac\n'
        "echo 'Tesla V100-SXM2-16GB, 16384, 16000, 450.80.02'\n"
        "echo 'NVIDIA A10, 23028, [N/A], 450.80.02'\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [(gpu.name, gpu.total >> 20, gpu.free >> 20) for gpu in this_machine().gpus] == [
        ("Tesla V100-SXM2-16GB", 16384, 16000),
        ("NVIDIA A10", 23028, 0),
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [gpu.name for gpu in this_machine().gpus] == ["NVIDIA A10"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not this_machine().gpus


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("0.9.1", "peft 0.9.1 is older than 0.10.0, the oldest that is tested -> pip install 'peft>=0.10.0'"),
        ("0.10.0", ""),
        ("9.0", "peft 9.0 is newer than 0.21.2, the newest that is tested -> it may work; constraints.txt"),
    ],
)
def test_versions_are_compared_with_the_tested_ones(
    version: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / f"peft-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: peft\nVersion: {version}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    findings = Findings()
    (peft,) = [each for each in check_packages(findings) if each.name == "peft"]
    assert peft.version == version
    found = [f"{each.what} -> {each.next_step}" for each in findings.problems + findings.warnings]
    assert ("peft" in " ".join(found)) == bool(words)
    assert any(words in each for each in [*found, ""])


def test_the_tested_versions_are_those_of_the_project() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lowest = dict(re.findall(r'^    "([\w-]+)(?:>=([\d.]+))?",', text.partition("\n]")[0], re.MULTILINE))
    assert {name: oldest for name, (oldest, _) in TESTED.items() if name != "tokenizers"} == lowest
    newest = dict(
        re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert {name: TESTED[name][1] for name in newest} == newest
    assert f'requires-python = ">={PYTHON[0]}"' in text


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--workspace", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("this machine: fine")
    monkeypatch.setenv("HF_ENDPOINT", "mirror")
    assert main([]) == 2
    assert capsys.readouterr().out.splitlines()[-1].startswith("this machine: 1 problem")
