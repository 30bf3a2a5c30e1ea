# Runs inside the thread's sandbox, as a cell of ours, in a namespace of its own: what is in these files, in a few lines each.
# Prints one JSON object a line: {"name", "line", "code", "warning"}; the last, without a name, is on all of them together.
# NAMES is put in front.
#
# Tables come with the code that reads them, and what their columns hold once it has run: it is run here, so that what is said
# is true of what the model will see.
import builtins
import csv
import itertools
import json
import keyword
import os
import re
import zipfile

ROWS = 200_000 // len(NAMES)  # noqa: F821 - put in front of this text
"""Of a table that are looked at: all of a message's tables are in memory at once."""
SHEET_ROWS = min(ROWS, 5_000)
TABLES = 10
JSON = 32 << 20
"""Bytes of a document beyond which it is not looked into: it takes many times that in memory."""
TEXT = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".md", ".log", ".xml", ".html", ".yaml", ".yml", ".py")
LOCKED = "{} is protected with a password, so I cannot read it. Attach a copy without one."
DATES = ("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d-%m-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%Y%m%d")
DATES = [day + time for day in DATES for time in ("", " %H:%M", " %H:%M:%S")]
AMOUNT = r"[-+]?[$€£¥]?\s?[-+]?(?!0\d)(?:\d{1,3}(?:[,.'\u00a0 ]\d{3})*|\d+)(?:[.,]\d+)?\s?(?:[$€£¥%]|[A-Z]{3})?"
GAPS = (-99, -999, -9999, -99999, 999, 9999, 99999)

tables = {}


class Table:
    """A DataFrame as `code` makes it, under the name it has there."""

    def __init__(self, file, name, read, most):
        """`read`: the expression that gives it; `most`: the rows of it that are looked at, 0 for all."""
        self.file, self.most, self.warning = file, most, ""
        name = re.sub(r"\W+", "_", name).strip("_").lower() or "table"
        if name[0].isdigit() or keyword.iskeyword(name) or hasattr(builtins, name) or name in ("np", "pd", "plt"):
            name = f"table_{name}"
        self.name = next(n for n in itertools.chain([name], (f"{name}_{i}" for i in itertools.count(2))) if n not in tables)
        self.code, self.df = [], None
        self.do(f"{self.name} = {read}", f"{self.name} = {read[:-1]}{f', nrows={most}' if most else ''})")

    @property
    def whole(self):
        return not self.most or len(self.df) < self.most

    def do(self, line, instead=""):
        """Run a line of the code, or what stands for it here, and keep it."""
        import pandas as pd

        scope = {"pd": pd, **{table.name: table.df for table in tables.values()}, self.name: self.df}
        exec(instead or line, scope)
        self.code.append(line)
        self.df = scope[self.name]

    def set(self, column, expression):
        """Give a column another value; `{}` in the expression is the column."""
        self.do(f"{place(self, column)} = {expression.format(place(self, column))}")


def quoted(value):
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def size(n):
    for unit in ("bytes", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.0f} {unit}"
        n /= 1024
    return f"{n:.1f} GiB"


def encoding_of(path):
    with open(path, "rb") as f:
        head = f.read(4 * 1024 * 1024)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as e:
        # A character cut at the end of the sample is not a wrong encoding.
        if e.start < len(head) - 4 or len(head) < 4 * 1024 * 1024:
            return "cp1252"
    return "utf-8-sig" if head.startswith(b"\xef\xbb\xbf") else "utf-8"


# --- Making a table tidy ---


def texts(df):
    """The names of the columns that hold text only."""
    import pandas as pd

    return [c for c in df.columns if df[c].notna().any() and pd.api.types.infer_dtype(df[c], skipna=True) == "string"]


def tidy(table):
    """Add to the code what makes names, numbers, dates and spellings even."""
    df = table.df
    if any(isinstance(c, str) and c != c.strip() for c in df.columns):
        table.do(f"{table.name}.columns = {table.name}.columns.str.strip()")
    for column in texts(table.df)[:30]:
        values = table.df[column].dropna()
        distinct = values.drop_duplicates()
        if form := date_form(distinct):
            table.set(column, "pd.to_datetime({}%s)" % (f", format={form!r}" if form != "ISO" else ""))
        elif distinct.str.fullmatch(AMOUNT).all():
            table.set(column, amount(distinct))
        else:
            even(table, column, distinct)
    once(table)


