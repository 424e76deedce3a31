"""Memory: how a device or the host says that it has none left, and what the user can do about it."""

from __future__ import annotations

from runner.errors import UserError

_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""CUDA, the CPU's allocator, Windows, and what cuBLAS says where CUDA would have said the first."""

_LESS = (
    "lower train.batch_size (and raise train.accumulation), set train.gradient_checkpointing: true, or lower "
    "prompt.max_length and decoding.batch; nvidia-smi shows who else uses a GPU"
)


def out_of_memory(error: BaseException) -> str:
    """What was said where memory has run out; empty for any other error."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(words in text for words in _WORDS):
        return text[:160] or "MemoryError"
    return ""


def too_little(said: str, rows: int = 0) -> UserError:
    """The error of a run that cannot do with less: it needs memory for `rows` rows at once, where it knows how many."""
    return UserError(f"out of memory{f' with {rows} rows at once' if rows else ''}: {said}", _LESS)
