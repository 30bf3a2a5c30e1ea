"""The agent's decision as a table, and what the model reads of a cell."""

import pytest

from bot.agent import LAST_WORD, NO_PROGRESS, AskModel, Finish, Record, RunCell, next_step, report
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
    assert step == Finish("It is about two.", "I stopped after 1 steps; this is what there is.")


def test_the_same_failure_three_times_is_remarked_on_once_and_five_times_ends_it() -> None:
    assert next_step(fails(2), model=True, steps=20) == AskModel()
    assert next_step(fails(3), model=True, steps=20) == Record(Said("note", NO_PROGRESS))
    assert next_step([*fails(3), Said("note", NO_PROGRESS)], model=True, steps=20) == AskModel()
    ended = next_step([*fails(5), Said("note", NO_PROGRESS)], model=True, steps=20)
    assert isinstance(ended, Finish) and "kept failing" in ended.note


def test_another_error_or_other_code_starts_the_count_again() -> None:
    other: list[Item] = [Called("x", "1 / 1"), Returned("x", error=FAILED)]
    assert next_step([*fails(2), *other], model=True, steps=20) == AskModel()


def test_a_report_says_everything_once_and_within_bounds() -> None:
    picture = CardFile("figure-1.png", "image/png", Blob("0" * 64, 10), figure=True, alt="Line chart of revenue")
    cell = Returned("c1", stdout="x" * 50_000, result="42", error=FAILED, files=(picture,), notes=("12 lines dropped",))
    text = report(cell, limit=1_000)
    assert len(text) < 3_000
    parts = ("stdout:", "characters left out", "result:\n42", "Traceback …", "figure-1.png (Line chart of", "12 lines dropped")
    for part in parts:
        assert part in text
    assert "printed nothing" in report(Returned("c1"))


def test_a_report_tells_what_charts_show_in_a_third_of_its_room() -> None:
    charts = tuple(CardFile(f"{n}.png", "image/png", Blob("0" * 64, 1), True, "short", f"chart {n} " * 200) for n in range(9))
    text = report(Returned("c1", files=charts), limit=3_000)
    assert "chart 0" in text and "chart 8" in text and "short" not in text
    assert len(text) < 3_000