def once(table):
    """Leave out rows that are there twice, where a column tells one record from another: then they are the same record."""
    import pandas as pd

    df = table.df.drop_duplicates()
    kinds = ("string", "integer")
    if (
        table.whole
        and len(df) < len(table.df)
        and any(df[c].is_unique and pd.api.types.infer_dtype(df[c]) in kinds for c in df.columns[:30])
    ):
        twice = len(table.df) - len(df)
        table.do(f"{table.name} = {table.name}.drop_duplicates()")
        table.warning = (
            f"{table.file}: {twice} {'row repeats' if twice == 1 else 'rows repeat'} another one exactly and count once."
        )


def date_form(values):
    """The format of dates, `ISO`, or None. Days come first only where months cannot."""
    import pandas as pd

    if values.str.fullmatch(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?(?:Z|[+-]\d\d:?\d\d)?").all():
        return "ISO" if pd.to_datetime(values, errors="coerce").notna().all() else None

    def fits(form, texts):
        return pd.to_datetime(texts, format=form, errors="coerce").notna().all()

    return next((form for form in DATES if fits(form, values[:20]) and fits(form, values)), None)


def amount(values):
    """The expression that makes numbers of such texts."""
    if values.str.contains(r",(?:\d{1,2}|\d{4,})\D*$").any():
        return 'pd.to_numeric({}.str.replace(r"[^\\d,-]", "", regex=True).str.replace(",", "."))'
    return 'pd.to_numeric({}.str.replace(r"[^\\d.-]", "", regex=True))'


def even(table, column, distinct):
    """One spelling of values that differ by blanks around them or by case alone."""
    stripped = distinct.str.strip()
    if stripped.nunique() == stripped.str.casefold().nunique():
        if (stripped != distinct).any():
            table.set(column, "{}.str.strip()")
        return
    case = "title" if stripped.isin(stripped.str.title()).groupby(stripped.str.casefold()).any().all() else "lower"
    table.set(column, f"{{}}.str.strip().str.{case}()")


# --- Saying what is in it ---


def column(series):
    import pandas as pd

    missing = int(series.isna().sum())
    notes = [f"{missing} missing"] if missing else []
    values = series.dropna()
    if pd.api.types.is_bool_dtype(series) or not len(values):
        kind = str(series.dtype)
    elif pd.api.types.is_datetime64_any_dtype(series):
        kind = f"date {values.min()}..{values.max()}".replace(" 00:00:00", "")
    elif pd.api.types.is_numeric_dtype(series):
        gap = next((g for g in GAPS if (values == g).any() and stands_apart(values[values != g], g)), None)
        if gap is not None:
            notes.append(f"{gap} in {int((values == gap).sum())} rows, which seems to mean missing")
            values = values[values != gap]
        kind = f"{'int' if pd.api.types.is_integer_dtype(series) else 'float'} {values.min()}..{values.max()}"
    else:
        distinct = values.astype(str).unique()
        listed = ", ".join(v[:24] for v in distinct[:12])
        kind = f"text: {listed}" if len(distinct) <= 12 else f"text, {len(distinct)} different: {listed[:60]}, ..."
    return f"{quoted(series.name)} ({'; '.join([kind, *notes])})"


def stands_apart(values, gap):
    """Whether a number is far outside of what the others span."""
    return len(values) > 0 and abs(gap) > 3 * values.abs().max()


def told(table):
    df = table.df
    shown = [column(df[c]) for c in df.columns[:30]]
    if len(df.columns) > 30:
        shown.append(f"and {len(df.columns) - 30} more")
    rows = f"{len(df):,}{'' if table.whole else '+'} rows"
    if again := int(df.duplicated().sum()):
        rows += f", {again} of them repeat another one exactly"
    return f"`{table.name}`: {rows}, columns " + ", ".join(shown) + side_by_side(table)


def side_by_side(table):
    """How series are told apart where each of several things has one row a date: drawn as one line they make no sense."""
    import pandas as pd

    df = table.df
    dates = [c for c in df.columns if pd.api.types.is_datetime64_any_dtype(df[c]) and df[c].duplicated().any()]
    names = [c for c in texts(df) if 2 <= df[c].nunique() <= 12]
    numbers = [c for c in df.columns if pd.api.types.is_numeric_dtype(df[c]) and not pd.api.types.is_bool_dtype(df[c])]
    pairs = [(d, n) for d in dates for n in names if not df.duplicated([d, n]).any()]
    if not pairs or not numbers:
        return ""
    date, name = pairs[0]
    wide = f"{table.name}.pivot(index={quoted(date)}, columns={quoted(name)}, values={quoted(numbers[0])})"
    return f"; one row for each {date} and {name}, so one line for each {name} is drawn by `{wide}.plot()`"


def made(file, name, read, most=ROWS):
    """Take in the table that the expression `read` gives."""
    table = Table(file, name, read, most)
    tidy(table)
    tables[table.name] = table
    return ""


def tabular(path, ext, encoding):
    with open(path, encoding=encoding, errors="replace", newline="") as f:
        sample = f.read(64 * 1024)
    try:
        sep = "\t" if ext == ".tsv" else csv.Sniffer().sniff(sample, ",;\t|").delimiter
    except csv.Error:
        sep = ","
    how = [quoted(path)]
    if sep != ",":
        how.append(f"sep={quoted(sep)}")
        if re.search(rf"(?:^|{re.escape(sep)})-?\d+,\d+(?:{re.escape(sep)}|\r?$)", sample, re.MULTILINE):
            how.append('decimal=","')
    if encoding not in ("utf-8", "utf-8-sig"):
        how.append(f"encoding={quoted(encoding)}")
    return made(path, stem(path), f"pd.read_csv({', '.join(how)})")


def stem(path):
    return os.path.splitext(os.path.basename(path))[0]


def workbook(path):
    import openpyxl

    book = openpyxl.load_workbook(path, read_only=True)
    sheets = book.sheetnames
    book.close()
    if len(sheets) == 1:
        return made(path, stem(path), f"pd.read_excel({quoted(path)})", SHEET_ROWS)
    for sheet in sheets[:TABLES]:
        made(path, sheet, f"pd.read_excel({quoted(path)}, sheet_name={quoted(sheet)})", SHEET_ROWS)
    return f"{len(sheets)} sheets: {', '.join(sheets)}"


def document(path, encoding):
    """JSON: a table where it is a list of records."""
    if os.path.getsize(path) > JSON:
        return "JSON"
    with open(path, encoding=encoding) as f:
        value = json.load(f)
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return made(path, stem(path), f"pd.read_json({quoted(path)})", 0)
    keys = ", ".join(map(str, list(value)[:30])) if isinstance(value, dict) else ""
    return f"JSON, {type(value).__name__} of {len(value) if isinstance(value, list | dict) else 1}: {keys}"


# --- How tables belong together ---


def relations():
    """A line for each way in which the tables can be put together."""
    lines = []
    alone = list(tables.values())[:TABLES]
    alike = {}
    for table in tables.values():
        alike.setdefault(tuple(table.df.columns), []).append(table.name)
    for names in alike.values():
        if len(names) > 1:
            both = Table("", "all_rows", f"pd.concat([{', '.join(names)}], ignore_index=True)", 0)
            tables[both.name] = both
            lines.append(
                f"{', '.join(names)} have the same columns; `{both.name}` has the {len(both.df):,} rows of all of them."
            )
    for left, right in itertools.combinations(alone, 2):
        if tuple(left.df.columns) != tuple(right.df.columns) and (line := join(left, right)):
            lines.append(line)
    return lines


def join(left, right):
    """How two tables share a column, or nothing. The longer one comes first."""
    if len(left.df) < len(right.df):
        left, right = right, left
    best = max(itertools.product(keys(left), keys(right)), key=lambda pair: common(*pair), default=None)
    if best is None or common(*best) < 0.5:
        return ""
    (a, in_a), (b, in_b) = best
    if not in_a[1] & in_b[1]:
        case = next((c for c in ("title", "lower", "upper") if {getattr(v, c)() for v in in_b[1]} & in_a[1]), "title")
        right.set(b, f"{{}}.str.{case}()")
    on = f"on={quoted(a)}" if a == b else f"left_on={quoted(a)}, right_on={quoted(b)}"
    line = (
        f"{place(left, a)} and {place(right, b)} name the same things. "
        f'Where columns of both are needed: {left.name}.merge({right.name}, {on}, how="left").'
    )
    for x, y, t, c, o, d in ((in_a, in_b, left, a, right, b), (in_b, in_a, right, b, left, a)):
        if missing := len(x[0] - y[0]):
            line += f" {missing} in {t.name} are not in {o.name}: {t.name}[~{place(t, c)}.isin({place(o, d)})]."
    return line


def place(table, column):
    return f"{table.name}[{quoted(column)}]"


def keys(table):
    """The columns that may name things, each with its values without regard to case, and as they are."""
    import pandas as pd

    found = []
    for column in table.df.columns[:30]:
        series = table.df[column].dropna()
        if pd.api.types.infer_dtype(series) in ("string", "integer") and 2 <= series.nunique() <= 10_000:
            values = set(series.astype(str))
            found.append((column, ({v.casefold() for v in values}, values)))
    return found


def common(a, b):
    """The share of the smaller side's values that both have. Numbers are alike by chance, unless their names are."""
    (name_a, (in_a, _)), (name_b, (in_b, _)) = a, b
    if str(name_a).casefold() != str(name_b).casefold() and all(v.lstrip("-").isdigit() for v in in_a):
        return 0.0
    return len(in_a & in_b) / min(len(in_a), len(in_b))


# --- Files ---


def describe(name):
    """What is told of a file, and a warning for the person."""
    total = os.path.getsize(name)
    ext = os.path.splitext(name)[1].lower()
    with open(name, "rb") as f:
        magic = f.read(8)
    if total == 0:
        return "empty", f"{name} is empty (0 bytes)."
    if magic == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" and ext in (".xlsx", ".docx", ".pptx", ".xlsm"):
        return "encrypted", LOCKED.format(name)
    if ext == ".pdf":
        import pypdf

        pdf = pypdf.PdfReader(name)
        locked = pdf.is_encrypted and not pdf.decrypt("")
        return ("encrypted", LOCKED.format(name)) if locked else (f"PDF, {len(pdf.pages)} pages", "")
    if ext == ".zip":
        with zipfile.ZipFile(name) as z:
            inside = z.infolist()
        if any(i.flag_bits & 1 for i in inside):
            return "encrypted", LOCKED.format(name)
        return f"{len(inside)} files: " + ", ".join(i.filename for i in inside[:10]), ""
    if ext in (".xlsx", ".xlsm"):
        return workbook(name), ""
    if ext == ".parquet":
        import pyarrow.parquet as pq

        meta = pq.ParquetFile(name)
        if meta.metadata.num_rows <= ROWS:
            return made(name, stem(name), f"pd.read_parquet({quoted(name)})", 0), ""
        return f"{meta.metadata.num_rows:,} rows × {len(meta.schema_arrow.names)} columns: " + ", ".join(
            f"{f.name} ({f.type})" for f in list(meta.schema_arrow)[:30]
        ), ""
    if ext in (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff"):
        from PIL import Image

        with Image.open(name) as im:
            return f"image {im.width}×{im.height} {im.mode}", ""
    return plain(name, ext) if ext in TEXT else ("", "")


def plain(name, ext):
    """The same of a file that is text."""
    encoding = encoding_of(name)
    other = {"cp1252": "Windows-1252", "utf-16": "UTF-16"}.get(encoding)
    warning = f"{name} is not UTF-8; I read it as {other}." if other else ""
    if ext in (".csv", ".tsv"):
        return tabular(name, ext, encoding), warning
    if ext == ".json":
        return document(name, encoding), warning
    if ext == ".jsonl":
        return made(name, stem(name), f"pd.read_json({quoted(name)}, lines=True)"), warning
    return f"text, {encoding}", warning


def say(name, line, code="", warning=""):
    print(json.dumps({"name": name, "line": line, "code": code, "warning": warning}))


def main():
    found = []
    for name in NAMES:  # noqa: F821 - put in front of this text
        line, warning = "", ""
        try:
            line, warning = describe(name)
        except Exception as e:
            warning = f"I could not look inside {name}: {type(e).__name__}: {e}"[:300]
        found.append((name, line, warning))
    together = relations()
    for name, line, warning in found:
        held = [table for table in tables.values() if table.file == name]
        head = ", ".join(filter(None, [size(os.path.getsize(name)), line]))
        warnings = " ".join(filter(None, [warning, *(table.warning for table in held)]))
        say(name, "\n".join([head, *map(told, held)]), warning=warnings)
    code = [line for table in tables.values() for line in table.code]
    say("", "\n".join(together), "\n".join(code))


main()
