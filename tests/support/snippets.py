"""The loading snippet of a model card, run in a process that cannot import labeltune."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

WITHOUT = """\
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("labeltune", "runner", "grading"):
            raise ImportError(name)
sys.meta_path.insert(0, Without())
"""


def snippet_of(folder: Path) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return str(code)


def probabilities(folder: Path, texts: Sequence[str]) -> dict[str, float]:
    """What the snippet of an exported folder prints for an input; `texts` has it in one order, or in both."""
    code = snippet_of(folder)
    name = "texts" if len(texts) > 1 else "text"
    value = repr(list(texts) if len(texts) > 1 else texts[0])
    code, count = re.subn(rf"^{name} = .*$", lambda _: f"{name} = {value}", code, flags=re.MULTILINE)
    assert count == 1
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = ast.literal_eval(done.stdout)
    return found
