"""What comes out of a cell: files by what they are, in one container that the whole module shares."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from sandbox import Engine, Progress, Session
from tests.cells import Outcome, chunks, get
from tests.cells import run as run_cell
from tests.sandbox.conftest import SPEC

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session(shared_engine: Engine) -> AsyncIterator[Session]:
    opened = await shared_engine.session("outputs", SPEC)
    yield opened
    await opened.close()


async def run(session: Session, code: str) -> Outcome:
    outcome = await run_cell(session, code, replace(SPEC.limits, files=20, seconds=60))
    assert outcome.ended.reason in ("ok", "raised"), outcome.ended
    return outcome


# -- files


async def test_a_file_is_what_its_first_bytes_say(session: Session) -> None:
    code = """
import io, subprocess, zipfile
open('page.png', 'w').write('<!doctype html><script>1</script>')
open('drawing', 'w').write('<svg xmlns="http://www.w3.org/2000/svg"/>')
with zipfile.ZipFile('data.csv', 'w') as archive: archive.writestr('a', 'b')
pd.DataFrame({'a': [1]}).to_excel('book.xlsx')
subprocess.run('ffmpeg -v error -f lavfi -i sine=d=0.1 s.wav -f lavfi -i color=s=16x16:d=0.1 -shortest v.mp4', shell=True)
"""
    found = {file.name: file.media_type for file in (await run(session, code)).files}
    assert found == {
        "page.png": "text/html",
        "drawing": "image/svg+xml",
        "data.csv": "application/zip",
        "book.xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "s.wav": "audio/wav",
        "v.mp4": "video/mp4",
    }


async def test_a_file_that_is_put_is_what_its_first_bytes_say(session: Session) -> None:
    assert (await session.put("photo.jpg", 9, chunks(b"%PD", b"F-1.7\n"))).media_type == "application/pdf"


# -- what a chart shows, in words


async def test_each_kind_of_chart_is_told_by_its_extremes(session: Session) -> None:
    code = """
import seaborn as sns
x = np.arange(4)
def draw(): return plt.figure().subplots()
draw().plot(pd.date_range('2026-01-31', periods=3), [1.5, np.nan, 9])
pd.Series([3, 1], index=pd.period_range('2025-11', periods=2, freq='M'), name='sales').plot(ax=draw())
axes = draw(); axes.scatter(x, x ** 2, label='north'); axes.axhline(99); axes.axvline(-99)
pd.DataFrame({'u': [1, 7], 'v': [4, 2]}, index=['Jan', 'Feb']).plot.bar(ax=draw())
draw().bar(pd.date_range('2026-03-01', periods=3), [2, 8, 1])
draw().hist([1, 2, 2, 2, 5, 9], bins=4)
draw().pie([1, 3], labels=['tea', 'coffee'])
sns.boxplot(pd.DataFrame({'g': list('aaaab'), 'v': [1, 2, 3, 40, 5]}), x='v', y='g', ax=draw())
sns.heatmap(pd.DataFrame([[1, 2], [3, 4.5]], index=['r1', 'r2'], columns=['c1', 'c2']), ax=draw())
sns.lineplot(pd.DataFrame({'x': [0, 1] * 2, 'y': [1, 2, 5, 8], 'who': list('ppqq')}), x='x', y='y', hue='who', ax=draw())
axes = draw(); axes.boxplot([[1, 2]]); axes.clear(); axes.barh(['one', 'two'], [10, 20])
axes = draw(); axes.errorbar(x, -x, yerr=1, label='measured'); axes.axvspan(1, 2)
"""
    assert [file.alt for file in (await run(session, code)).files] == [
        "Line chart; lowest 1.5 at 2026-01-31, highest 9 at 2026-02-02",
        "Line chart: series sales; sales lowest 1 at 2025-12, highest 3 at 2025-11",
        "Scatter chart: series north; north lowest 0 at 0, highest 9 at 3",
        "Bar chart: series u, v; u highest Feb 7, lowest Jan 1; v highest Jan 4, lowest Feb 2",
        "Bar chart; highest 2026-03-02 8, lowest 2026-03-03 1",
        "Histogram; from 1 to 9, most (4) between 1 and 3",
        "Pie chart: series tea, coffee; largest coffee 75.0%, smallest tea 25.0%",
        "Box plot: x v, y g; a median 2.5; b median 5",
        "Heatmap; lowest 1 at r1, c1; highest 4.5 at r2, c2",
        "Line chart: x x, y y; series p, q; p lowest 1 at 0, highest 2 at 1; q lowest 5 at 0, highest 8 at 1",
        "Bar chart; highest two 20, lowest one 10",
        "Line chart: series measured; measured lowest -3 at 3, highest 0 at 0",
    ]


async def test_facts_say_more_than_alt_text_and_both_are_bounded(session: Session) -> None:
    code = """
