"""Whatever bytes lie where a submission's files are expected: a report from 0 to 100, soon, in little memory.

LABELTUNE_CASES=20000 runs that many cases of each property instead of a hundred.
"""

import gc
import json
import os
import time
import tracemalloc

import pytest
from support import submissions
from support.submissions.defects import CONFIG, DEV, RESULT, TRAIN, WEIGHTS

from grading.checks.answer_key import read_keys
from grading.grader import OpenExam
from grading.report.gradescope import as_gradescope
from grading.report.json_report import as_json
from grading.report.text import as_text
from grading.submission.folder import Submission

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

CASES = int(os.environ.get("LABELTUNE_CASES", "100"))
MOST_SECONDS, MOST_BYTES = 2, 64 << 20
PATHS = (TRAIN, DEV, CONFIG, WEIGHTS, RESULT)


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Writes `data` at `path` of a submission that is otherwise right, and grades it."""
    root = tmp_path_factory.mktemp("class")
    folder = submissions.write_submission(root / "submission")
    good = {path: (folder / path).read_bytes() for path in PATHS}
    exam = OpenExam(tuple(read_keys(submissions.write_answers(root / "answers"))))
    # what other tests left in this process is not the grader's: collecting it again and again would be counted as its time
    gc.collect()
    gc.freeze()

    def grade(path, data):
        (folder / path).write_bytes(data)
        started = time.process_time()
        report = exam.grade(Submission(folder))
        seconds = time.process_time() - started
        tracemalloc.start()  # which takes time of its own
        try:
            assert exam.grade(Submission(folder)) == report
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            (folder / path).write_bytes(good[path])
        assert seconds < MOST_SECONDS
        assert peak < MOST_BYTES
        assert 0 <= report.points <= 100
        value, text = as_json(report), as_text(report)
        assert 0 <= value["points"] <= 100
        assert json.loads(json.dumps(value, allow_nan=False)) == value
        assert json.dumps(as_gradescope(value, text), allow_nan=False)
        assert text.replace("\n", "").isprintable()
        return report

    grade.good = good
    yield grade
    gc.unfreeze()


def settled(test):
    return hypothesis.settings(max_examples=CASES, deadline=None, database=None)(test)


def test_random_bytes(graded):
    @settled
    @hypothesis.given(st.sampled_from(PATHS), st.binary(max_size=400))
    def check(path, data):
        graded(path, data)

    check()


def test_cut_and_flipped_files(graded):
    @settled
    @hypothesis.given(st.sampled_from(PATHS), st.data())
    def check(path, draw):
        data = bytearray(graded.good[path])
        flips = st.tuples(st.integers(0, len(data) - 1), st.integers(1, 255))
        for place, bits in draw.draw(st.lists(flips, max_size=6)):
            data[place] ^= bits
        start, length = draw.draw(st.integers(0, 3)), draw.draw(st.integers(0, len(data)))
        graded(path, bytes(data[start : start + length]))

    check()


def values():
    """Any JSON value, odd ones among them."""
    plain = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=9),
        st.sampled_from(["0", "1", "LORA", "input", 10**50, -1, "\ud800", "\x1b[2J"]),
    )  # fmt: skip
    keys = st.sampled_from(["instruction", "input", "output", "r", "peft_type", "target_modules", "rank_pattern", "x"])
    return st.recursive(
        plain,
        lambda below: st.one_of(st.lists(below, max_size=4), st.dictionaries(keys, below, max_size=4)),
        max_leaves=9,
    )


def mutated(draw, value):
    """The value with one place in it replaced, removed or doubled."""
    if not isinstance(value, (list, dict)) or not value or draw.draw(st.integers(0, 3)) == 0:
        return draw.draw(values())
    place = draw.draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
    action = draw.draw(st.sampled_from(["deeper", "deeper", "remove", "double"]))
    changed = dict(value) if isinstance(value, dict) else list(value)
    if action == "deeper":
        changed[place] = mutated(draw, value[place])
    elif action == "remove":
        del changed[place]
    elif isinstance(changed, list):
        changed.append(changed[place])
    else:
        changed[f"{place}_"] = changed[place]
    return changed


def test_mutated_json(graded):
    @settled
    @hypothesis.given(st.sampled_from((TRAIN, DEV, CONFIG)), st.data())
    def check(path, draw):
        changed = mutated(draw, json.loads(graded.good[path]))
        graded(path, json.dumps(changed, ensure_ascii=draw.draw(st.booleans())).encode("utf-8", "surrogatepass"))

    check()


def test_mutated_adapter_configurations(graded):
    """Any value at any key that PEFT reads: full points only for a configuration that could be used."""
    keys = st.sampled_from(
        ["r", "lora_alpha", "lora_dropout", "bias", "rank_pattern", "alpha_pattern", "target_modules", "exclude_modules",
         "modules_to_save", "layers_to_transform", "layers_pattern", "target_parameters", "use_dora", "use_rslora"]
    )  # fmt: skip
    odd = st.one_of(
        values(),
        st.sampled_from([0, -1, 1e308, 5e-324, 10**39, True, "four", "(a+)+$", [0], ["v_proj"], {"q_proj": 2}]),
    )

    @settled
    @hypothesis.given(st.dictionaries(keys, odd, min_size=1, max_size=3))
    def check(changes):
        report = graded(CONFIG, json.dumps(submissions.adapter_config(**changes)).encode("utf-8", "surrogatepass"))
        alpha = changes.get("lora_alpha", 4)
        if type(alpha) not in (int, float) or not 0 < alpha < 1e6:
            assert report.points < 100

    check()


def test_mutated_headers(graded):
    size = int.from_bytes(graded.good[WEIGHTS][:8], "little")
    header = json.loads(graded.good[WEIGHTS][8 : 8 + size])

    @settled
    @hypothesis.given(st.data())
    def check(draw):
        text = json.dumps(mutated(draw, header)).encode("utf-8", "surrogatepass")
        graded(WEIGHTS, submissions.framed(text) + graded.good[WEIGHTS][8 + size :])

    check()


def test_mutated_results(graded):
    """Points follow the lines that equal the key's, and nothing else that is on them."""
    lines = st.sampled_from(["0", "1", "", " ", "2", "1.0", "\uff11", "label: 1", "1 ", "0\t1", "\u2028", "x" * 99])
    ends = st.sampled_from(["\n", "\r\n"])

    @settled
    @hypothesis.given(st.lists(st.tuples(lines, ends), max_size=14))
    def check(found):
        report = graded(RESULT, "".join(line + end for line, end in found).encode())
        right = sum(line == answer for (line, _), answer in zip(found, submissions.ANSWERS))
        assert report.points == 30 + 70 * right / len(submissions.ANSWERS)

    check()


