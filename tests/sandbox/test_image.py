"""What the sandbox image holds, used for real under the hardened profile, in one container."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox import Engine, Session
from tests.cells import run
from tests.sandbox.conftest import SPEC

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]

ROOT = Path(__file__).parents[2]


def uses(file: str) -> dict[str, str]:
    """The cells of a file under libraries/, by the library that each is about."""
    _, *cells = (ROOT / "tests/sandbox/libraries" / file).read_text().split("\n# %% ")
    return dict(cell.split("\n", 1) for cell in cells)


def wanted(file: str) -> set[str]:
    """The libraries that a list of requirements names."""
    lines = (line for line in (ROOT / file).read_text().splitlines() if line and not line.startswith(("#", "-")))
    return {re.split(r"[^\w.-]", line)[0] for line in lines}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session(shared_engine: Engine) -> AsyncIterator[Session]:
    opened = await shared_engine.session("image", SPEC)
    yield opened
    await opened.close()


async def failing(session: Session, cells: dict[str, str]) -> dict[str, str]:
    """What went wrong with each library whose use did not end well."""
    limits = replace(SPEC.limits, seconds=60)
    outcomes = {name: await run(session, code, limits) for name, code in cells.items()}
    return {
        name: outcome.raised.traceback if outcome.raised else outcome.ended.detail
        for name, outcome in outcomes.items()
        if outcome.ended.reason != "ok"
    }


async def test_every_library_works_under_the_hardened_profile(session: Session) -> None:
    cells = uses("slim.py")
    assert set(cells) == wanted("requirements-sandbox.in")
    assert await failing(session, cells) == {}


async def test_scripts_of_the_world_are_drawn(session: Session) -> None:
    code = """
import warnings
def drawn(text, **style):
    figure = plt.figure(figsize=(4, 1)); figure.text(0.1, 0.4, text, size=30, **style); figure.canvas.draw()
    ink = np.asarray(figure.canvas.buffer_rgba())[..., 0] < 128; plt.close(figure)
    rows, columns = np.nonzero(ink)
    return ink[rows.min():rows.max() + 1, columns.min():columns.max() + 1]
with warnings.catch_warnings():
    warnings.simplefilter('ignore'); box = drawn(chr(0xF1234))
warnings.simplefilter('error')  # matplotlib warns of a glyph that no font has
signs = {'Chinese': '中', 'Japanese': 'か', 'Korean': '한', 'Arabic': 'ب', 'Hebrew': 'ש', 'Hindi': 'क', 'Thai': 'ก'}
signs |= {'Bengali': 'ক', 'face': chr(0x1F600), 'rocket': chr(0x1F680), 'Greek': 'λ', 'Cyrillic': 'ж'}
styles = [{}, {'weight': 'bold'}, {'family': 'serif'}, {'family': 'Arial'}]
"""
    await run(session, code)
    same = "[(a, b) for style in styles for d in [{name: drawn(s, **style) for name, s in signs.items()} | {'box': box}]"
    same += " for a in d for b in d if a < b and np.array_equal(d[a], d[b])]"
    outcome = await run(session, same)
    assert (outcome.raised, outcome.value) == (None, "[]")
    joined = "drawn('بب').shape[1] < 1.6 * drawn('ب').shape[1], drawn('क्ष').shape[1] < 1.2 * drawn('क').shape[1]"
    assert (await run(session, joined)).value == "(True, True)"
