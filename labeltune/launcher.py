"""Accelerate's launcher without its traceback: where a process it started fails, that process has reported why."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)
"""Signals that ask a run to stop."""


def _watch(command: int) -> None:
    """Stop the run when the `labeltune` command has ended: the run is in a group of its own, and gets no signal."""
    while os.getppid() == command:
        time.sleep(1)
    os.killpg(os.getpgrp(), signal.SIGTERM)


def main() -> None:
    """Run `accelerate launch` with this process's arguments."""
    if hasattr(os, "killpg"):
        threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()
    from accelerate.commands.launch import main as launch

    # they reach the run too, which stops where nothing is lost; not SIG_IGN, which the run would inherit
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: None)
    # in this process alone: torch would log how it ends the other processes
    logging.disable(logging.CRITICAL)
    try:
        launch()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    except Exception as error:
        # torch's launcher has passed a signal on
        if type(error).__name__ == "SignalException":
            sys.exit(128 + getattr(error, "sigval", 0))
        if type(error).__name__ != "ChildFailedError":
            raise
        sys.exit(1)


if __name__ == "__main__":
    main()
