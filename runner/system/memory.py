"""Memory: how an out-of-memory error is recognised, and how rows are computed with less memory after one.

Free of torch at the top: the command needs this module before it loads anything heavy.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Optional, TypeVar, Union

from runner.errors import UserError
from runner.language import tr

log = logging.getLogger("labeltune.system")

S = TypeVar("S")
T = TypeVar("T")

OUT_OF_MEMORY_TEXTS = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""How CUDA, the CPU's allocator, Windows and cuBLAS report it where they raise a plain RuntimeError."""


class OutOfMemory(UserError):
    """A run that cannot continue with less memory."""

    def __init__(self, cause: Union[BaseException, str], rows: int = 0) -> None:
        """`cause`: the library's error or its text. `rows`: how many rows were computed at once; 0: not known."""
        text = " ".join(str(cause).split())[:160] or type(cause).__name__
        super().__init__(
            tr("out of memory with {rows} rows at once: {text}", rows=rows, text=text)
            if rows
            else tr("out of memory: {text}", text=text),
            tr(
                "lower train.batch_size (and raise train.accumulation), set train.gradient_checkpointing: true, or lower "
                "prompt.max_length and decoding.batch; nvidia-smi shows who else uses a GPU"
            ),
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that a device or the host has no memory left."""
    torch = sys.modules.get("torch")  # an error of torch's exists only after torch was imported
    if isinstance(error, (MemoryError, OutOfMemory)) or (torch and isinstance(error, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY_TEXTS)


@dataclass
class MicroBatchSize:
    """How many rows this process computes at once. It is halved each time memory runs out, and stays so.

    Training, the hold-out and prediction each have one."""

    rows: int
    """The rows."""
    where: str
    """The part of the run that computes them, for the user: `training`."""
    note: str = ""
    """Added to the message for the user: what stays the same."""
    may_shrink: bool = True
    """False where all processes must compute the same number of rows, as with a sharded base."""

    def run(self, compute: Callable[[int], T], most: int) -> T:
        """`compute(n)` for `n` rows, `most` at most; again with half as many each time memory runs out.

        Raises OutOfMemory where one row does not fit."""
        while True:
            rows = min(self.rows, most)
            try:
                return compute(rows)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                text = str(error) or type(error).__name__
            # after the except block: only now is the memory of the failed pass free
            if rows == 1 or not self.may_shrink:
                raise OutOfMemory(text, rows)
            self.shrink_to(-(-rows // 2))
            _empty_cache()

    def run_in_parts(self, items: Sequence[S], compute: Callable[[Sequence[S]], Sequence[T]]) -> Iterator[T]:
        """One result for each item, in order: those of `compute(part)` for parts of `items` that fit into memory.

        Raises OutOfMemory where one row does not fit."""
        start = 0

        def part(rows: int) -> Sequence[T]:
            return compute(items[start : start + rows])

        while start < len(items):
            found = self.run(part, len(items) - start)
            yield from found
            start += len(found)

    def shrink_to(self, rows: int) -> None:
        """Compute this many rows at once from now on."""
        self.rows = rows
        log.warning(
            tr(
                "out of memory in {where}: computing {rows} rows at once from now on{note}",
                where=self.where,
                rows=rows,
                note=self.note,
            )
        )


def peak_host_bytes() -> Optional[int]:
    """The most memory that this process has used so far, in bytes; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, Linux KiB
    return peak if sys.platform == "darwin" else peak << 10


def _empty_cache() -> None:
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        torch.cuda.empty_cache()
