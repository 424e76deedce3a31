"""The base model's shapes: an adapter must fit the model that the examiner names."""

import pytest
from support import submissions
from support.commands import refusal, run


@pytest.fixture
def folder(tmp_path):
    return submissions.write_submission(tmp_path / "submission")


@pytest.fixture
def answers(tmp_path):
    return submissions.write_answers(tmp_path / "answers")


def test_the_base_models_shapes(folder, answers, tmp_path, capsys):
    config = {
        "model_type": "gemma", "num_hidden_layers": 1, "hidden_size": 3, "intermediate_size": 6,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 2, "vocab_size": 9,
    }  # fmt: skip
    submissions.write_json(tmp_path / "base/config.json", config)
    assert run(folder, answers, "--base", str(tmp_path / "base")) == 0
    assert "target modules and the base model's shapes (2 of 2 are known)" in capsys.readouterr().out
    for change, words in (
        ({"num_key_value_heads": 1}, "v_proj' maps 3 values to 4, in the base model 3 to 2"),
        ({"hidden_size": 4}, "q_proj' maps 3 values to 4, in the base model 4 to 4"),
    ):
        submissions.write_json(tmp_path / "base/config.json", {**config, **change})
        assert run(folder, answers, "--base", str(tmp_path / "base/config.json")) == 0
        assert words in capsys.readouterr().out
    tensors = {name.replace("layers.0", "layers.1"): value for name, value in submissions.adapter_tensors().items()}
    submissions.write(folder / "saved_model/QQP/adapter_model.safetensors", submissions.safetensors(tensors))
    submissions.write_json(tmp_path / "base/config.json", config)
    run(folder, answers, "--base", str(tmp_path / "base"))
    assert "the base model has 1 layers, counted from 0" in capsys.readouterr().out
    for change, words in (
        ({"model_type": "bert"}, "model_type is 'bert', expected one of gemma, "),
        ({"hidden_size": 0}, "hidden_size is 0, expected a whole number > 0"),
    ):
        submissions.write_json(tmp_path / "base/config.json", {**config, **change})
        assert words in refusal(capsys, folder, answers, "--base", str(tmp_path / "base"))
    assert "cannot be read" in refusal(capsys, folder, answers, "--base", str(tmp_path / "nothing"))
