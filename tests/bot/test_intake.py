"""Fenced blocks out of a message, and what a turn is told of its files."""

import asyncio
from pathlib import Path

import openpyxl
import pytest

from adapters.terminal import OneShot, question
from bot.files import open_folder
from bot.intake import cells, place
from bot.mending import reading
from bot.types import Question
from sandbox import Limits, Spec
from tests.cells import run
from tests.engine import IMAGE, docker_engine


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```\n1 + 1\n```", ["1 + 1\n"]),
        ("hi\n```python\nx = 1\n\nprint(x)\n```\nthanks", ["x = 1\n\nprint(x)\n"]),
        ("```py\n1\n```\nand\n```\n2\n```", ["1\n", "2\n"]),
        ("```sql\nselect 1\n```", []),
        ("~~~\n1\n~~~", ["1\n"]),
        ("````\nprint('```')\n````", ["print('```')\n"]),
        ("```print(1)```", ["print(1)"]),
        ("```py print(1)```", ["print(1)"]),
        ("what is `x`?", []),
        ("```\n   \n```", []),
        ("no code here", []),
    ],
)
def test_bare_and_python_fences_are_cells(text: str, code: list[str]) -> None:
    assert cells(text) == code


FILES = {
    "trips.csv": b"id,Driver,km\n1,Ann,10\n2,Bob,-999\n3,Ann,12\n2,Bob,-999\n4,Cid,\n",
    "drivers.csv": b"Name;Lohn;Seit\nANN;12,50;01.02.2030\nBOB;9,75;13.12.2031\nDAN;8,00;02.01.2030\n",
    "fares.csv": b'day, Fare ($) \n1/13/2031,"$1,200"\n2/1/2031,$90\n',
    "april.csv": b"day,sum\n2031-04-01,5\n",
    "may.csv": "day,sum\n2031-05-01,7\n".encode("utf-16"),
    "places.json": b'[{"place": "\\u00c5lesund", "size": 3}]',
    "tides.csv": b"week,harbour,level\n2031-06-02,east,3\n2031-06-02,west,4\n2031-06-09,east,5\n2031-06-09,west,2\n",
    "notes.txt": "Grüße".encode("cp1252"),
    "none.csv": b"",
}
"""Sentinels, a record twice, decimal commas, dates of two countries, untidy headers, money as text, three encodings."""


@pytest.fixture
def asked(tmp_path: Path) -> Question:
    """A question with all of them."""
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    book = openpyxl.Workbook()
    for name, rows in {"May 31": [("x",), (1,)], "list": [("y",), (2,)]}.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.remove(book.worksheets[0])
    book.save(tmp_path / "book.xlsx")
    return question("files", "?", sorted(tmp_path.iterdir()))


@pytest.mark.engine
async def test_tables_are_told_with_the_code_that_reads_them_and_what_it_gives(asked: Question, tmp_path: Path) -> None:
    async with docker_engine() as engine:
        session = await engine.session("files", Spec(IMAGE))
        chat = OneShot(await asyncio.to_thread(open_folder, tmp_path / "store"), asked, tmp_path)
        notes = await place(chat, session, asked.attachments, Limits(), "look")
        before = await session.variables()
        shown = await run(session, f"{reading(notes)}\nprint(all_rows, trips, drivers, fares, table_list, may_31, places)")
    assert before == (), "looking leaves no names behind"
    told = notes[-1].text
    for words in (
        '"Driver" (text: Ann, Bob, Cid)',
        '"km" (float 10.0..12.0; 1 missing; -999 in 1 rows, which seems to mean missing)',
        '"Lohn" (float 8.0..12.5)',
        '"Seit" (date 2030-01-02..2031-12-13)',
        '"Fare ($)" (int 90..1200)',
        '"day" (date 2031-01-13..2031-02-01)',
        "book.xlsx — ",
        "2 sheets: May 31, list",
        "april, may have the same columns; `all_rows` has the 2 rows of all of them.",
        'trips["Driver"] and drivers["Name"] name the same things.',
        'trips.merge(drivers, left_on="Driver", right_on="Name", how="left")',
        '1 in drivers are not in trips: drivers[~drivers["Name"].isin(trips["Driver"])]',
        "one row for each week and harbour, so one line for each harbour is drawn by "
        '`tides.pivot(index="week", columns="harbour", values="level").plot()`',
        "notes.txt — 5 bytes, text, cp1252",
    ):
        assert words in told, told
    assert shown.raised is None and "Ålesund" in shown.stdout and "1200" in shown.stdout
    warned = "\n".join(note.text for note in notes[:-1] if note.shown)
    for words in ("trips.csv: 1 row repeats another one exactly", "may.csv is not UTF-8", "none.csv is empty"):
        assert words in warned
