"""What is put right in a block without asking the model, and what is only said to it."""

import pytest

from bot.mending import FILES_MARK, mended, missing_column, reading, unprinted
from bot.types import Blob, Called, CardFile, CellError, Item, Returned, Said

READING = 'trips = pd.read_csv("trips.csv", sep=";")\ntrips["day"] = pd.to_datetime(trips["day"])\n'
NOTE = f"""{FILES_MARK}
trips.csv — 2 KiB
`trips`: 40 rows, columns "day" (date 2031-01-02..2031-02-03), "Fare (€)" (float 1.5..99.0), "Driver" (text: Ann, Bob)
The code that reads them:
```python
{READING}```"""
FILES: list[Item] = [Said("user", "and?"), Said("note", NOTE)]


def failed(code: str, name: str, message: str) -> list[Item]:
    return [*FILES, Called("c", code), Returned("c", error=CellError(name, message))]


@pytest.mark.parametrize(
    ("code", "name", "message", "better"),
    [
        ("sns.set()", "NameError", "name 'sns' is not defined", "import seaborn as sns\nsns.set()"),
        ("datetime.now()", "NameError", "name 'datetime' is not defined", "from datetime import datetime\ndatetime.now()"),
        (
            "datetime.datetime(1, 1, 1)",
            "NameError",
            "name 'datetime' is not defined",
            "import datetime\ndatetime.datetime(1, 1, 1)",
        ),
        ("len(trips)", "NameError", "name 'trips' is not defined", f"{READING}len(trips)"),
        ("trips['Fare']", "KeyError", "'Fare'", "trips['Fare (€)']"),
        ('trips["driver"]', "KeyError", "'driver'", "trips['Driver']"),
        ('trips.groupby("driver")', "KeyError", "'Column not found: driver'", "trips.groupby('Driver')"),
        ("total", "NameError", "name 'total' is not defined", None),
        ("trips['km']", "KeyError", "'km'", None),
        ("trips.iloc[99]", "IndexError", "out of bounds", None),
        ("import seaborn as sns\nsns.sett()", "AttributeError", "no attribute 'sett'", None),
    ],
)
def test_what_has_one_remedy_is_put_right_and_nothing_else(code: str, name: str, message: str, better: str | None) -> None:
    call = mended(failed(code, name, message))
    assert (call and call.code) == better


def test_a_remedy_is_tried_once() -> None:
    items = failed("len(trips)", "NameError", "name 'trips' is not defined")
    call = mended(items)
    assert call is not None
    again: list[Item] = [*items, call, Returned(call.id, error=CellError("NameError", "name 'trips' is not defined"))]
    assert mended(again) is None


def test_a_column_that_two_names_resemble_is_asked_for() -> None:
    two = Said("note", f'{FILES_MARK}\n`t`: 1 row, columns "Fare net" (int 1..2), "Fare gross" (int 1..2)')
    items: list[Item] = [two, Called("c", "t['Fare']"), Returned("c", error=CellError("KeyError", "'Fare'"))]
    assert mended(items) is None
    assert missing_column(items) == "There is no 'Fare'. The columns are: Fare net, Fare gross."
    items[-1] = Returned("c", error=CellError("KeyError", "'Column not found: Fare'"))
    assert missing_column(items) == "There is no 'Fare'. The columns are: Fare net, Fare gross."


def test_no_column_is_offered_for_a_key_that_is_none() -> None:
    assert missing_column(failed("counts[0]", "KeyError", "0")) == ""
    assert missing_column([Called("c", "d['x']"), Returned("c", error=CellError("KeyError", "'x'"))]) == ""


def test_the_code_that_reads_the_files_is_the_newest_notes() -> None:
    assert reading(FILES) == READING
    assert reading([*FILES, Said("note", f"{FILES_MARK}\nphoto.png — 3 KiB")]) == ""
    assert reading([Said("user", NOTE)]) == "", "a person's words are no note"


@pytest.mark.parametrize(
    ("answer", "made_up"),
    [
        ("It is 1947.4 in all.", ""),
        ("Es sind 1.947,37 €.", ""),
        ("$1,947", ""),
        ("a share of 57.6 %", ""),
        ("two of 12", ""),
        ("40 rows from 2031", ""),
        ("It is 1948 in all.", "1948"),
        ("about 3,000 and 1947", "3,000"),
    ],
)
def test_numbers_in_an_answer_about_tables_are_those_that_were_printed(answer: str, made_up: str) -> None:
    ran: list[Item] = [*FILES, Called("c", "print(x)"), Returned("c", stdout="x 1947.37\n0.5760315\n")]
    said = unprinted([*ran, Said("assistant", answer)])
    assert said.partition(":")[0] == made_up
    assert unprinted([*ran[2:], Said("assistant", answer)]) == "", "without tables there may be anything"


def test_numbers_that_a_figure_shows_have_been_seen() -> None:
    blob = Blob("0" * 64, 1)
    figure = CardFile("figure-1.png", "image/png", blob, figure=True, alt="Line chart; km highest 1947.37", facts="")
    ran: list[Item] = [*FILES, Called("c", "plt.plot(x)"), Returned("c", files=(figure,))]
    assert unprinted([*ran, Said("assistant", "The highest is 1947.4.")]) == ""
    assert unprinted([*ran, Said("assistant", "The highest is 1948.")]).startswith("1948")
