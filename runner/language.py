"""The runner's messages in the language of messages: `tr`, `trn` and `mark`, as `grading.contract.language` explains them."""

from __future__ import annotations

from pathlib import Path

from grading.contract.language import Catalogue

_OWN = Catalogue(Path(__file__).resolve().parent)

tr, trn, mark = _OWN.tr, _OWN.trn, _OWN.mark
