"""The agent's decision as a table, and what the model reads of a cell."""

import pytest

from bot.agent import AGAIN, LAST_WORD, NO_PROGRESS, SILENT, UNCOMPUTED, AskModel, Finish, Record, RunCell, next_step, report
from bot.mending import FILES_MARK
from bot.types import Blob, Called, CardFile, CellError, Item, Returned, Said

ASKED = Said("user", "how many?")
CALL = Called("c1", "1 + 1")
BROKEN = Called("c1", "1 / 0")
FAILED = CellError("ZeroDivisionError", "division by zero", "Traceback …")


def fails(times: int) -> list[Item]:
    items: list[Item] = [ASKED]
    for n in range(times):
        items += [Called(f"c{n}", "1 / 0"), Returned(f"c{n}", error=FAILED)]
    return items


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([ASKED], AskModel()),
        ([ASKED, CALL], RunCell(CALL, "1 + 1")),
        ([ASKED, CALL, Returned("c1", result="2")], AskModel()),
        ([ASKED, CALL, Returned("c1", result="2"), Said("assistant", "Two.")], Finish("Two.")),
        ([ASKED, Said("assistant", "Two.")], Finish("Two.")),
        ([ASKED, BROKEN, Returned("c1", error=FAILED)], AskModel()),
    ],
)
def test_each_step_follows_from_the_transcript_alone(items: list[Item], expected: object) -> None:
    assert next_step(items, model=True, steps=20) == expected


def test_calls_run_in_the_order_they_were_made() -> None:
    second = Called("c2", "2 + 2")
    assert next_step([ASKED, CALL, second], model=True, steps=20) == RunCell(CALL, "1 + 1")
    assert next_step([ASKED, CALL, second, Returned("c1")], model=True, steps=20) == RunCell(second, "2 + 2")


def test_a_persons_own_cells_run_to_the_end_whatever_fails() -> None:
    second = Called("c2", "2 + 2")
    assert next_step([BROKEN, second, Returned("c1", error=FAILED)], model=False, steps=1) == RunCell(second, "2 + 2")
    assert next_step([BROKEN, Returned("c1", error=FAILED)], model=False, steps=1) == Finish("")


def test_unreadable_arguments_are_answered_not_run() -> None:
    step = next_step([ASKED, Called("c1", None)], model=True, steps=20)
    assert isinstance(step, Record) and isinstance(step.item, Returned)
    assert step.item.id == "c1" and step.item.error is not None and step.item.error.name == "BadArguments"


def test_after_the_last_step_the_model_gets_one_last_word() -> None:
    items: list[Item] = [ASKED, CALL, Returned("c1", result="2")]
    step = next_step(items, model=True, steps=1)
    assert step == Record(Said("note", LAST_WORD))
    assert next_step([*items, Said("note", LAST_WORD)], model=True, steps=1) == AskModel()


def test_a_model_that_will_not_stop_calling_is_finished_with_what_there_is() -> None:
    items: list[Item] = [
        ASKED,
        CALL,
        Returned("c1", result="2"),
        Said("note", LAST_WORD),
        Called("c2", "3", text="It is about two."),
    ]
    step = next_step(items, model=True, steps=1)
    assert step == Finish("It is about two.\n\n```\n2\n```", "I stopped after 1 steps; this is what there is.")


def test_the_same_failure_twice_is_remarked_on_once_and_four_times_ends_it() -> None:
    assert next_step(fails(1), model=True, steps=20) == AskModel()
    assert next_step(fails(2), model=True, steps=20) == Record(Said("note", NO_PROGRESS))
    assert next_step([*fails(3), Said("note", NO_PROGRESS)], model=True, steps=20) == AskModel()
    ended = next_step([*fails(4), Said("note", NO_PROGRESS)], model=True, steps=20)
    assert isinstance(ended, Finish) and "kept failing" in ended.note


def test_another_error_or_other_code_starts_the_count_again() -> None:
    other: list[Item] = [Called("x", "1 / 1"), Returned("x", error=FAILED)]
    assert next_step([*fails(1), *other], model=True, steps=20) == AskModel()


@pytest.mark.parametrize(("stdout", "word"), [("2", AGAIN), ("", SILENT)])
def test_the_same_code_twice_with_the_same_outcome_is_remarked_on_and_four_times_ends_it(stdout: str, word: str) -> None:
    def runs(times: int) -> list[Item]:
        pairs = ((Called(f"c{n}", "x"), Returned(f"c{n}", stdout=stdout)) for n in range(times))
        return [ASKED, *(item for pair in pairs for item in pair)]

    assert next_step(runs(1), model=True, steps=20) == AskModel()
    assert next_step(runs(2), model=True, steps=20) == Record(Said("note", word))
    assert next_step([*runs(3), Said("note", word)], model=True, steps=20) == AskModel()
    ended = next_step([*runs(4), Said("note", word)], model=True, steps=20)
    assert isinstance(ended, Finish) and stdout in ended.text and "again and again" in ended.note


