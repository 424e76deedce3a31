"""The runner: a YAML recipe goes in, a LoRA fine-tune and its predictions come out.

From the command to the work: `main` -> `commands.run` -> `pipeline` -> `stages`, which turn a recipe's tables into records,
an adapter and predictions. Heavy libraries are imported inside the stages that need them, so that `--help` and `--check`
answer at once. This file parses in every Python.
"""

import sys

__version__ = "0.1.0"

if sys.version_info < (3, 9):
    sys.stderr.write(
        "labeltune needs Python 3.9 or newer; this is Python %d.%d (%s)\n"
        "  next: make an environment with a newer one, for instance: conda create -n labeltune python=3.11\n"
        % (sys.version_info[0], sys.version_info[1], sys.executable)
    )
    sys.exit(2)
