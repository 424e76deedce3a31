"""Adapters that are unusual and right."""

import pytest
from support import submissions
from support.submissions.defects import STEM, WEIGHTS, with_config

from grading.checks.answer_key import read_keys
from grading.grader import OpenExam
from grading.submission.folder import Submission


@pytest.fixture
def folder(tmp_path):
    return submissions.write_submission(tmp_path / "submission")


def graded(folder, answers=submissions.ANSWERS):
    keys = read_keys(submissions.write_answers(folder.parent / "answers", answers))
    return OpenExam(tuple(keys)).grade(Submission(folder))


def verdicts(report):
    return {verdict.check: verdict for part in report.datasets[0].parts for verdict in part.verdicts}


def test_dora_rank_patterns_and_embeddings_are_adapters_too(folder):
    tensors = submissions.adapter_tensors()
    for module in ("layers.0.self_attn.q_proj", "layers.0.self_attn.v_proj", "embed_tokens"):
        size = 3 if module == "embed_tokens" else 4
        magnitude = submissions.floats([size], [1.0] * size)
        tensors[f"base_model.model.model.{module}.lora_magnitude_vector"] = magnitude
    tensors[f"{STEM}.lora_B.bias"] = submissions.floats([4], [0.0] * 4)
    tensors["base_model.model.model.embed_tokens.lora_embedding_A"] = submissions.floats([6, 5], [0.0] * 30)
    tensors["base_model.model.model.embed_tokens.lora_embedding_B"] = submissions.floats([3, 6], [0.0] * 18)
    tensors["base_model.model.steps"] = ("I64", [], b"\7" * 8)
    submissions.write(folder / WEIGHTS, submissions.safetensors(tensors))
    targets = ["q_proj", "v_proj", "embed_tokens"]
    with_config(rank_pattern={"embed_tokens": 6}, use_dora=True, target_modules=targets)(folder)
    assert graded(folder).points == 100


def test_a_start_that_is_not_zero_proves_nothing(folder):
    with_config(init_lora_weights="pissa")(folder)
    report = graded(folder)
    assert report.points == 100
    assert verdicts(report)["weights trained"].reason == (
        "all values are finite, 2 of 2 lora_B are not zero (which does not prove training with init_lora_weights 'pissa')"
    )