figure, (left, right) = plt.subplots(1, 2); figure.suptitle('Both')
left.plot([3, 1, 2], label='a'); left.set_title('L')
for number in range(40): right.plot([number] * 50, label='long name ' * 9 + str(number))
right.legend()
"""
    (file,) = (await run(session, code)).files
    said = (
        "'Both'. Line chart 'L': series a. a: 3 points, x from 0 to 2, first 3 at 0, last 2 at 2, lowest 1 at 1, highest 3 at 0"
    )
    assert file.facts.startswith(said)
    assert 500 < len(file.alt) <= 600 < len(file.facts) <= 4000


async def test_no_code_of_the_persons_runs_for_a_description_and_what_is_odd_is_left_out(session: Session) -> None:
    code = """
from matplotlib.ticker import FuncFormatter
calls = []
axes = plt.figure().subplots()
axes.bar([1, 2], [3, 4])
axes.xaxis.set_major_formatter(FuncFormatter(lambda value, at: calls.append(value) or f'n{value:.0f}'))
plt.savefig('/tmp/drawn.png'); drawn = len(calls); plt.savefig('again.png'); twice = len(calls)
plt.close()
plt.figure().add_subplot(projection='3d').plot([1, 2], [1, 2], [1, 2])
plt.figure().subplots().plot([], [])
plt.figure()
axes = plt.figure().subplots(); axes.set_title('Odd'); axes.plot([1, 2]); axes.lines[0].get_xdata = None
"""
    outcome = await run(session, code)
    assert {file.name: file.alt for file in outcome.files if file.name == "again.png"} == {
        "again.png": "Bar chart; highest n2 4, lowest n1 3"
    }
    assert [file.alt for file in outcome.files if file.figure] == ["3-D chart", "Chart", "Figure"], "an empty one is none"
    assert (await run(session, "twice - drawn == drawn or (drawn, twice)")).value == "True"


# -- what is not installed


async def test_a_missing_import_is_answered_with_the_nearest_that_is_there(session: Session) -> None:
    lead = "is not installed, and there is no network here to install it from"
    wanted = {
        "import polars as pl": f"polars {lead}: use pandas instead.",
        "import statsmodels.api": f"statsmodels {lead}: use scipy.stats instead.",
        "import numpi": f"numpi {lead}: use numpy instead.",
        "import httpx": "httpx is not installed, and this sandbox has no network: attach the data",
        "import moviepy": f"moviepy {lead}: run the ffmpeg program with subprocess.",
        "pd.DataFrame({'a': [1]}).to_xarray()": f"xarray {lead}: use numpy instead.",
        "import zzqx": f"zzqx {lead}: write it with what is there",
    }
    for code, said in wanted.items():
        raised = (await run(session, code)).raised
        assert raised is not None and said in raised.message
        assert raised.traceback.splitlines()[-1].startswith(said)


async def test_a_missing_part_of_what_is_installed_and_another_error_get_no_advice(session: Session) -> None:
    for code, message in (("import numpy.nothing", "No module named 'numpy.nothing'"), ("raise ModuleNotFoundError('m')", "m")):
        raised = (await run(session, code)).raised
        assert raised is not None and raised.message == message


# -- progress


async def test_a_bar_is_progress_while_it_moves_and_one_line_at_the_end(session: Session) -> None:
    code = """
import time
from tqdm.auto import tqdm
for n in tqdm(range(40), desc='Reading', mininterval=0): time.sleep(0.02)
"""
    outcome = await run(session, code)
    told = [output for output in outcome.outputs if isinstance(output, Progress)]
    assert {output.label for output in told} == {"Reading"}
    assert [output.fraction for output in told] == sorted({output.fraction for output in told})
    assert any(0 < output.fraction < 1 and output.eta is not None for output in told)
    assert outcome.stderr.count("%") == 1 and "40/40" in outcome.stderr


async def test_a_flood_of_bars_is_paced_and_long_output_does_not_hide_one(session: Session) -> None:
    code = """
import time
print('x' * 300_000)
for n in range(20_000): print(f'\\r{n / 200:.0f}%', end='', flush=True)
time.sleep(0.5)
"""
    outcome = await run(session, code)
    told = [output.fraction for output in outcome.outputs if isinstance(output, Progress)]
    assert told and told[-1] == 1.0
    assert len(told) <= outcome.ended.seconds / 0.2 + 1


# -- what is displayed


async def test_what_ipython_displays_becomes_files_or_text(session: Session) -> None:
    code = """
