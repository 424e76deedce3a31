"""The console: what the library logs is a line of its own, whatever the progress bar is doing."""

import logging
import subprocess
import sys

import pytest
from conftest import ROOT

from runner.system.console import console_logging, log_context, progress

log = logging.getLogger("labeltune.test")


def test_records_become_lines_with_their_context(capsys: pytest.CaptureFixture[str]) -> None:
    with console_logging(), log_context("QQP finetune"):
        log.info("4,000 rows")
        log.warning("out of memory")
        log.debug("not shown")
    log.info("after the block")
    assert capsys.readouterr().out == "QQP finetune: 4,000 rows\nQQP finetune: WARNING: out of memory\n"


def test_other_processes_print_only_what_is_theirs(capsys: pytest.CaptureFixture[str]) -> None:
    with console_logging(main_process=False):
        log.warning("the same on every process")
        log.warning("process 1 waits", extra={"every_process": True})
    assert capsys.readouterr().out == "WARNING: process 1 waits\n"


def test_a_warning_never_joins_the_line_of_a_progress_bar() -> None:
    code = (
        "import logging; from runner.system.console import console_logging, progress\n"
        "with console_logging(), progress(10, 'finetune') as bar:\n"
        "    bar.update(3); bar.refresh()\n"
        "    logging.getLogger('labeltune').warning('out of memory')\n"
        "    bar.update(3); bar.refresh()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
    )
    # a carriage return begins a line anew on a terminal
    lines = done.stdout.decode().replace("\r", "\n").split("\n")
    assert "WARNING: out of memory" in lines
    assert any("3/10" in line for line in lines)
    assert any("6/10" in line for line in lines)


def test_a_bar_with_a_delay_appears_only_for_work_that_lasts(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(None, "tokenize", range(3), delay=3600)) == [0, 1, 2]
    assert "tokenize" not in capsys.readouterr().err
    assert list(progress(None, "tokenize", range(3), delay=1e-9)) == [0, 1, 2]
    assert "tokenize" in capsys.readouterr().err
