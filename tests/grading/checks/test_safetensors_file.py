"""The safetensors reader: what it says of real files, of every float, of broken bytes."""

import math
import random
import struct
import time

import pytest
from support import submissions

from grading.checks import safetensors_file as weights
from grading.errors import FileProblem
from grading.submission.folder import Submission


def looked_at(folder, data):
    """Name to (finite, non-zero) for the tensors of a safetensors file."""
    submissions.write(folder / "w", data)
    with Submission(folder).open("w", 1 << 20) as file:
        header = weights.read_header(file)
        assert header.file_size == file.size
        return {tensor.name: (finite, nonzero) for tensor, finite, nonzero in weights.read_values(file, header)}


# The largest finite value, infinity, two NaNs, the smallest non-zero and minus zero of each float, as bits.
FLOATS = [
    ("F64", "<Q", 0x7FEFFFFFFFFFFFFF, [0x7FF0000000000000, 0x7FF0000000000001, 0x7FF8000000000000]),
    ("F32", "<I", 0x7F7FFFFF, [0x7F800000, 0x7F800001, 0x7FC00000]),
    ("F16", "<H", 0x7BFF, [0x7C00, 0x7C01, 0x7E00]),
    ("BF16", "<H", 0x7F7F, [0x7F80, 0x7F81, 0x7FC0]),
]


@pytest.mark.parametrize(("dtype", "code", "largest", "not_finite"), FLOATS, ids=[row[0] for row in FLOATS])
def test_every_kind_of_float(tmp_path, dtype, code, largest, not_finite):
    sign = 1 << (8 * struct.calcsize(code) - 1)
    tensors = {}

    def add(name, bits):
        # One value among others, at the first, the last and a middle place, in a tensor of more than one chunk.
        count = 2 * weights._CHUNK // struct.calcsize(code) + 3
        for place in (0, count // 2, count - 1):
            values = bytearray(struct.pack(code, 0) * count)
            struct.pack_into(code, values, place * struct.calcsize(code), bits)
            tensors[f"{name} {place}"] = (dtype, [count], bytes(values))

    expected = {"largest": (True, True), "smallest": (True, True), "zero": (True, False), "not finite": (False, True)}
    for signed in (0, sign):
        add(f"largest {signed}", largest | signed)
        add(f"smallest {signed}", 1 | signed)
        add(f"zero {signed}", signed)
        for number, bits in enumerate(not_finite):
            add(f"not finite {number} {signed}", bits | signed)
    found = looked_at(tmp_path, submissions.safetensors(tensors))
    for name, verdict in found.items():
        assert verdict == expected[name.rsplit(" ", 2 + name.startswith("not"))[0]], name


def test_neighbours_do_not_disturb_each_other(tmp_path):
    """Random finite values with every sign and exponent stay finite: no carry runs from one value into the next."""
    draw = random.Random(0)
    values = [draw.choice([1.0, -1.0]) * math.ldexp(draw.random(), draw.randint(-140, 128)) for _ in range(5000)]
    tensors = {"w": submissions.floats([5000], values)}
    assert looked_at(tmp_path, submissions.safetensors(tensors)) == {"w": (True, True)}


def test_integers_and_empty_tensors(tmp_path):
    tensors = {
        "ones": ("I8", [2], b"\xff\xff"),
        "zeros": ("BOOL", [2], b"\0\0"),
        "none": ("F32", [0, 3], b""),
        "scalar": ("F16", [], b"\0\x3c"),
    }
    assert looked_at(tmp_path, submissions.safetensors(tensors)) == {
        "ones": (True, True), "zeros": (True, False), "none": (True, False), "scalar": (True, True),
    }  # fmt: skip


def test_agrees_with_numpy_and_the_safetensors_library(tmp_path):
    numpy = pytest.importorskip("numpy")
    library = pytest.importorskip("safetensors.numpy")
    draw = numpy.random.default_rng(0)
    arrays = {}
    for number in range(40):
        dtype = [numpy.float16, numpy.float32, numpy.float64][number % 3]
        array = draw.normal(size=(4, int(draw.integers(1, 50)))).astype(dtype) * (number % 5 > 0)
        if number % 2:
            array[int(draw.integers(4)), 0] = [numpy.nan, numpy.inf, -numpy.inf][number % 3]
        arrays[f"t{number}"] = array
    with numpy.errstate(all="ignore"):
        expected = {
            name: (bool(numpy.isfinite(array).all()), bool((array != 0).any())) for name, array in arrays.items()
        }
    assert looked_at(tmp_path, library.save(arrays, {"format": "np"})) == expected


def test_a_file_that_shrinks_is_a_finding(tmp_path):
    data = submissions.safetensors(submissions.adapter_tensors())
    submissions.write(tmp_path / "w", data)
    with Submission(tmp_path).open("w", 1 << 20) as file:
        header = weights.read_header(file)
        submissions.write(tmp_path / "w", data[:-1])
        with pytest.raises(FileProblem, match="w became shorter while it was read"):
            list(weights.read_values(file, header))


@pytest.mark.parametrize("shape", [[10**39] * 8, [10**39] * 50000], ids=["8", "50,000"])
def test_a_hostile_shape_takes_no_time(tmp_path, shape):
    entry = {"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}
    started = time.perf_counter()
    with pytest.raises(weights.WeightsError):
        looked_at(tmp_path, submissions.safetensors({}, entry))
    assert time.perf_counter() - started < 2


def test_broken_bytes_are_a_finding(tmp_path):
    """Cut or flipped anywhere, an adapter gives a verdict: WeightsError, FileProblem or values, nothing else."""
    hypothesis = pytest.importorskip("hypothesis")
    from hypothesis import strategies

    good = submissions.safetensors(submissions.adapter_tensors())
    changes = strategies.lists(strategies.tuples(strategies.integers(0, len(good) - 1), strategies.integers(1, 255)))

    @hypothesis.settings(max_examples=300, deadline=None)
    @hypothesis.given(changes, strategies.integers(0, len(good)))
    def check(flips, length):
        data = bytearray(good)
        for place, bits in flips:
            data[place] ^= bits
        submissions.write(tmp_path / "w", bytes(data[:length]))
        try:
            with Submission(tmp_path).open("w", 1 << 20) as file:
                list(weights.read_values(file, weights.read_header(file)))
        except weights.WeightsError as finding:
            message = str(finding)
        except FileProblem as finding:
            message = finding.problem
        else:
            message = ""
        assert message.isprintable()

    check()