@pytest.mark.parametrize(
    ("path", "data"),
    [
        (TRAIN, b"[" + b"0," * 240_000 + b"0]"),
        (TRAIN, b"[" + b"[]," * 160_000 + b"[]]"),
        (TRAIN, b"[" + b"[[]]," * 95_000 + b"[]]"),
        (TRAIN, b"[" + b'{"":0},' * 70_000 + b"0]"),
        (TRAIN, b'["' + b'\\"' * 240_000),
        (TRAIN, b"[[" + b"[]," * 300_000 + b"[]]]"),
        (DEV, b'["' + b"\\n" * 500_000 + b'"]'),
        (DEV, b"[" + b" " * 1_000_000 + b"]"),
        (RESULT, b"\0" * (1 << 20)),
        (TRAIN, b"[" * 1_000_000),
        (CONFIG, b'{"rank_pattern": {' + b",".join(b'"%d": 10' % number for number in range(60_000)) + b"}}"),
        (RESULT, b"\n" * (1 << 20)),
        (RESULT, b"index\tprediction\n" + b"ab\n" * 340_000),
        (WEIGHTS, b"\x00\x00\x10\x00\x00\x00\x00\x00{" + b'"a":{},' * 140_000),
    ],
    ids=["numbers", "arrays", "nested", "objects", "escapes", "one array", "one string", "spaces", "zeros", "depth", "patterns",
         "lines", "indexed", "header"],
)  # fmt: skip
def test_a_megabyte_of_the_worst(graded, path, data):
    assert len(data) < 1.1 * (1 << 20)
    graded(path, data)
