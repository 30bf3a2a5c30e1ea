"""What is wrong with a block and can be put right without asking the model that wrote it: pure, from the transcript."""

import re
from collections.abc import Iterator, Mapping, Sequence

from bot.types import Called, Item, Returned, Said

FILES_MARK = "Files in the workspace:"
"""How the note on a question's files begins."""

IMPORTS: Mapping[str, str] = {
    **{name: f"import {name}" for name in ("calendar", "collections", "datetime", "glob", "io", "itertools", "json", "math")},
    **{name: f"import {name}" for name in ("os", "random", "re", "scipy", "sklearn", "statistics", "string", "sys", "time")},
    **{name: f"from collections import {name}" for name in ("Counter", "defaultdict")},
    **{name: f"from datetime import {name}" for name in ("date", "timedelta")},
    "Image": "from PIL import Image",
    "LinearRegression": "from sklearn.linear_model import LinearRegression",
    "Path": "from pathlib import Path",
    "linregress": "from scipy.stats import linregress",
    "mdates": "import matplotlib.dates as mdates",
    "sns": "import seaborn as sns",
    "stats": "from scipy import stats",
}
"""What a name means to everybody who leaves its import out."""


def mended(items: Sequence[Item]) -> Called | None:
    """The block that failed last, put right, when one thing was wrong that has one remedy: a well-known import or the reading
    of a file left out, a column's name nearly right."""
    last = items[-1] if items else None
    if not isinstance(last, Returned) or last.error is None:
        return None
    call = next(item for item in items if isinstance(item, Called) and item.id == last.id)
    code = _better(call.code or "", last.error.name, last.error.message, items)
    return None if code == (call.code or "") else Called(f"{call.id}.mended", code)


def is_mended(call: Called, by: Called) -> bool:
    """Whether `by` is `call` put right."""
    return by.id == f"{call.id}.mended"


def reading(items: Sequence[Item]) -> str:
    """The code that reads the files of the newest note on files; empty where there is none."""
    for item in reversed(items):
        if isinstance(item, Said) and item.role == "note" and item.text.startswith(FILES_MARK):
            block = re.search(r"^```python\n(.*?)^```$", item.text, re.MULTILINE | re.DOTALL)
            return block[1] if block else ""
    return ""


def missing_column(items: Sequence[Item]) -> str:
    """A sentence with the columns there are, when the last block asked for another."""
    last = items[-1] if items else None
    columns = list(_columns(items))
    if not columns or not isinstance(last, Returned) or last.error is None:
        return ""
    if last.error.name != "KeyError" or not last.error.message.startswith(("'", '"')):
        return ""
    return f"There is no {_missing(last.error.message)!r}. The columns are: {', '.join(columns)}."


def unprinted(items: Sequence[Item]) -> str:
    """A sentence on the numbers of an answer about tables that no output, note or question holds, rounded or not."""
    last = items[-1] if items else None
    if not isinstance(last, Said) or not reading(items):
        return ""
    known = {value for item in items[:-1] for token in _numbers(_text(item)) for value, _ in _readings(token)}
    made_up = [token for token in _numbers(last.text) if not any(_is_rounded(token, value) for value in known)]
    if not made_up:
        return ""
    return f"{', '.join(made_up)}: no output holds that. Print what was asked, then answer with what was printed."


def _text(item: Item) -> str:
    match item:
        case Returned():
            return " ".join((item.stdout, item.result or "", *(file.facts or file.alt for file in item.files)))
        case Said("user" | "note", text):
            return text
    return ""


def _numbers(text: str) -> Iterator[str]:
    """Numbers of three digits or more as they are written; shorter ones may be anything."""
    return (token for token in re.findall(r"(?<![\w.,])\d+(?:[.,]\d+)*", text) if sum(map(str.isdigit, token)) >= 3)


def _readings(token: str) -> list[tuple[float, float]]:
    """What a number may mean, by who writes a comma for a decimal point and who does not, and the unit of its last place."""
    forms = (token.replace(",", ""), token.replace(".", "").replace(",", "."))
    return [(float(form), 10.0 ** -len(form.partition(".")[2])) for form in forms if form.count(".") < 2]


def _is_rounded(token: str, value: float) -> bool:
    """Whether the token may be the value, or it as a percentage, rounded as far as the token goes."""
    return any(abs(v - read) <= 0.51 * unit for v in (value, 100 * value) for read, unit in _readings(token))


def _better(code: str, error: str, message: str, items: Sequence[Item]) -> str:
    if error == "NameError" and (name := re.match(r"name '(\w+)' is not defined", message)):
        lines = _import(name[1], code)
        if re.search(rf"^{name[1]} = ", reading(items), re.MULTILINE):
            lines = reading(items)
        return code if not lines or code.startswith(lines) else f"{lines.rstrip()}\n{code}"
    if error == "KeyError":
        wrong = _missing(message)
        near = [column for column in _columns(items) if _alike(wrong, column)]
        if len(near) == 1:
            return re.sub(rf"""(["']){re.escape(wrong)}\1""", lambda _: repr(near[0]), code)
    return code


def _missing(message: str) -> str:
    """The key that a KeyError is about; a grouped table says more than the key."""
    return message.strip("'\"").removeprefix("Column not found: ")


def _import(name: str, code: str) -> str:
    if name == "datetime" and "datetime.datetime" not in code:
        return "from datetime import datetime"
    return IMPORTS.get(name, "")


def _columns(items: Sequence[Item]) -> Iterator[str]:
    """The columns in the notes on files, each once."""
    notes = (item.text for item in items if isinstance(item, Said) and item.role == "note" and item.text.startswith(FILES_MARK))
    return iter(dict.fromkeys(column for note in notes for column in re.findall(r'"([^"\n]+)" \(', note)))


def _alike(wrong: str, right: str) -> bool:
    """Whether two names are the same but for case, blanks and signs, or but for what one of them has more at its end."""
    a, b = (re.sub(r"\W|_", "", name.casefold()) for name in (wrong, right))
    return wrong != right and bool(a) and bool(b) and (a.startswith(b) or b.startswith(a))
