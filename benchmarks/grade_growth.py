"""Growth: seconds of CPU and peak memory of every reader of the grader at n, 2n and 4n, for inputs that are meant to be slow.

    python benchmarks/grade.py --growth [--quick] [--json FILE]

A reader whose work is linear takes four times as long at 4n. The similarity of a class compares pairs, so 16 times is its number.
"""

from __future__ import annotations

import json
import struct
import tarfile
import tempfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from grading.archives.unpack import unpack
from grading.audit.origins import Origins
from grading.audit.provenance import about_run, read_run_record
from grading.checks.adapter import check_adapter
from grading.checks.answer_key import read_keys
from grading.checks.predictions import check_predictions
from grading.checks.records import check_records
from grading.classroom import similarity
from grading.classroom.card import Card
from grading.errors import CouldNotGrade, FileProblem
from grading.grades import AnswerKey
from grading.report.json_report import failure
from grading.submission.folder import Submission

KEY = AnswerKey("QQP", "result_QQP.txt", ("0", "1") * 75, ("0", "1"))
TRAIN, RESULT = "pre_data/QQP/QQP_train.json", "result/result_QQP.txt"
ADAPTER = "saved_model/QQP"
CONFIG = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]}

Build = Callable[[Path, int], Callable[[], object]]
"""Writes the files of size n into a folder, and gives the work that is measured."""


@dataclass(frozen=True)
class Reader:
    """One reader with the input that is meant to be slow for it."""

    build: Build
    size: int
    """n; what it counts is in the reader's name."""


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _records(text: Callable[[int], bytes]) -> Build:
    def build(folder: Path, size: int) -> Callable[[], object]:
        _write(folder / TRAIN, text(size))
        return lambda: check_records(Submission(folder), KEY, {})

    return build


def _honest(size: int) -> bytes:
    one = {"instruction": "判断" * 28, "output": "1"}
    return json.dumps([{**one, "input": f"Question {row}?\nIs it {row}?"} for row in range(size)]).encode()