READ = 'trips = pd.read_csv("trips.csv")\n'
TABLES = Said("note", f"{FILES_MARK}\n`trips`: 9 rows\nThe code that reads them:\n```python\n{READ}```")


def test_an_answer_about_tables_without_any_code_is_doubted_once() -> None:
    items: list[Item] = [ASKED, TABLES, Said("assistant", "Nine, I guess.")]
    assert next_step(items, model=True, steps=20) == Record(Said("note", UNCOMPUTED))
    items += [Said("note", UNCOMPUTED), Said("assistant", "Nine, I say.")]
    assert next_step(items, model=True, steps=20) == Finish("Nine, I say.")
    assert next_step([ASKED, Said("assistant", "Nine.")], model=True, steps=20) == Finish("Nine.")


def test_an_answers_number_that_nothing_printed_is_doubted_once() -> None:
    ran: list[Item] = [ASKED, TABLES, Called("c", "x"), Returned("c", stdout="1234.5")]
    assert next_step([*ran, Said("assistant", "It is 1,234.5.")], model=True, steps=20) == Finish("It is 1,234.5.")
    doubted: list[Item] = [*ran, Said("assistant", "It is 5,000.")]
    step = next_step(doubted, model=True, steps=20)
    assert isinstance(step, Record) and isinstance(step.item, Said) and step.item.text.startswith("5,000: no output")
    assert next_step([*doubted, step.item, Said("assistant", "It is 5,000.")], model=True, steps=20) == Finish("It is 5,000.")


def test_a_block_with_one_plain_fault_is_put_right_and_run_again() -> None:
    call = Called("c", "len(trips)")
    items: list[Item] = [ASKED, TABLES, call, Returned("c", error=CellError("NameError", "name 'trips' is not defined"))]
    step = next_step(items, model=True, steps=20)
    assert isinstance(step, Record) and isinstance(step.item, Called) and step.item.code == f"{READ}len(trips)"
    assert next_step([*items, step.item], model=True, steps=20) == RunCell(step.item, f"{READ}len(trips)")
    assert next_step(items, model=True, steps=1) == Record(Said("note", LAST_WORD)), "within the turn's steps"


def test_a_missing_column_is_answered_with_those_there_are() -> None:
    columns = Said("note", f'{FILES_MARK}\n`trips`: 9 rows, columns "km" (int 1..9)')
    items: list[Item] = [ASKED, columns, Called("c", "t['x']"), Returned("c", error=CellError("KeyError", "'x'"))]
    told = Said("note", "There is no 'x'. The columns are: km.")
    assert next_step(items, model=True, steps=20) == Record(told)
    assert next_step([*items, told], model=True, steps=20) == AskModel()


TRACEBACK = """Traceback (most recent call last):
  File "<cell 2>", line 7, in <module>
    total = add(trips)
            ~~~^^^^^^^
  File "/workspace/helpers.py", line 3, in add
    return trips["km"]
  File "/opt/venv/lib/python3.13/site-packages/pandas/core/frame.py", line 4330, in __getitem__
    indexer = self.columns.get_loc(key)
KeyError: 'km'"""


def test_an_error_is_told_by_the_codes_own_lines_and_what_was_wrong() -> None:
    text = report(Returned("c", error=CellError("KeyError", "'km'", TRACEBACK)))
    assert text == "error:\nline 7: total = add(trips)\nline 3: return trips[\"km\"]\nKeyError: 'km'"
    wrong = '  File "<cell 1>", line 1\n    a b\n      ^\nSyntaxError: invalid syntax'
    assert report(Returned("c", error=CellError("SyntaxError", "invalid syntax", wrong))) == f"error:\n{wrong}"


def test_a_report_says_everything_once_and_within_bounds() -> None:
    picture = CardFile("figure-1.png", "image/png", Blob("0" * 64, 10), figure=True, alt="Line chart of revenue")
    cell = Returned("c1", stdout="x" * 50_000, result="42", error=FAILED, files=(picture,), notes=("12 lines dropped",))
    text = report(cell, limit=1_000)
    assert len(text) < 3_000
    parts = (
        "stdout:",
        "characters left out",
        "result:\n42",
        "ZeroDivisionError: division by zero",
        "figure-1.png (Line chart of",
        "12 lines dropped",
    )
    for part in parts:
        assert part in text
    assert "printed nothing" in report(Returned("c1"))


def test_a_report_tells_what_charts_show_in_a_third_of_its_room() -> None:
    charts = tuple(CardFile(f"{n}.png", "image/png", Blob("0" * 64, 1), True, "short", f"chart {n} " * 200) for n in range(9))
    text = report(Returned("c1", files=charts), limit=3_000)
    assert "chart 0" in text and "chart 8" in text and "short" not in text
    assert len(text) < 3_000
