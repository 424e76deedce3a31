"""The fingerprint: equal values give equal digests, and a difference is shown from what to what."""

from runner.system.fingerprint import Fingerprint


def test_the_order_of_names_does_not_count() -> None:
    assert Fingerprint({"a": 1, "b": [2]}).digest == Fingerprint({"b": [2], "a": 1}).digest
    assert Fingerprint({"a": 1}).digest != Fingerprint({"a": 2}).digest


def test_the_difference_names_each_value_that_changed() -> None:
    now = Fingerprint({"lora.r": 16, "train.epochs": 2, "labels": ("0", "1")})
    assert now.diff({"lora.r": 8, "base": "x" * 100, "labels": ["0", "1"], "train.epochs": 2}).splitlines() == [
        f"  base: before '{'x' * 76}..., now None",
        "  lora.r: before 8, now 16",
    ]
    assert now.diff(now) == ""
    assert now.diff({**now, "lora.r": 8}, ("trained with", "now")) == "  lora.r: trained with 8, now 16"
