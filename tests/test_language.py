"""The language of messages: how it is chosen, and catalogues that hold every message of the code in English and Chinese."""

import os
import re
import string
import subprocess
import sys

import pytest
from conftest import ROOT

from grading.contract.language import language, padded

sys.path.insert(0, str(ROOT / "docs"))

import make_catalogues

CATALOGUES = [(package, name) for package in make_catalogues.PACKAGES for name in make_catalogues.LANGUAGES]


@pytest.mark.parametrize(
    ("wish", "expected"), [("en", "en"), ("zh", "zh"), ("zh_CN.UTF-8", "zh"), ("zh-CN", "zh"), ("EN", "en")]
)
def test_labeltune_lang_decides(monkeypatch: pytest.MonkeyPatch, wish: str, expected: str) -> None:
    monkeypatch.setenv("LABELTUNE_LANG", wish)
    monkeypatch.setenv("LC_ALL", "en_GB.UTF-8" if expected == "zh" else "zh_CN.UTF-8")
    assert language() == expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_SG"}, "zh"),
        ({"LANG": "zh"}, "zh"),
        ({"LANG": "zh_TW.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "en_US.UTF-8", "LC_ALL": "zh_CN.GB18030"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, "zh"),
    ],
    ids=str,
)
def test_else_the_locale_decides(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str) -> None:
    for name in ("LABELTUNE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert language() == expected


def test_an_unknown_language_is_reported_once_and_the_locale_is_used() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "grading.score", "--rubric"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        env={**os.environ, "LABELTUNE_LANG": "fr", "LC_ALL": "zh_CN.UTF-8", "PYTHONIOENCODING": "utf-8"},
    )
    assert done.stderr.decode().splitlines() == [
        "LABELTUNE_LANG='fr': expected en or zh; the language of the locale is used"
    ]
    assert "得分条件" in done.stdout.decode()


@pytest.mark.parametrize(("package", "name"), CATALOGUES)
def test_a_catalogue_has_the_messages_of_the_code_and_no_others(package: str, name: str) -> None:
    known = make_catalogues.read_po(make_catalogues.po_path(package, name))
    of_code = make_catalogues.messages(package)
    assert len(of_code) > 20
    assert [each for each in of_code if each not in known] == []
    assert [each for each in known if each not in of_code] == []


@pytest.mark.parametrize(("package", "name"), CATALOGUES)
def test_every_message_has_a_translation_with_the_same_placeholders(package: str, name: str) -> None:
    text = make_catalogues.po_path(package, name).read_text(encoding="utf-8")
    assert "fuzzy" not in text
    assert make_catalogues.missing(package, name) == []
    known = make_catalogues.read_po(make_catalogues.po_path(package, name))
    for message in make_catalogues.messages(package).values():
        for translation in known[message.id]:
            if message.formatted:
                expected = make_catalogues.names_in(message.plural or message.id) | make_catalogues.names_in(message.id)
                assert make_catalogues.names_in(translation) <= expected, translation
                # a Chinese sentence has one form for all numbers, and may leave the count of one thing out
                assert expected - make_catalogues.names_in(translation) <= {"count"}, translation
                assert _forms(translation) <= _forms(message.id) | _forms(message.plural or ""), translation
            percents = re.findall(r"%(?:\(\w+\))?[sr]", message.id)
            assert sorted(re.findall(r"%(?:\(\w+\))?[sr]", translation)) == sorted(percents), translation
            assert translation.endswith("\n") == message.id.endswith("\n"), translation


def _forms(text: str) -> set[tuple[str, str, str]]:
    """The names in braces with their format and conversion."""
    return {(name, form or "", how or "") for _, name, form, how in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("package", make_catalogues.PACKAGES)
def test_the_files_of_the_catalogues_are_current(package: str) -> None:
    for name in make_catalogues.LANGUAGES:
        path = make_catalogues.po_path(package, name)
        known = make_catalogues.read_po(path)
        assert path.read_text(encoding="utf-8") == make_catalogues.po_text(package, name, known)
    compiled = make_catalogues.mo_path(package, "zh").read_bytes()
    assert compiled == make_catalogues.mo_bytes(package, "zh")


def test_argparse_speaks_chinese_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "labeltune", "compare", "--help"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        env={**os.environ, "LABELTUNE_LANG": "zh", "PYTHONIOENCODING": "utf-8"},
    )
    text = done.stdout.decode()
    assert text.startswith("命令的用法： labeltune compare [-h]")
    assert "显示本帮助并退出" in text
    assert not re.search(r"\b(usage|options|show this help)\b", text)


def test_english_loads_no_catalogue() -> None:
    code = "import sys; from runner.language import tr; tr('no recipe named'); print('gettext' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_columns_of_a_terminal_are_counted() -> None:
    assert padded("标签", 6) == "标签  "
    assert padded("label", 6, right=True) == " label"


def test_a_wheel_has_the_catalogues() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'grading = ["locale/*/LC_MESSAGES/*.mo"]' in text
    assert 'runner = ["locale/*/LC_MESSAGES/*.mo", "reporting/templates/*"]' in text
