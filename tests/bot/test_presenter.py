"""The card of a turn: a function of its record and the moment."""

from bot.presenter import Live, card, outcome_text
from bot.types import Asker, Blob, Called, CardFile, CellError, Item, Place, Question, Returned, Said, Step, Table, ThreadRef

QUESTION = Question("q1", ("t:1",), ThreadRef("t", "p", "1"), Asker("ada"), Place("w", "c"), "how many?")
PNG = CardFile("figure-1.png", "image/png", Blob("a" * 64, 10), figure=True)
ASKED = Said("user", "how many?")


def test_while_it_works_there_is_a_stop_and_no_footer() -> None:
    working = card(QUESTION, [ASKED], Live(text="Let me", running=Step("1 + 1")), revision=1, elapsed=1.0)
    assert (working.text, working.actions, working.footer, working.final) == ("Let me", ("stop",), "", False)
    assert working.steps == (Step("1 + 1"),)


def test_a_finished_answer_has_its_text_files_steps_and_footer() -> None:
    items: list[Item] = [
        ASKED,
        Called("c", "2", text="I count."),
        Returned("c", result="2", seconds=0.5, files=(PNG,)),
        Said("assistant", "Two."),
    ]
    done = card(QUESTION, items, Live(state="done"), revision=3, elapsed=2.0)
    assert (done.text, done.files, done.actions, done.footer) == ("Two.", (PNG,), ("code",), "1 cell · 2.0 s")
    assert done.steps[0].result == "2"


def test_a_file_made_twice_is_delivered_once_as_it_last_was() -> None:
    newer = CardFile("figure-1.png", "image/png", Blob("b" * 64, 11))
    items: list[Item] = [ASKED, Called("a", "1"), Returned("a", files=(PNG,)), Called("b", "2"), Returned("b", files=(newer,))]
    assert card(QUESTION, items, Live(state="done"), revision=1, elapsed=0).files == (newer,)


def test_a_persons_own_cells_are_told_by_their_output() -> None:
    table = Table(("a",), (("1",),), 1)
    items: list[Item] = [
        Called("a", "print(1)"),
        Called("b", "1/0"),
        Called("c", "df"),
        Returned("a", stdout="1\n"),
        Returned("b", error=CellError("ZeroDivisionError", "division by zero", "Traceback")),
        Returned("c", result="   a\n0  1", table=table),
    ]
    done = card(QUESTION, items, Live(state="done"), revision=1, elapsed=0)
    assert done.text == "```\n1\n```\n\nThe code stopped with an error:\n```\nZeroDivisionError: division by zero\n```"
    assert done.table == table
    assert [step.state for step in done.steps] == ["ok", "failed", "ok"]


def test_notes_are_shown_once_and_only_those_for_a_person() -> None:
    items: list[Item] = [
        ASKED,
        Said("note", "for the model"),
        Said("note", "x.csv is empty.", shown=True),
        Called("a", "1"),
        Returned("a", notes=("n",)),
    ]
    assert card(QUESTION, items, Live(state="done"), revision=1, elapsed=0).notes == ("x.csv is empty.", "n")


def test_a_stopped_turn_keeps_what_was_said() -> None:
    live = Live(state="stopped", text="So far", closing="Stopped by ada.")
    stopped = card(QUESTION, [ASKED], live, revision=1, elapsed=0)
    assert stopped.text == "So far\n\nStopped by ada." and stopped.final


def test_output_that_holds_fences_stays_in_its_own() -> None:
    assert outcome_text(Returned("a", stdout="````")) == "`````\n````\n`````"
