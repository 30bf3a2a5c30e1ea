"""The way out of a sandbox: closed unless the operator opens it, and then as wide as that and no wider."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import Egress, Limits, Session, Spec
from sandbox.egress import Gateway, Line, Rules
from sandbox.runner import wire
from tests.cells import checkpoint, from_bytes, run
from tests.engine import IMAGE, docker_engine, missing
from tests.fakes.web import FakeIndex, FakeSite

MIB = 1 << 20
LIMITS = Limits(seconds=30, grace=0.5, memory=512 * MIB, workspace=128 * MIB)

# -- which hosts, which addresses


@pytest.mark.parametrize(
    ("hosts", "host", "port", "allowed"),
    [
        (("example.org",), "example.org", 443, True),
        (("example.org",), "EXAMPLE.org.", 443, True),
        (("example.org",), "example.org", 80, False),
        (("example.org",), "www.example.org", 443, False),
        (("example.org",), "example.org.evil.com", 443, False),
        (("example.org",), "notexample.org", 443, False),
        (("*.example.org",), "a.b.example.org", 443, True),
        (("*.example.org",), "example.org", 443, False),
        (("*.example.org",), "badexample.org", 443, False),
        (("example.org:8443",), "example.org", 8443, True),
        (("example.org:8443",), "example.org", 443, False),
        (("*",), "anything.at.all", 443, True),
        (("*",), "anything.at.all", 22, False),
        (("10.0.0.7:5432",), "10.0.0.7", 5432, True),
        (("[fd00::7]",), "fd00:0:0::7", 443, True),
        (("10.0.0.7",), "167772167", 443, False),
        ((), "example.org", 443, False),
    ],
)
def test_a_host_is_allowed_by_its_name_and_port(hosts: tuple[str, ...], host: str, port: int, allowed: bool) -> None:
    assert Rules(hosts).allow(host, port) is allowed


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "172.17.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "240.0.0.1",
        ),
        *("::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:a00:1", "2002:7f00:1::", "64:ff9b::a00:1"),
        *("2001:0:0:0:0:0:f5ff:fffe", "fd00:ec2::254", "fe80::1%eth0"),
    ],
)
def test_no_name_leads_to_a_private_address(address: str) -> None:
    assert not Rules(("*", "example.org", "10.0.0.7")).lead_to(address, 443)


def test_a_private_address_is_reached_where_it_is_named_itself() -> None:
    rules = Rules(("wiki.local", "10.0.0.7", "[fd00::7]:8443"))
    assert rules.lead_to("10.0.0.7", 443) and rules.lead_to("fd00::7", 8443) and rules.lead_to("1.1.1.1", 443)
    assert not rules.lead_to("10.0.0.8", 443) and not rules.lead_to("10.0.0.7", 80) and not rules.lead_to("fd00::7", 443)


@pytest.mark.parametrize(
    "host", ["", "https://example.org", "exa mple.org", "example.org:0", "example.org:99999", "a*.org", "x/y"]
)
def test_what_is_no_host_is_refused_with_words(host: str) -> None:
    with pytest.raises(ValueError, match="neither a host"):
        Egress((host,))


# -- through a real sandbox


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeSite]:
    if why := await missing():
        pytest.skip(why)
    async with FakeSite() as served:
        trusted = tmp_path / "trusted.pem"
        trusted.write_bytes(served.authority.cert_pem.bytes())
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        yield served


async def said(session: Session, code: str) -> str:
    """What a cell printed; it must not have failed."""
    outcome = await run(session, code)
    assert outcome.raised is None, outcome.raised
    return outcome.stdout


async def listed(folder: Path) -> list[str]:
    return [path.name async for path in anyio.Path(folder).iterdir()]


CRAWL = """
import requests
from bs4 import BeautifulSoup
seen, url = [], {url!r} + "/"
while url:
    page = BeautifulSoup(requests.get(url).text, "lxml")
    seen.append(page.title.text)
    link = page.find("a")
    url = link and {url!r} + link["href"]
print(seen)
"""
CARRY = """
import hashlib, requests
data = requests.get({url!r} + "/large/20000000").content
sent = requests.post({url!r} + "/digest", data=data).text
print(len(data), sent == hashlib.sha256(data).hexdigest(), hashlib.sha256(data).hexdigest())
"""
MANY = """
import requests
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(24) as pool:
    print(set(pool.map(lambda n: requests.get({url!r} + f"/large/{{(n + 1) * 160_000}}").content[:16], range(48))))
