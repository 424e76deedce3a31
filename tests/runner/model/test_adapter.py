"""The adapter as an object: it leaves the base as it was, and needs no garbage collection."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from runner.errors import UserError
from runner.model.adapter import new_adapter
from runner.model.base import load_base
from runner.recipe.schema import Lora

LORA = Lora(r=2, target_modules=("q_proj",))


def test_a_detached_adapter_leaves_the_base_as_it_was(tiny_base: Path) -> None:
    base = load_base(tiny_base, "fp32", torch.device("cpu"))
    before = [name for name, _ in base.model.named_modules()]
    adapter = new_adapter(base, LORA)
    assert any("lora_A" in name for name, _ in base.model.named_modules())
    with pytest.raises(
        UserError, match=r"the base .* is in use: another adapter is in it\n  next: close that classifier"
    ):
        new_adapter(base, LORA)
    adapter.detach()
    adapter.detach()
    assert [name for name, _ in base.model.named_modules()] == before
    with pytest.raises(UserError, match=r"lora\.layers_to_transform: 9: meets no layer"):
        new_adapter(base, Lora(r=2, target_modules=("q_proj",), layers_to_transform=(0, 9)))
    assert [name for name, _ in base.model.named_modules()] == before, "a refused adapter is taken out, too"


def test_python_ends_with_an_adapter_that_was_never_closed(tiny_base: Path) -> None:
    code = (
        "import sys, torch; from pathlib import Path\n"
        "from runner.model.adapter import new_adapter; from runner.model.base import load_base\n"
        "from runner.recipe.schema import Lora\n"
        "base = load_base(Path(sys.argv[1]), 'fp32', torch.device('cpu'))\n"
        "adapter = new_adapter(base, Lora(r=2, target_modules=('q_proj',)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tiny_base)], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 0
