"""What comes out of a cell: files by what they are, in one container that the whole module shares."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from sandbox import Engine, Session
from tests.cells import Outcome, chunks
from tests.cells import run as run_cell
from tests.sandbox.conftest import SPEC

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session(shared_engine: Engine) -> AsyncIterator[Session]:
    opened = await shared_engine.session("outputs", SPEC)
    yield opened
    await opened.close()


async def run(session: Session, code: str) -> Outcome:
    return await run_cell(session, code, replace(SPEC.limits, files=20))


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
