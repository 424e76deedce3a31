"""Out of memory is recognised by its type, or its text where it has none, and fewer rows are computed at once."""

import subprocess
import sys
from collections.abc import Sequence

import pytest
import torch
from conftest import ROOT

from runner.system.memory import MicroBatchSize, OutOfMemory, is_out_of_memory


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.cuda.OutOfMemoryError("no text that we know"), True),
        (OutOfMemory("CUDA out of memory"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("a text about being out of memory"), False),
    ],
)
def test_out_of_memory_is_recognised(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


def test_the_module_does_not_import_torch() -> None:
    code = "import sys; import runner.system.memory; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_results_come_in_order_from_parts_that_fit(caplog: pytest.LogCaptureFixture) -> None:
    sizes: list[int] = []

    def compute(rows: Sequence[int]) -> list[str]:
        sizes.append(len(rows))
        if len(rows) > 3:
            raise RuntimeError("CUDA out of memory")
        return [f"row {row}" for row in rows]

    size = MicroBatchSize(16, "prediction")
    assert list(size.run_in_parts(range(10, 17), compute)) == [f"row {row}" for row in range(10, 17)]
    assert sizes == [7, 4, 2, 2, 2, 1]
    assert size.rows == 2
    assert caplog.messages == [
        f"out of memory in prediction: computing {rows} rows at once from now on" for rows in (4, 2)
    ]


@pytest.mark.parametrize(("rows", "may_shrink"), [(1, True), (8, False)])
def test_rows_that_cannot_be_fewer_are_an_error(rows: int, may_shrink: bool) -> None:
    def full(rows: int) -> None:
        raise MemoryError

    with pytest.raises(OutOfMemory, match=f"^out of memory with {rows} rows at once: MemoryError\n  next: lower train"):
        MicroBatchSize(rows, "training", may_shrink=may_shrink).run(full, 8)


def test_another_error_is_passed_on() -> None:
    def fails(rows: int) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        MicroBatchSize(8, "training").run(fails, 8)
