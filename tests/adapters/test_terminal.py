"""What a terminal shows on its one line while a turn works."""

from adapters.terminal import _doing
from bot.types import Card, Progress, Step


def test_progress_is_on_the_line() -> None:
    step = Step("x", progress=Progress(0.3, 70.0, "Reading"))
    assert _doing(Card("t", 1, "working", steps=(step,), elapsed=4.0)) == (
        "Working… step 1, 4 s, Reading ▰▰▰▱▱▱▱▱▱▱ 30%, 1 min 10 s left"
    )
    assert _doing(Card("t", 1, "working", elapsed=4.0)) == "Working… step 1, 4 s"