"""


@pytest.mark.engine
async def test_an_allowed_site_is_crawled_and_files_pass_both_ways(site: FakeSite) -> None:
    spec = Spec(IMAGE, LIMITS, egress=Egress((f"127.0.0.2:{site.port}",)))
    async with docker_engine(spec=spec) as engine:
        session = await engine.session("thread", spec)
        outcome = await run(session, CRAWL.format(url=site.url))
        assert outcome.stdout == "['Page 0', 'Page 1', 'Page 2', 'Page 3']\n"
        assert outcome.ended.notes[0].startswith("reached 127.0.0.2 (")
        assert await said(session, f"print(pd.read_html({site.url + '/page/2'!r})[0].n[0])") == "2\n"
        digest = hashlib.sha256(b"0123456789abcdef" * 1_250_000).hexdigest()
        assert await said(session, CARRY.format(url=site.url)) == f"20000000 True {digest}\n"
        assert await said(session, MANY.format(url=site.url)) == "{b'0123456789abcdef'}\n"
        assert await said(session, "import os; os._exit(0)") == ""
        assert await said(session, CRAWL.format(url=site.url)), "a new Python knows the way as well"


@pytest.mark.engine
async def test_a_rule_that_is_withdrawn_is_withdrawn_from_what_runs_on(site: FakeSite) -> None:
    open_, closed = (
        Spec(IMAGE, LIMITS, egress=Egress((f"127.0.0.2:{site.port}",))),
        Spec(IMAGE, LIMITS),
    )
    fetch = f"import requests; print(requests.get({site.url!r}).status_code)"
    name = f"test-{os.urandom(6).hex()}"
    async with docker_engine(name, spec=closed) as engine:
        assert await said(await engine.session("thread", open_), fetch) == "200\n"
    async with docker_engine(name, spec=closed) as engine:
        session = await engine.session("thread", closed)
        outcome = await run(session, fetch)
        assert session.origin == "adopted" and outcome.raised is not None
        await session.close()
    assert site.asked == ["/"]


@pytest.mark.engine
async def test_without_a_rule_there_is_no_way_out_and_that_is_said(site: FakeSite) -> None:
    spec = Spec(IMAGE, LIMITS)
    async with docker_engine(spec=spec) as engine:
        session = await engine.session("thread", spec)
        for code in ("import requests; requests.get('https://example.org')", "pd.read_csv('https://example.org/a.csv')"):
            raised = (await run(session, code)).raised
            assert raised is not None
            assert "This sandbox has no network: attach the data to the thread as a file instead." in raised.message
        assert await said(session, "import os; print([n for n in os.environ if 'proxy' in n.lower()])") == "[]\n"
        assert await said(session, "print(open('/proc/net/tcp').read().count('\\n'))") == "1\n", "nothing listens"
    assert site.asked == []


_FRAMES = st.tuples(st.sampled_from(sorted(wire.CONNECTION)), st.integers(0, 3), st.binary(max_size=400))


@given(st.lists(_FRAMES | st.just((wire.CARRY, 0, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")), max_size=60))
def test_no_order_of_frames_upsets_the_host(frames: list[tuple[int, int, bytes]]) -> None:
    async def main() -> None:
        sent: list[tuple[int, int, bytes]] = []

        async def send(type: int, op: int, payload: bytes) -> None:
            sent.append((type, op, payload))

        gateway = Gateway(Egress(), None, send)
        for type, op, payload in frames:
            gateway.take(wire.Frame(type, op, payload))
            await asyncio.sleep(0)
        await gateway.close()
        assert not gateway._lines and {type for type, _, _ in sent} <= wire.CONNECTION

    asyncio.run(main())


async def test_more_than_a_connection_may_send_ends_it() -> None:
    async def send(*_: object) -> None:
        await asyncio.Event().wait()

    line = Line(send, 1)
    for _ in range(9):
        line.take(wire.Frame(wire.CARRY, 1, bytes(wire.REACH // 4)))
    assert line.over and line._waiting <= wire.REACH * 5 // 4


# -- packages


@pytest.mark.engine
async def test_pip_installs_for_the_thread_and_for_good_and_the_next_thread_pays_nothing(tmp_path: Path) -> None:
    if why := await missing():
        pytest.skip(why)
    async with FakeIndex(login="reader:secret") as index:
        index.add("blue-whale", "1.2", {"blue_whale.py": "class Whale:\n    size = 30"}, requires="krill>=2")
        index.add("krill", "2.0", {"krill.py": "small = True"})
        spec = Spec(IMAGE, LIMITS, egress=Egress((), (index.url,)))
        async with docker_engine(spec=spec, packages=tmp_path) as engine:
            session = await engine.session("one", spec)
            hint = (await run(session, "import blue_whale")).raised
            assert hint is not None and "!pip install blue_whale" in hint.message
            outcome = await run(session, "!pip install blue-whale\nimport blue_whale, krill; w = blue_whale.Whale()\nw.size")
            assert outcome.value == "30", outcome.stdout
            assert outcome.ended.notes[0].startswith("fetched 2 packages (") and outcome.names == []
            assert "secret" not in await said(session, "import os; print(dict(os.environ))\n!pip config list\n!pip debug")
            assert "requests" in (await run(session, "!pip install 'requests<2'")).stdout, "what the image holds stays as it is"
            _, blob = await checkpoint(session)
            await session.close()
            session = await engine.session("one", spec, from_bytes(blob))
            assert await said(session, "print(w.size, krill.small)") == "30 True\n"
            other = await engine.session("two", spec)
            asked = len(index.asked)
            outcome = await run(other, "!pip install krill")
            assert "1 of them kept from before" in outcome.ended.notes[0]
            assert [path for path in index.asked[asked:] if path.startswith("/files")] == []
            assert (await run(other, "import blue_whale")).raised is not None, "what one thread has installed is its own"
            raised = (await run(other, "import requests; requests.get('https://example.org')")).raised
            assert raised is not None and "Allowed: no host" in raised.message


@pytest.mark.engine
async def test_without_a_rule_pip_says_so_at_once(tmp_path: Path) -> None:
    if why := await missing():
        pytest.skip(why)
    spec = Spec(IMAGE, LIMITS)
    async with docker_engine(spec=spec, packages=tmp_path) as engine:
        session = await engine.session("one", spec)
        outcome = await run(session, "!pip install krill")
        assert "No matching distribution found for krill" in outcome.stdout + outcome.stderr
        assert await listed(tmp_path) == []


def test_a_connection_has_room_for_what_it_may_send_at_once() -> None:
    assert wire.REACH <= wire.MAX_PAYLOAD and wire.REACH * wire.CONNECTIONS <= 16 * MIB
