"""The command `labeltune export`: a finished run as a folder that transformers, with PEFT or not, loads without labeltune."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Optional

from grading import contract
from grading.contract.language import speak_to_argparse
from runner.commands.run import start
from runner.commands.workspace_option import OF_RUNS, add_workspace
from runner.errors import UserError
from runner.export.card import model_card
from runner.export.facts import Facts, facts_of
from runner.export.older_peft import for_older_peft
from runner.export.target import new_folder, require_new_folder, require_room
from runner.language import mark, tr
from runner.lookahead.weight_files import read_header
from runner.system.packages import RUN, require_packages
from runner.workspace.paths import PROMPT, Workspace
from runner.workspace.run_files import workspace_of
from runner.workspace.runs import named_adapter

MOST_ROWS = 1000
"""Most rows on which the merged model is compared."""

BYTES = {"bf16": 2, "fp32": 4}

DESCRIPTION = mark(
    """\
Write a finished run as a folder that needs no labeltune, with a model card and a loading snippet.

  labeltune export saved_model/QQP --out QQP-model                    base and adapter merged into one model
  labeltune export saved_model/QQP --out QQP-adapter --adapter-only   the adapter, as PEFT 0.10 and newer read it

The merged model is loaded again and must give the same labels on the dev rows. RUN is an adapter's folder, an id of
`labeltune runs`, or a workspace with one dataset. A folder that is not empty is never changed.
"""
)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit code."""
    return start(_parser(), arguments, _run)


def _run(options: argparse.Namespace) -> None:
    folder = named_adapter(options.run, options.workspace)
    facts = facts_of(folder, options.base_name)
    require_new_folder(options.out, workspace_of(folder))
    if options.adapter_only:
        _export_adapter(facts, options.out)
    else:
        _export_merged(facts, options)
    if facts.is_of_an_ensemble:
        print(tr("this is the first member of the ensemble; the run's own answers are the mean of all members"))
    if not facts.is_on_hub:
        print(
            tr("the card names the base by its folder, {base}; with --base-name OWNER/NAME by its id", base=facts.base)
        )
    print(tr("next: read {card}; its snippet loads the folder", card=options.out / "README.md"))


def _export_adapter(facts: Facts, out: Path) -> None:
    weights = facts.folder / contract.ADAPTER_WEIGHTS
    config = json.loads((facts.folder / contract.ADAPTER_CONFIG).read_text(encoding="utf-8"))
    older = {**for_older_peft(config, read_header(weights)), "base_model_name_or_path": facts.base}
    require_room(out, weights.stat().st_size)
    with new_folder(out) as folder:
        for name in (contract.ADAPTER_WEIGHTS, PROMPT):
            shutil.copyfile(facts.folder / name, folder / name)
        text = json.dumps(older, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        (folder / contract.ADAPTER_CONFIG).write_text(text, encoding="utf-8")
        _write_card(folder, model_card(facts, merged=False))
    left_out = sorted(set(config) - set(older))
    print(tr("adapter → {out}", out=out))
    if left_out:
        print(tr("left out for PEFT 0.10, without effect here: {left_out}", left_out=", ".join(left_out)))


def _export_merged(facts: Facts, options: argparse.Namespace) -> None:
    require_packages(RUN)
    precision = options.precision or (facts.precision if facts.precision in BYTES else "fp32")
    inputs = _inputs(facts, options)
    print(tr("loading torch, transformers and peft"), flush=True)
    from runner.export.merged import Merging, merge_into
    from runner.prediction.classifier import base_folder_of, device_of

    base = base_folder_of(facts.folder, options.base, options.trust_remote_code)
    values = sum(tensor.size for path in base.glob("*.safetensors") for tensor in read_header(path).values())
    require_room(options.out, values * BYTES[precision])
    merging = Merging(facts, base, precision, device_of(options.device), options.trust_remote_code)
    with new_folder(options.out) as folder:
        proof = merge_into(folder, merging, inputs)
        values_of: dict[str, Any] = {
            "rows": proof.rows,
            "largest_difference": proof.largest_difference,
            "precision": precision,
        }
        _write_card(folder, model_card(facts, merged=True, proof=values_of))
    print(tr("merged model in {precision} → {out}", precision=precision, out=options.out))
    print(proof.words())


def _write_card(folder: Path, text: str) -> None:
    (folder / "README.md").write_text(text, encoding="utf-8")


def _inputs(facts: Facts, options: argparse.Namespace) -> list[list[str]]:
    """The rows on which the merged model is compared: the dev rows of the run, or those of `--rows`."""
    from runner.asking.input_form import form_of
    from runner.asking.rows import FileForm, open_file
    from runner.data.records import records_of

    if options.rows:
        form = form_of(facts.recipe)
        good = (row for row in open_file(options.rows, form, FileForm()).rows() if not row.problem)
        found = [[form.text(row.fields), *_other(form.swapped_text(row.fields))] for row in islice(good, MOST_ROWS)]
    else:
        root = workspace_of(facts.folder)
        workspace = Workspace(root or Path(), facts.name)
        if root is None or not workspace.at(workspace.dev).is_file():
            raise UserError(
                tr("{folder}: the run's dev rows are not here, to compare the merged model on", folder=facts.folder),
                tr("name some rows: --rows FILE, in any format; or export the adapter: --adapter-only"),
            )
        records = records_of(workspace, facts.labels)
        orders = [records.dev, *([records.dev_swapped] if facts.averages_both_orders else [])]
        found = [[record["input"] for record in row] for row in islice(zip(*orders), MOST_ROWS)]
    if not found:
        raise UserError(tr("expected rows to compare the merged model on, found none"), tr("name some: --rows FILE"))
    return found


def _other(text: Optional[str]) -> list[str]:
    return [] if text is None else [text]


def _parser() -> argparse.ArgumentParser:
    speak_to_argparse()
    parser = argparse.ArgumentParser(
        prog="labeltune export", description=tr(DESCRIPTION), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help=tr("the run to export"))
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help=tr("a new folder"))
    parser.add_argument("--adapter-only", action="store_true", help=tr("the adapter, without the base"))
    parser.add_argument(
        "--precision", choices=tuple(BYTES), help=tr("of the merged weights (default: as the run computed)")
    )
    parser.add_argument(
        "--rows", type=Path, metavar="FILE", help=tr("rows to compare the merged model on (default: the dev rows)")
    )
    parser.add_argument(
        "--base-name", metavar="ID", help=tr("how the model card names the base, such as google/gemma-2b")
    )
    parser.add_argument("--base", help=tr("the base model, where it is not where it was: a folder or a hub id"))
    parser.add_argument("--device", help=tr("such as cuda or cpu (default: a GPU where there is one)"))
    parser.add_argument("--trust-remote-code", action="store_true", help=tr("run Python code in the base's folder"))
    add_workspace(parser, OF_RUNS)
    return parser
