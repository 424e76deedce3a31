"""Safetensors files: the header is parsed with struct and strict JSON, the values are checked as raw bits.

Format: https://github.com/huggingface/safetensors (a little-endian 64-bit header length, the JSON header, then the values
in the order of their offsets, without a gap).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Optional

from grading import contract
from grading.contract.language import mark, tr
from grading.errors import quoted
from grading.submission.folder import SubmittedFile

HEADER_LIMIT = 2 << 20
"""Most header bytes that are parsed. A LoRA on every linear layer of an 80-layer model needs about 200 kB."""

NAME_LIMIT = 512
"""Most characters of a tensor's name; PEFT's on gemma-2b have about 70."""

DIMENSION_LIMIT = 8
"""Most dimensions of a tensor; without a limit, the product of a hostile shape takes minutes."""

DTYPE_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip

FRACTION_BITS = {"F64": 52, "F32": 23, "F16": 10, "BF16": 7}
"""The floats that are checked, with the bits below their exponent (IEEE 754; bfloat16 is F32's upper half)."""

SMALLEST = {"F64": (1023 - 40) << 52, "F32": (127 - 40) << 23, "F16": 1, "BF16": (127 - 40) << 7}
"""The bits of the smallest value that counts as one: 2 to the power of -40, about 1e-12, and in F16 its smallest. A smaller value
changes no sum of a model in float32 or less."""

_CHUNK = 1 << 16
"""Bytes checked at once: the big integers below stay in the processor's cache."""


class WeightsError(ValueError):
    """Bytes that are not a safetensors file. The message has what was expected and found; the caller adds the file."""


@dataclass(frozen=True)
class Tensor:
    """One entry of the header."""

    name: str
    dtype: str
    """A key of `DTYPE_BYTES`."""
    shape: tuple[int, ...]
    begin: int
    """First byte of its values, counted from the end of the header."""
    end: int
    """First byte after them."""


@dataclass(frozen=True)
class Header:
    """The header of a safetensors file, checked for contradictions."""

    tensors: tuple[Tensor, ...]
    """In the order of their values in the file."""
    file_size: int
    """Bytes of the whole file by its header: length field, header and values."""


def read_header(file: SubmittedFile) -> Header:
    """Reads the header, up to the first value. Raises WeightsError, and FileProblem for an unreadable file.

    The caller compares the file's size with `Header.file_size`."""
    if file.size < 8:
        raise WeightsError(tr("expected a safetensors file, found {size} bytes", size=file.size))
    first = file.read(8)
    (length,) = struct.unpack("<Q", first)
    if length > min(file.size - 8, HEADER_LIMIT):
        most = min(file.size - 8, HEADER_LIMIT)
        raise WeightsError(
            tr("expected a header of at most {most:,} bytes, {found}", most=most, found=_found(first, length))
        )
    text = file.read(length)
    if not text.startswith(b"{"):
        raise WeightsError(tr("the header does not start with '{'"))
    try:
        entries = contract.parse_json(text)
    except contract.ContractError as error:
        raise WeightsError(tr("the header is not strict JSON: {error}", error=error)) from None
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise WeightsError(tr("'__metadata__' is not an object of strings"))
    tensors = sorted(
        (_tensor(name, entry) for name, entry in entries.items()), key=lambda tensor: (tensor.begin, tensor.end)
    )
    position = 0
    for tensor in tensors:
        if tensor.begin != position:
            fault = (
                tr("overlaps the values before it") if tensor.begin < position else tr("leaves a gap before its values")
            )
            where = tr("starts at byte {begin}, expected {position}", begin=tensor.begin, position=position)
            raise WeightsError(tr("tensor {name} {fault}: {where}", name=quoted(tensor.name), fault=fault, where=where))
        position = tensor.end
    return Header(tuple(tensors), 8 + length + position)


def read_values(
    file: SubmittedFile, header: Header, missing: Optional[dict[str, int]] = None
) -> Iterator[tuple[Tensor, bool, bool]]:
    """Each tensor, whether all its values are finite, and whether any is non-zero. `file` was read up to its first value.

    Only the floats of `FRACTION_BITS` can be non-finite here. A tensor without values is finite and zero. `missing`: how many
    values of at least `SMALLEST` the tensors named in it must have; those that they have are taken off."""
    missing = {} if missing is None else missing
    for tensor in header.tensors:
        finite, nonzero = True, False
        for start in range(tensor.begin, tensor.end, _CHUNK):
            size = min(_CHUNK, tensor.end - start)
            bits = int.from_bytes(file.read(size), "little")
            if tensor.dtype in FRACTION_BITS:
                exponents, lowest, signs = _masks(tensor.dtype, size)
                # Only an exponent of all ones (inf or NaN) carries into the bit of the sign when 1 is added.
                finite = finite and not ((bits & exponents) + lowest) & signs
                values = bits & ~signs
                nonzero = nonzero or bool(values)  # minus zero is zero
                if missing.get(tensor.name, 0) > 0 and values:
                    # the bit of the sign is set in a sum exactly if the value is the smallest or more; its byte is 0x80
                    found = (values + _below(tensor.dtype, size)) & signs
                    missing[tensor.name] -= found.to_bytes(size, "little").count(b"\x80")
            else:
                nonzero = nonzero or bool(bits)
        yield tensor, finite, nonzero


@lru_cache(maxsize=64)
def _masks(dtype: str, size: int) -> tuple[int, int, int]:
    """For `size` bytes of values: the bits of every exponent, the lowest bit of every exponent, every sign."""
    sign = 1 << (8 * DTYPE_BYTES[dtype] - 1)
    lowest = 1 << FRACTION_BITS[dtype]
    return _repeated(sign - lowest, dtype, size), _repeated(lowest, dtype, size), _repeated(sign, dtype, size)


@lru_cache(maxsize=64)
def _below(dtype: str, size: int) -> int:
    """For `size` bytes of values: what the smallest value lacks to the bit of the sign."""
    return _repeated((1 << (8 * DTYPE_BYTES[dtype] - 1)) - SMALLEST[dtype], dtype, size)


def _repeated(bits: int, dtype: str, size: int) -> int:
    width = DTYPE_BYTES[dtype]
    return int.from_bytes(bits.to_bytes(width, "little") * (size // width), "little")


def _tensor(name: str, entry: Any) -> Tensor:
    where = tr("tensor {name}", name=quoted(name))
    if len(name) > NAME_LIMIT:
        raise WeightsError(
            tr(
                "{where}: a name of {name_count:,} characters, more than the limit of {name_limit}",
                where=where,
                name_count=len(name),
                name_limit=NAME_LIMIT,
            )
        )
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise WeightsError(tr("{where}: expected an object of dtype, shape and data_offsets", where=where))
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise WeightsError(
            tr(
                "{where}: dtype {dtype} is not one of {dtype_bytes}",
                where=where,
                dtype=quoted(dtype),
                dtype_bytes=", ".join(DTYPE_BYTES),
            )
        )
    if not _is_counts(shape) or len(shape) > DIMENSION_LIMIT:
        raise WeightsError(
            tr(
                "{where}: shape is not a list of at most {dimension_limit} whole numbers >= 0",
                where=where,
                dimension_limit=DIMENSION_LIMIT,
            )
        )
    if not _is_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise WeightsError(tr("{where}: data_offsets is not a pair of whole numbers, 0 <= begin <= end", where=where))
    needed = DTYPE_BYTES[dtype]
    for dimension in shape:
        needed *= dimension
    if offsets[1] - offsets[0] != needed:
        spanned = offsets[1] - offsets[0]
        raise WeightsError(
            tr(
                "{where}: {dtype} of shape {shape} needs {needed} bytes, its offsets span {spanned}",
                where=where,
                dtype=dtype,
                shape=shape,
                needed=needed,
                spanned=spanned,
            )
        )
    return Tensor(name, dtype, tuple(shape), offsets[0], offsets[1])


def _is_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)  # True is not a count


_OTHER_FORMATS: dict[bytes, str] = {
    b"PK\x03\x04": mark("a zip archive, as torch.save writes it"),
    b"\x80\x02": mark("a pickle"),
    b"\x80\x03": mark("a pickle"),
    b"\x80\x05": mark("a pickle"),
    b"\x80\x04": mark("a pickle"),
    b"version ": mark("a Git LFS pointer instead of the file"),
    b"\x89HDF": mark("an HDF5 file"),
    b"GGUF": mark("a GGUF file"),
}


def _found(first: bytes, length: int) -> str:
    other: Optional[str] = next((words for start, words in _OTHER_FORMATS.items() if first.startswith(start)), None)
    return tr("found {other}", other=other) if other else tr("found one of {length:,}", length=length)
