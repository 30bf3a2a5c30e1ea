"""DataFrames and Series as text. pandas is looked up, never imported: a session that does not use it does not pay."""

import sys
from typing import Any

_ROWS = _COLUMNS = 20
_CELL = 80


def table(value: Any) -> dict[str, Any] | None:
    """The head of a DataFrame or Series; None for anything else."""
    frame = _frame(value)
    if frame is None:
        return None
    head = frame.iloc[:_ROWS, :_COLUMNS]
    numbered = type(frame.index).__name__ == "RangeIndex" and frame.index.name is None
    names = [] if numbered else [_cell(name) if name is not None else "" for name in [_index_name(frame.index)]]
    types = ([] if numbered else [str(frame.index.dtype)]) + [str(dtype) for dtype in head.dtypes]
    rows = []
    for label, row in zip(head.index, head.itertuples(index=False, name=None), strict=True):
        rows.append(([] if numbered else [_cell(label)]) + [_cell(item) for item in row])
    columns = names + [_cell(name) for name in head.columns]
    return {"columns": columns, "types": types, "rows": rows, "total": len(frame)}


def cut(value: Any) -> list[str]:
    """A note on columns that a table does not show; rows are counted in the table itself."""
    columns = _frame(value).shape[1]
    return [f"the table has {columns:,} columns, of which the first {_COLUMNS} are shown"] if columns > _COLUMNS else []


def text(value: Any) -> str:
    """The same as a terminal would show it, with the size of what was left out."""
    options = {"max_rows": _ROWS, "max_colwidth": _CELL} if hasattr(value, "columns") else {"max_rows": _ROWS}
    if hasattr(value, "columns"):
        options["max_cols"] = _COLUMNS
    shown = str(value.to_string(**options))
    rows, columns = _frame(value).shape
    cut = rows > _ROWS or columns > _COLUMNS
    return f"{shown}\n\n[{rows:,} rows x {columns:,} columns]" if cut else shown


def _frame(value: Any) -> Any:
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return None
    if isinstance(value, pandas.Series):
        return value.to_frame(value.name if value.name is not None else "value")
    return value if isinstance(value, pandas.DataFrame) else None


def _index_name(index: Any) -> Any:
    return index.name if index.nlevels == 1 else " / ".join(str(name) for name in index.names)


def _cell(value: Any) -> str:
    shown = f"{value:.6g}" if isinstance(value, float) else str(value)
    return shown if len(shown) <= _CELL else shown[: _CELL - 1] + "…"
