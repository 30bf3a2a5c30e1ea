# Runs inside the thread's sandbox, as a cell of ours, in a namespace of its own: what is in these files, in a line each.
# Prints one JSON object a line: {"name", "line", "warning"}. NAMES is put in front.
import json
import os
import zipfile

ROWS = 200_000
TEXT = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".md", ".log", ".xml", ".html", ".yaml", ".yml", ".py")


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


def column(series):
    import pandas as pd

    if pd.api.types.is_numeric_dtype(series) or pd.api.types.is_datetime64_any_dtype(series):
        kind = str(series.dtype).rstrip("0123456789")
        if series.notna().any() and not pd.api.types.is_bool_dtype(series):
            kind += f" {series.min()}..{series.max()}"
    else:
        values = series.dropna().astype(str)
        distinct = values.unique()
        if len(distinct) <= 6:
            kind = ", ".join(v[:24] for v in distinct)
        else:
            kind = f"{values.min()[:24]}..{values.max()[:24]}, {len(distinct)} distinct"
    missing = int(series.isna().sum())
    return f"{series.name} ({kind}{f', {missing} missing' if missing else ''})"


def frame(df, more=""):
    shown = [column(df[c]) for c in df.columns[:30]]
    if len(df.columns) > 30:
        shown.append(f"and {len(df.columns) - 30} more")
    return f"{len(df):,}{more} rows × {len(df.columns)} columns: " + ", ".join(shown)


def tabular(path, ext, encoding):
    import csv

    import pandas as pd

    with open(path, encoding=encoding, errors="replace", newline="") as f:
        sample = f.read(64 * 1024)
    try:
        sep = "\t" if ext == ".tsv" else csv.Sniffer().sniff(sample, ",;\t|").delimiter
    except csv.Error:
        sep = ","
    df = pd.read_csv(path, sep=sep, encoding=encoding, nrows=ROWS)
    how = [] if sep == "," else [f"sep={sep!r}"]
    if encoding not in ("utf-8", "utf-8-sig"):
        how.append(f"encoding={encoding!r}")
    line = frame(df, "+" if len(df) == ROWS else "")
    return line + (f"; read it with {', '.join(how)}" if how else "")


def workbook(path):
    import openpyxl
    import pandas as pd

    book = openpyxl.load_workbook(path, read_only=True)
    sheets = book.sheetnames
    book.close()
    first = frame(pd.read_excel(path, sheet_name=sheets[0], nrows=5000))
    return (f"sheets {', '.join(sheets)}; {sheets[0]}: " if len(sheets) > 1 else "") + first


def describe(name):
    total = os.path.getsize(name)
    ext = os.path.splitext(name)[1].lower()
    line, warning = size(total), ""
    with open(name, "rb") as f:
        magic = f.read(8)
    if total == 0:
        return line, f"{name} is empty (0 bytes)."
    if magic == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" and ext in (".xlsx", ".docx", ".pptx", ".xlsm"):
        return f"{line}, encrypted", f"{name} is protected with a password, so I cannot read it. Attach a copy without one."
    if ext == ".pdf":
        import pypdf

        pdf = pypdf.PdfReader(name)
        if pdf.is_encrypted and not pdf.decrypt(""):
            return f"{line}, encrypted", f"{name} is protected with a password, so I cannot read it. Attach a copy without one."
        return f"{line}, PDF, {len(pdf.pages)} pages", ""
    if ext == ".zip":
        with zipfile.ZipFile(name) as z:
            inside = z.infolist()
        if any(i.flag_bits & 1 for i in inside):
            return f"{line}, encrypted", f"{name} is protected with a password, so I cannot read it. Attach a copy without one."
        return f"{line}, {len(inside)} files: " + ", ".join(i.filename for i in inside[:10]), ""
    if ext in (".xlsx", ".xlsm"):
        return f"{line}, {workbook(name)}", ""
    if ext == ".parquet":
        import pyarrow.parquet as pq

        meta = pq.ParquetFile(name)
        return f"{line}, {meta.metadata.num_rows:,} rows × {len(meta.schema_arrow.names)} columns: " + ", ".join(
            f"{f.name} ({f.type})" for f in list(meta.schema_arrow)[:30]
        ), ""
    if ext in (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff"):
        from PIL import Image

        with Image.open(name) as im:
            return f"{line}, image {im.width}×{im.height} {im.mode}", ""
    if ext in TEXT:
        encoding = encoding_of(name)
        if encoding in ("cp1252", "utf-16"):
            warning = f"{name} is not UTF-8; I read it as {'Windows-1252' if encoding == 'cp1252' else 'UTF-16'}."
        line += f", {tabular(name, ext, encoding)}" if ext in (".csv", ".tsv") else f", text, {encoding}"
    return line, warning


def main():
    for name in NAMES:  # noqa: F821 - put in front of this text
        try:
            line, warning = describe(name)
        except Exception as e:
            line, warning = size(os.path.getsize(name)), f"I could not look inside {name}: {type(e).__name__}: {e}"[:300]
        print(json.dumps({"name": name, "line": line, "warning": warning}))


main()
