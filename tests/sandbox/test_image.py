"""What the sandbox image holds, used for real under the hardened profile, in one container."""

import os
import re
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox import Engine, Limits, SandboxDown, Session, Spec
from tests.cells import run
from tests.engine import docker_engine
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


@pytest.fixture(scope="module")
def larger() -> str:
    """The image `standard` as it would be built from what lies here."""
    inputs = ". scripts/setup.sh && python3 scripts/engine.py hash $(image_inputs standard)"
    version = subprocess.run(["sh", "-c", inputs], cwd=ROOT, env=os.environ | {"root": "."}, capture_output=True, check=True)
    return f"cellmate-standard:{version.stdout.decode().strip()}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standard(larger: str) -> AsyncIterator[Session]:
    """In the larger image, as an operator sets it up."""
    spec = Spec(larger, Limits())
    async with docker_engine(spec=spec) as engine:
        try:
            built = (await engine.about()).image is not None
        except SandboxDown as down:
            pytest.skip(str(down))
        if not built:
            pytest.skip(f"the image {larger} is not built; type scripts/image standard")
        yield await engine.session("standard", spec)


async def failing(session: Session, cells: dict[str, str]) -> dict[str, str]:
    """What went wrong with each library whose use did not end well."""
    limits = replace(SPEC.limits, seconds=120)
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


@pytest.mark.timeout(600)
async def test_every_library_of_standard_works_too(standard: Session) -> None:
    cells = uses("standard.py")
    assert set(cells) == wanted("requirements-sandbox-standard.in")
    assert await failing(standard, uses("slim.py") | cells) == {}


async def test_in_standard_charts_and_maps_come_as_pages(standard: Session) -> None:
    for code in (
        "import altair\naltair.Chart(pd.DataFrame({'a': [1], 'b': [2]})).mark_point().encode(x='a', y='b')",
        "pd.DataFrame({'a': [1]}).style.highlight_max()",
        "import folium\nfolium.Map(location=[52.5, 13.4])",
        "from bokeh.plotting import figure\nplot = figure(); plot.line([1, 2], [3, 4]); plot",
    ):
        outcome = await run(standard, code)
        assert ([file.media_type for file in outcome.files], outcome.result) == (["text/html"], None), code


@pytest.mark.timeout(600)
async def test_in_standard_a_plotly_chart_comes_as_a_picture_too(standard: Session) -> None:
    outcome = await run(standard, "import plotly.express as px\npx.bar(x=['a', 'b'], y=[1, 2], title='Two bars')")
    assert [(file.name, file.figure, file.media_type) for file in outcome.files] == [
        ("two-bars.png", True, "image/png"),
        ("two-bars.html", False, "text/html"),
    ]
    assert outcome.files[0].alt == outcome.files[1].alt != ""


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