from IPython.display import HTML, JSON, SVG, Audio, Image, Latex, Markdown, Video
from PIL import Image as Picture
Picture.new('RGB', (4, 4)).save('/tmp/p.jpg')
display(Audio(np.sin(np.arange(800)), rate=8000), HTML('<b>bold</b>'), SVG('<svg xmlns="http://www.w3.org/2000/svg"/>'))
display(Markdown('**mark**'), Latex('$x^2$'), JSON({'a': [1]}), Image('/tmp/p.jpg'), Video(url='http://example.org/v.mp4'))
Video('v.mp4')
"""
    await session.put("v.mp4", 24, chunks(b"\0\0\0\x18ftypisom" + bytes(12)))
    outcome = await run(session, code)
    kinds = [file.media_type for file in outcome.files]
    assert outcome.names[-1] == "v.mp4"  # the one that was there, not a copy
    assert kinds == ["audio/wav", "text/html", "image/svg+xml", "image/jpeg", "video/mp4"]
    assert outcome.stdout.startswith('**mark**\n$x^2$\n{\n "a": [\n  1\n ]\n}\n<IPython.core.display.Video object>')
    assert outcome.result is None


async def test_what_has_a_page_and_no_text_comes_as_the_page(session: Session) -> None:
    code = "class Badge:\n    def _repr_html_(self): return '<b>gold</b>'\nBadge()"
    outcome = await run(session, code)
    assert [file.media_type for file in outcome.files] == ["text/html"] and outcome.result is None
    assert await get(session, outcome.files[0].name) == b"<b>gold</b>"
    (styled,) = (await run(session, "pd.DataFrame({'a': [1]}).style.highlight_max()")).files
    assert b"<table" in await get(session, styled.name)


async def test_a_table_says_what_its_columns_hold(session: Session) -> None:
    await run(session, "df = pd.DataFrame({'n': [1, 2], 'x': [0.5, None], 't': pd.to_datetime(['2026-01-01'] * 2)})")
    result = (await run(session, "df.set_index(pd.Index([7, 8], name='id'))")).result
    assert result is not None and result.table is not None
    assert result.table.columns == ("id", "n", "x", "t")
    assert result.table.types == ("int64", "int64", "float64", "datetime64[us]")


async def test_plotly_charts_are_told_by_their_extremes(session: Session) -> None:
    code = """
import plotly.express as px, plotly.graph_objects as go
df = pd.DataFrame({'day': pd.date_range('2026-01-01', periods=4), 'sales': [3, 9, 1, 4], 'shop': list('aabb')})
px.line(df, x='day', y='sales', color='shop', title='Sales').show()
go.Figure(go.Bar(y=['p', 'q'], x=[5, 2], orientation='h')).show()
go.Figure(go.Pie(labels=['r', 's'], values=[1, 2])).show()
px.imshow([[1, 2], [3, 4]])
"""
    assert [file.alt for file in (await run(session, code)).files] == [
        "Interactive line chart 'Sales': x day, y sales; series a, b; a lowest 3 at 2026-01-01, highest 9 at 2026-01-02;"
        " b lowest 1 at 2026-01-03, highest 4 at 2026-01-04",
        "Interactive bar chart; lowest 2 at q, highest 5 at p",
        "Interactive pie chart; lowest 1 at r, highest 2 at s",
        "Interactive heatmap chart",
    ]


# -- limits say so when they bite


async def test_what_a_limit_takes_is_said(session: Session) -> None:
    few = replace(SPEC.limits, files=2, output=1000)
    code = """
for n in range(5): plt.figure().subplots().plot([n])
plt.savefig('mine.svg')
for n in range(2000): print(n)
pd.DataFrame([range(35)] * 30)
"""
    outcome = await run_cell(session, code, few)
    assert (len(outcome.files), outcome.result is not None and outcome.result.table is not None) == (2, True)
    notes = outcome.ended.notes
    assert "3 more figures were drawn but not kept: a cell may have 2" in notes
    assert "the table has 35 columns, of which the first 20 are shown" in notes
    assert any(re.fullmatch(r"1 more file, largest [\d.]+ KB, kept in the workspace", note) for note in notes)
    (lines,) = (note for note in notes if "lines dropped" in note)
    said = sum(line.isdigit() for line in outcome.stdout.splitlines())
    assert abs(2000 - said - int(lines.split()[0].replace(",", ""))) <= 2  # a line that was cut in two
    assert outcome.result is not None and "[30 rows x 35 columns]" in outcome.result.text
