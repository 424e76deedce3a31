"""The run record: recipe, versions, inputs, outputs and metrics of a run, in `run.json` beside the adapter; written last."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from grading import contract
from runner import __version__
from runner.recipe.loader import LoadedRecipe
from runner.system.files import write_atomic
from runner.system.provenance import PACKAGES, commit, package_version
from runner.workspace.manifest import read_manifest
from runner.workspace.paths import CALIBRATION, Workspace

SCHEMA = "labeltune.run/1"


def write_run_record(
    loaded: LoadedRecipe, workspace: Workspace, stages: Mapping[str, Sequence[str]], seconds: float
) -> None:
    """Write the record of a run, from the manifests in this workspace that belong to this recipe and to each other.

    `stages`: the recipe keys of each stage, in order. Without an adapter of this recipe nothing is written, for the record
    describes the adapter that it lies beside."""
    manifests: dict[str, Any] = {}
    made: dict[str, str] = {}
    weights, calibration = (f"{workspace.adapter}/{name}" for name in (contract.ADAPTER_WEIGHTS, CALIBRATION))
    paths = {"train": workspace.train, "dev": workspace.dev, "adapter": weights, "calibration": calibration}
    for stage, keys in stages.items():
        manifest = read_manifest(workspace.manifest(stage))
        if manifest is None or manifest.inputs.get("recipe") != loaded.recipe.digest(*keys):
            continue
        for name, path in paths.items():
            if path in made and manifest.inputs.get(name, made[path]) != made[path]:
                # of an earlier run: its inputs have been replaced
                break
        else:
            manifests[stage] = dataclasses.asdict(manifest)
            made.update(manifest.outputs)
    if "finetune" not in manifests:
        return
    record = {
        "schema": SCHEMA,
        "labeltune": __version__,
        "commit": commit(),
        "recipe_file": str(loaded.path),
        "recipe_digest": loaded.recipe.digest(),
        "recipe": dataclasses.asdict(loaded.recipe),
        "seeds": {"samples": loaded.recipe.samples.seed, "train": loaded.recipe.train.seed},
        "versions": {"python": platform.python_version(), **{name: package_version(name) for name in PACKAGES}},
        "machine": platform.machine(),
        "stages": manifests,
        "seconds": round(seconds, 3),
    }
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    # a file name that is not UTF-8 has surrogates, which become JSON's own escapes
    write_atomic(workspace.run_record, text.encode(errors="backslashreplace"))