def _results(folder: Path, size: int) -> Callable[[], object]:
    _write(folder / RESULT, b"index\tprediction\n" + b"".join(b"%d\tx\n" % row for row in range(size)))
    key = AnswerKey("QQP", "result_QQP.txt", ("0", "1") * (size // 2), ("0", "1"))
    return lambda: check_predictions(Submission(folder), key)


def _keys(folder: Path, size: int) -> Callable[[], object]:
    _write(folder / "result_QQP.txt", b"".join(b"l%d\n" % (row % 4096) for row in range(size)))
    return lambda: read_keys(folder)


def _tensors(folder: Path, size: int) -> Callable[[], object]:
    header, place = {}, 0
    for row in range(size):
        for side in "AB":
            name = f"base_model.model.layers.{row}.q_proj.lora_{side}.weight"
            header[name] = {"dtype": "F32", "shape": [1, 1], "data_offsets": [place, place + 4]}
            place += 4
    text = json.dumps(header).encode()
    config = {**CONFIG, "rank_pattern": {f"layers.{row}.x": 1 for row in range(1000)}}
    _write(folder / ADAPTER / "adapter_config.json", json.dumps(config).encode())
    _write(
        folder / ADAPTER / "adapter_model.safetensors",
        struct.pack("<Q", len(text)) + text + struct.pack("<f", 1) * 2 * size,
    )
    return lambda: check_adapter(Submission(folder), "QQP")


def _values(folder: Path, size: int) -> Callable[[], object]:
    header = {
        "base_model.model.q_proj.lora_A.weight": {"dtype": "F32", "shape": [1, size], "data_offsets": [0, 4 * size]},
        "base_model.model.q_proj.lora_B.weight": {
            "dtype": "F32",
            "shape": [size, 1],
            "data_offsets": [4 * size, 8 * size],
        },
    }
    text = json.dumps(header).encode()
    _write(folder / ADAPTER / "adapter_config.json", json.dumps(CONFIG).encode())
    # ones and zeros: a lora_B of a single one is counted to its end
    data = struct.pack("<Q", len(text)) + text + struct.pack("<f", 1) * (size + 1) + bytes(4 * (size - 1))
    _write(folder / ADAPTER / "adapter_model.safetensors", data)
    return lambda: check_adapter(Submission(folder), "QQP")


def _config(folder: Path, size: int) -> Callable[[], object]:
    config = {
        **CONFIG,
        "target_modules": [f"m{row}" for row in range(size)],
        "exclude_modules": [f"x{row}" for row in range(size)],
    }
    _write(folder / ADAPTER / "adapter_config.json", json.dumps(config).encode())
    return lambda: check_adapter(Submission(folder), "QQP")


def _tables(padding: Callable[[int], int], rows: Callable[[int], int], seen: int) -> Build:
    """`seen` dev records with a padding, and training records, against tables of some rows."""

    def build(folder: Path, size: int) -> Callable[[], object]:
        names = [f"{row}\tfirst {row}\tsecond {row}?" for row in range(rows(size))]
        _write(folder / "QQP/QQP_dev.tsv", "\n".join(names[:1000]).encode())
        _write(folder / "QQP/QQP_train.tsv", "".join(f"{name}\t{row % 2}\n" for row, name in enumerate(names)).encode())
        key = AnswerKey("QQP", "result_QQP.txt", ("0", "1") * (seen // 2 + 1), ("0", "1"))

        def work() -> object:
            found = Origins(key, folder)
            texts = [f"{'x' * padding(size)}first {row}\nsecond {row}?" for row in range(seen)]
            for text in texts:
                found.see_dev({"input": text})
            for text in texts:
                found.see_train({"input": text, "output": "1"})
            return list(found.advice(frozenset(("dev", "train"))))

        return work

    return build


def _archive(ending: str) -> Build:
    def build(folder: Path, size: int) -> Callable[[], object]:
        path = folder / f"a{ending}"
        if ending == ".zip":
            with zipfile.ZipFile(path, "w") as packed:
                for number in range(size):
                    packed.writestr(f"result/{number}", b"")
        else:
            with tarfile.open(path, "w:gz") as tar:
                for number in range(size):
                    tar.addfile(tarfile.TarInfo(f"result/{number}"), BytesIO())

        def work() -> None:
            with tempfile.TemporaryDirectory() as into:
                unpack(path, Path(into))

        return work

    return build


def _class(folder: Path, size: int) -> Callable[[], object]:
    report = failure("grader", "", "")
    wrong = [(0x5A5A5A5A5A5A5A5A * (number + 1) * 2654435761) & ((1 << 150) - 1) for number in range(size)]
    cards = [
        Card(f"c{number}", report, "", {"QQP": {"0": bits}}, {"QQP": str(number)}, {"QQP": str(number)}, 0.0)
        for number, bits in enumerate(wrong)
    ]
    return lambda: similarity.find(cards)


def _run_record(folder: Path, size: int) -> Callable[[], object]:
    stages = {f"s{row}": {"outputs": {f"file {row}": "0" * 64}} for row in range(size)}
    stages["last"] = {"outputs": {TRAIN: "0" * 64}}
    _write(folder / ADAPTER / "run.json", json.dumps({"stages": stages}).encode())
    _write(folder / TRAIN, b"[]")

    def work() -> object:
        submission = Submission(folder)
        record = read_run_record(submission, "QQP")
        submission.digest_when_read(record.digests)
        check_records(submission, KEY, {})
        return about_run(submission, "QQP", record)

    return work


READERS: Mapping[str, Reader] = {
    "records": Reader(_records(_honest), 5_000),
    "records: bytes of [],": Reader(_records(lambda size: b"[" + b"[]," * (size // 3) + b"0]"), 1 << 20),
    "records: bytes of 0,": Reader(_records(lambda size: b"[" + b"0," * (size // 2) + b"0]"), 1 << 20),
    "records: bytes nested": Reader(
        _records(lambda size: b"[" + b",".join([b"[" + b"[]," * 5000 + b"0]"] * (size // 15_000)) + b"]"), 1 << 20
    ),
    "records: bytes of escapes": Reader(
        _records(lambda size: b"[" + b",".join([b'"' + b"\\n" * 5000 + b'"'] * (size // 10_000)) + b"]"), 1 << 20
    ),
    "records: bytes of one": Reader(_records(lambda size: b'["' + b"\\n" * (size // 2) + b'"]'), 1 << 18),
    "results: rows": Reader(_results, 50_000),
    "keys: rows": Reader(_keys, 50_000),
    "safetensors: pairs": Reader(_tensors, 1_500),
    "safetensors: values": Reader(_values, 1 << 20),
    "config: names": Reader(_config, 5_000),
    "source tables: rows": Reader(_tables(lambda size: 0, lambda size: size, 20), 10_000),
    "source tables: padding of one record": Reader(_tables(lambda size: size, lambda size: 2000, 1), 1 << 16),
    "source tables: padding of 200 records": Reader(_tables(lambda size: size, lambda size: 2000, 200), 1 << 10),
    "zip: entries": Reader(_archive(".zip"), 1_000),
    "tar.gz: entries": Reader(_archive(".tar.gz"), 1_000),
    "similarity: candidates (pairs)": Reader(_class, 100),
    "provenance: stages": Reader(_run_record, 2_000),
}
"""Every reader of a stranger's bytes, by name."""


@dataclass(frozen=True)
class Growth:
    """What one reader took at n, 2n and 4n."""

    size: int
    seconds: tuple[float, ...]
    """Of CPU."""
    peaks: tuple[float, ...]
    """Memory of Python's own objects, in MB (10⁶ bytes)."""

    @property
    def factor(self) -> float:
        """Seconds at 4n by those at n."""
        return self.seconds[-1] / max(self.seconds[0], 1e-4)


def measure(reader: Reader, quick: bool) -> Growth:
    """Builds and reads the input at each size, once for the time and once for the memory."""
    seconds, peaks = [], []
    size = reader.size // 4 if quick else reader.size
    for factor in (1, 2, 4):
        with tempfile.TemporaryDirectory() as name:
            work = reader.build(Path(name), factor * size)
            seconds.append(_seconds(work))
            tracemalloc.start()
            _attempt(work)
            peaks.append(tracemalloc.get_traced_memory()[1] / 1e6)
            tracemalloc.stop()
    return Growth(size, tuple(seconds), tuple(peaks))


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    _attempt(work)
    return time.process_time() - started


def _attempt(work: Callable[[], object]) -> None:
    try:
        work()
    except (FileProblem, CouldNotGrade) as error:
        raise SystemExit(f"a reader refused its input: {error}") from error


def measure_all(quick: bool) -> dict[str, Growth]:
    """The growth of every reader."""
    return {name: measure(reader, quick) for name, reader in READERS.items()}
