"""The judge of `bench.model`: a right answer passes, a near miss fails, and so does nothing at all."""

import ast
import filecmp
import re
from importlib.resources import files
from pathlib import Path

import pytest

from bench.questions import KINDS, QUESTIONS, tables
from bench.questions.checks import Check, Given, every, name, number, plot, words

REGIONS = ("East", "North", "South", "West")


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (number(320), "There are 320 orders."),
        (number(320), "**320**"),
        (number(1234), "1,234 rows"),
        (number(1234), "1.234 Zeilen"),
        (number(1234.5), "1.234,50 €"),
        (number(1234.5), "$1,234.5"),
        (number(-3.2), "It was −3.2 degrees."),  # noqa: RUF001
        (number(12.5, percent=True), "a share of 0.125"),
        (number(12.5), "12.5 %"),
        (number(1.0, 2.0), "from 1 to 2"),
        (number(0.5649), "The slope is 0.56."),
        (name("South", REGIONS), "South, with 42."),
        (name("South", REGIONS), "South leads, before West."),
        (name("South", REGIONS), "East: 3\nNorth: 1\nSouth: 9\nWest: 2\nSo it is the South that sells most."),
        (name(("March", "2025-03"), ["2025-03", "March", "May"]), "The best was 2025-03."),
        (number(27, 35, 14), "customers 27, 35, and 14"),
        (number(27, 35), "27, 35"),
        (number(12345), "12 345 Zeilen"),
        (number(1.5, 2.5), "[1.5, 2.5]"),
        (words("Ada", "Ben"), "ada and **Ben**"),
    ],
)
def test_a_right_answer_passes(check: Check, text: str) -> None:
    assert check(Given(text))


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (number(320), "There are 321 orders."),
        (number(320), "There are 3200 orders."),
        (number(2735), "27, 35"),
        (number(345), "12 345"),
        (number(320), "Order 1320 is the last."),
        (number(320), "It is " + " ".join(map(str, range(300, 340)))),
        (number(65.0), "about 66"),
        (number(1.0, 2.0), "from 1 to 3"),
        (number(2025), "on 2025-03-01"),
        (number(0.5649), "The slope is 0.58."),
        (name("South", REGIONS), "West leads, before South."),
        (name("South", REGIONS), "South: 9\nWest: 2\nNorth: 1\nEast: 3"),
        (name("South", REGIONS), "Southampton"),
        (words("Ada", "Ben"), "Ada alone"),
        (every(words("Ada"), number(3)), "Ada has 4"),
    ],
)
def test_a_near_miss_fails(check: Check, text: str) -> None:
    assert not check(Given(text))


def test_a_plot_is_judged_by_its_figures_and_not_by_words() -> None:
    check = plot("Line", "rain", "month", series=("north", "south"))
    right = "Line chart 'Rain': x month, y mm; series north, south"
    assert check(Given("", (right,)))
    assert check(Given("", ("Figure", right)))
    for wrong in (right.replace("Line", "Bar"), right.replace("Rain", "Snow"), right.replace(", south", ""), "Figure"):
        assert not check(Given(right, (wrong,)))
    assert not check(Given(right))


def test_there_are_sixty_questions_and_none_is_answered_by_nothing() -> None:
    assert len(QUESTIONS) == len({asked.id for asked in QUESTIONS}) == 60
    assert {asked.kind for asked in QUESTIONS} == set(KINDS)
    for asked in QUESTIONS:
        assert set(asked.files) <= set(tables.FILES)
        for nothing in ("", "I cannot answer that.", "The code ran without an error.", asked.text):
            assert not asked.check(Given(nothing, ("Figure",))), asked.id


def test_the_files_are_the_same_each_time(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        tables.write(tmp_path / folder)
    plain = [name for name in tables.FILES if not name.endswith(".xlsx")]  # a workbook holds the time it was written
    assert filecmp.cmpfiles(tmp_path / "one", tmp_path / "two", plain, shallow=False) == (plain, [], [])


def said_by_prompts() -> str:
    """What a model may read of them, and of what a turn says to it: texts, and the fixed strings in code; in small letters."""
    texts = []
    for entry in [*files("bot.prompts").iterdir(), files("bot") / "agent.py", files("bot") / "mending.py"]:
        if entry.name.endswith(".md"):
            texts.append(entry.read_text("utf-8"))
        elif entry.name.endswith(".py"):
            nodes = ast.walk(ast.parse(entry.read_text("utf-8")))
            texts += [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return " ".join(re.findall(r"\w+", " ".join(texts).lower()))


ORDINARY = {"name", "date", "may", "no"}
"""Headers and file names that any text may hold."""


def test_no_prompt_holds_the_name_of_a_file_a_column_or_a_value(tmp_path: Path) -> None:
    tables.write(tmp_path)
    names = {Path(name).stem for name in tables.FILES} | {*tables.PRODUCTS, *tables.CITIES, *tables.CATEGORIES.values()}
    for path in tmp_path.iterdir():
        if path.suffix in (".csv", ".tsv"):
            names.update(re.findall(r"\w+", path.read_text("cp1252").partition("\n")[0]))
    said = set(said_by_prompts().split())
    assert not {name.lower() for name in names} & said - ORDINARY


def test_no_prompt_holds_a_questions_words() -> None:
    """Four words in a row, in whatever language, are a question's own."""
    said = said_by_prompts()
    for text in [*(asked.text for asked in QUESTIONS), "plot revenue per month by region"]:
        spoken = re.findall(r"\w+", text.lower())
        for n in range(len(spoken) - 3):
            assert " ".join(spoken[n : n + 4]) not in said, text
