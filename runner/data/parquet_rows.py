"""Rows of a parquet file, read with pyarrow in parts."""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path
from typing import Optional

from runner.data.json_rows import NamedRow, as_text
from runner.errors import DataError
from runner.language import tr

ROWS_AT_ONCE = 1000


def parquet_rows(path: Path, shown: str, only: Optional[Container[int]] = None) -> Iterator[NamedRow]:
    """Every row, or `only` those with these numbers, counted from 1. Columns of lists and objects are left out.

    Raises DataError where the file is not whole."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        with path.open("rb") as opened:
            file = ParquetFile(opened)
            names = [field.name for field in file.schema_arrow if not pa.types.is_nested(field.type)]
            first = 1
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=names):
                numbers = [n for n in range(first, first + len(batch)) if only is None or n in only]
                rows = batch.to_pylist() if numbers else []
                for number in numbers:
                    values = {name: as_text(value) for name, value in rows[number - first].items()}
                    yield NamedRow(number, values, "")
                first += len(batch)
    except pa.ArrowException as error:
        text = " ".join(str(error).split())[:200]
        raise DataError(
            tr("{shown}: cannot be read as parquet: {text}", shown=shown, text=text), tr("copy the file again")
        ) from None
