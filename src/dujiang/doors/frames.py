"""Answers as tables of other libraries: pandas, Arrow, and what reads Arrow; each loaded when asked for.

An answer is JSON: numbers, text, null. A column whose every value is a date or a moment in ISO 8601 becomes
one here; nothing else is guessed.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dujiang.doors.calls import LIBRARY_MISSING
from dujiang.kernel.errors import Code, Exit, Refused

if TYPE_CHECKING:
    import pandas  # pyright: ignore[reportMissingImports]
    import pyarrow  # pyright: ignore[reportMissingImports]

NOT_A_TABLE = Code(
    "not_a_table", 400, Exit.usage,
    "This is neither the path of a file nor a table.",
    "Give a path, or a table of pandas, polars or Arrow.",
    "这既不是文件路径，也不是表。", "请给出路径，或 pandas、polars、Arrow 的表。",
)  # fmt: skip
CODES = (NOT_A_TABLE,)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?")


def arrow(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    near: Sequence[float | None],
    more: Mapping[str, Any],
) -> pyarrow.Table:
    """An Arrow table; ± stands in the metadata of each column, what belongs to the whole in the table's.

    Raises: Refused library_missing.
    """
    try:
        import pyarrow as pa  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise Refused(LIBRARY_MISSING, name="pyarrow") from None
    arrays = [pa.array(values) for values in _columns(columns, rows)]
    noise = list(near) if len(near) == len(columns) else [None] * len(columns)
    fields = [
        pa.field(str(name), array.type, metadata=None if far is None else {"plus_minus": repr(far)})
        for name, array, far in zip(columns, arrays, noise, strict=True)
    ]
    told = json.dumps(dict(more), ensure_ascii=False)
    return pa.table(arrays, schema=pa.schema(fields, metadata={"dujiang": told}))


def frame(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    near: Sequence[float | None],
    more: Mapping[str, Any],
) -> pandas.DataFrame:
    """A pandas table; whole numbers stay whole where some are missing, ± stands in `attrs`.

    Raises: Refused library_missing.
    """
    try:
        import pandas as pd  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise Refused(LIBRARY_MISSING, name="pandas") from None
    made = [_series(pd, values) for values in _columns(columns, rows)]
    found = pd.concat(made, axis=1) if made else pd.DataFrame()
    found.columns = list(columns)
    found.attrs |= {"plus_minus": dict(zip(columns, near, strict=False)), **more}
    return found


@contextmanager
def as_file(table: Any, name: str) -> Iterator[Path]:
    """The path of a Parquet or CSV file with what a table holds, for its owner alone; gone at the end.

    Raises: Refused not_a_table, library_missing.
    """
    with tempfile.TemporaryDirectory(prefix="dujiang-") as folder:
        path = Path(folder) / f"{name}.parquet"
        if hasattr(table, "write_parquet"):  # polars
            table.write_parquet(path)
        elif hasattr(table, "__arrow_c_stream__"):
            try:
                import pyarrow as pa  # pyright: ignore[reportMissingImports]
                import pyarrow.parquet as pq  # pyright: ignore[reportMissingImports]

                # An index of the table's own is no column of the data.
                pq.write_table(pa.table(table).drop_columns(_indexes(pa.table(table).column_names)), path)
            except ImportError:
                if not hasattr(table, "to_csv"):
                    raise Refused(LIBRARY_MISSING, name="pyarrow") from None
                path = path.with_suffix(".csv")
                table.to_csv(path, index=False)
        else:
            raise Refused(NOT_A_TABLE)
        yield path


def records(table: Any) -> Iterator[Any]:
    """The rows of a table as JSON objects; what is no table is taken for the records themselves.

    Dates and moments become ISO 8601, decimals text, what is missing null.

    Raises: Refused not_a_table, library_missing.
    """
    rows: Iterable[Mapping[Any, Any]]
    if hasattr(table, "iter_rows"):  # polars
        rows = table.iter_rows(named=True)
    elif hasattr(table, "itertuples"):  # pandas
        names = list(table.columns)
        rows = (dict(zip(names, row, strict=True)) for row in table.itertuples(index=False, name=None))
    elif hasattr(table, "__arrow_c_stream__"):
        try:
            import pyarrow as pa  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise Refused(LIBRARY_MISSING, name="pyarrow") from None
        rows = (row for batch in pa.table(table).to_batches(1_024) for row in batch.to_pylist())
    elif isinstance(table, Iterable) and not isinstance(table, (str, bytes, Mapping)):
        return iter(table)
    else:
        raise Refused(NOT_A_TABLE)
    return ({str(name): _told(value) for name, value in row.items()} for row in rows)


def _told(value: Any) -> Any:
    """A cell as JSON tells it."""
    if hasattr(value, "item"):  # a number of numpy's
        value = value.item()
    if value is None or str(value) in ("nan", "NaT", "<NA>") and not isinstance(value, str):
        return None
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return [_told(each) for each in value]
    if isinstance(value, Mapping):
        return {str(name): _told(each) for name, each in value.items()}
    return str(value)


def _indexes(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.startswith("__index_level_")]


def _columns(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [_dated([row[place] for row in rows]) for place in range(len(columns))]


def _dated(values: list[Any]) -> list[Any]:
    """The values as dates or moments where every one is one, else as they are."""
    known = [value for value in values if value is not None]
    if not known or not all(isinstance(value, str) for value in known):
        return values
    for form, read in ((_DAY, date.fromisoformat), (_MOMENT, datetime.fromisoformat)):
        if all(form.fullmatch(value) for value in known):
            try:
                return [None if value is None else read(value) for value in values]
            except ValueError:
                return values
    return values


def _series(pd: Any, values: list[Any]) -> Any:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int} and None in values:
        return pd.Series(values, dtype="Int64")
    if kinds == {date} or kinds == {datetime}:
        return pd.Series(pd.to_datetime(values))
    return pd.Series(values)
