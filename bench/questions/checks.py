"""Whether an answer is right, judged on what the thread shows as the answer: its text, and for a plot the figures with the
words that the sandbox says of them. What code printed on the way does not count: a person would have to look for it.

Fair: numbers may be written in any usual way and rounded; any one of a name's spellings will do. Strict: counts are exact,
every number asked for must be there, and an answer that lists numbers by the dozen is none: somewhere among them is the right.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Given:
    """What came back."""

    text: str
    figures: tuple[str, ...] = ()
    """What each picture shows, in words: kind, title, axes, series."""


Check = Callable[[Given], bool]

_NUMBER = re.compile(r"(?<![\w.,])[-\u2212]?\d+(?:[.,']\d+|[ \u00a0\u2009\u202f]\d{3}(?!\d))*(?:e[+-]?\d+)?", re.IGNORECASE)
"""A blank stands within a number only before three digits; a comma and a blank stand between two."""
_SPARE = 8
"""So many numbers may stand in an answer beside the ones asked for: years, counts, a comparison."""


def readings(token: str) -> set[float]:
    """The values that a written number may have: `1,234` and `1.234` each have two, `1,234.5` one."""
    text = re.sub(r"['   ]", "", token.replace("−", "-")).rstrip(".,")  # noqa: RUF001
    forms = {text.replace(",", ""), text.replace(".", "").replace(",", ".")}
    values = set()
    for form in forms:
        try:
            values.add(float(form))
        except ValueError:
            continue
    return values


def numbers(text: str) -> list[set[float]]:
    """Every number in the text, a date's parts left out, each with its possible values."""
    plain = re.sub(r"\b\d{4}-\d{2}(-\d{2})?\b|\b\d{1,2}[./]\d{1,2}[./]\d{4}\b|\b\d{1,2}:\d{2}(:\d{2})?\b", " ", text)
    return [readings(match[0]) for match in _NUMBER.finditer(plain)]


def number(*expected: float, within: float = 0.005, percent: bool = False) -> Check:
    """All of these are there. Whole numbers exactly, others within this share of themselves (0.005: half a percent).

    `percent`: a share of 12.5 may also be written 0.125.
    """

    def check(given: Given) -> bool:
        found = numbers(given.text)
        return len(found) <= 2 * len(expected) + _SPARE and all(
            any(_same(value, want, within) or (percent and _same(value * 100, want, within)) for one in found for value in one)
            for want in expected
        )

    return check


def _same(value: float, want: float, within: float) -> bool:
    if isinstance(want, int):
        return value == want
    return abs(value - want) <= max(within * abs(want), 0.0051 if abs(want) < 1 else 0.0)


def name(expected: str | Sequence[str], among: Iterable[str] = ()) -> Check:
    """This name (any one of its spellings); of its rivals none, or after it, in the first or last sentence with names."""
    spellings = [expected] if isinstance(expected, str) else list(expected)
    rivals = [rival for rival in among if rival not in spellings]

    def first(sentence: str, names: Sequence[str]) -> int:
        found = [m.start() for n in names if (m := re.search(rf"(?<!\w){re.escape(n)}(?!\w)", sentence, re.IGNORECASE))]
        return min(found, default=len(sentence) + 1)

    def check(given: Given) -> bool:
        sentences = [s for s in re.split(r"(?<=[.!?])\s|\n", given.text) if first(s, [*spellings, *rivals]) <= len(s)]
        listed = [s for s in sentences if first(s, rivals) <= len(s)]
        if not sentences:
            return False
        if len(listed) >= max(2, len(rivals)) and len(sentences) <= len(rivals) + 1 and not _alone(sentences):
            return False  # a table of all of them, and no word on which
        return any(first(s, spellings) < first(s, rivals) for s in (sentences[0], sentences[-1]))

    def _alone(sentences: Sequence[str]) -> bool:
        told = (sentences[0], sentences[-1])
        return any(first(s, spellings) < first(s, rivals) and len(s.split()) >= 5 for s in told)

    return check


def every(*checks: Check) -> Check:
    """All of these hold."""
    return lambda given: all(check(given) for check in checks)


def words(*expected: str) -> Check:
    """All of these stand in the answer, in whatever case."""
    return lambda given: all(re.search(rf"(?<!\w){re.escape(w)}(?!\w)", given.text, re.IGNORECASE) for w in expected)


def plot(kind: str, *about: str, series: Iterable[str] = ()) -> Check:
    """A figure of one of these kinds (`Line|Bar`), whose title, axes or series name one of the words of each `about`
    (`rain|mm`), with each of these series in its legend."""
    wanted = tuple(series)

    def holds(figure: str) -> bool:
        low = figure.lower()
        return (
            re.search(rf"\b({kind}) chart", figure) is not None
            and all(re.search(words, low) for words in about)
            and all(re.search(rf"(?<!\w){re.escape(s.lower())}(?!\w)", low.partition("series ")[2]) for s in wanted)
        )

    return lambda given: any(holds(figure) for figure in given.figures)
