"""The page in a real browser: what somebody without any account sees."""

import asyncio
import re
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.bot_process import BotProcess, running_bot
from tests.fakes.model import Code, ScriptedModel

CHROMIUM = shutil.which("chromium")
ARTEFACTS = Path(__file__).parents[1] / "artefacts"
SECONDS = 30_000
"""Milliseconds after which what has not come is missing."""
expect.set_options(timeout=SECONDS)

pytestmark = [
    pytest.mark.engine,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("page"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: apt-get install chromium"),
]

CSV = b"month,revenue\n1,10\n2,30\n3,20\n"
PLOT = 'df = pd.read_csv("sales.csv")\ndf.plot(x="month", y="revenue", title="Revenue by month")\nprint(df.revenue.sum())'
STANDARD = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}


@dataclass
class Place:
    """One bot with a page and a model, and a browser."""

    bot: BotProcess
    model: ScriptedModel
    browser: Browser
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def invitation(self) -> str:
        """The address that the bot prints once it can be opened."""
        for _ in range(600):
            if found := re.findall(rf"Open ({self.address}/\?token=\S+)", self.bot.output):
                return str(found[-1])
            await asyncio.sleep(0.05)
        raise AssertionError(f"no address in 30 s:\n{self.bot.output}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"CELLMATE_WEB_PORT": str(port), "CELLMATE_WEB_ENABLED": "true", "CELLMATE_FILE": "8", "CELLMATE_POOL": "1"}
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(ScriptedModel())
        bot = await stack.enter_async_context(running_bot(tmp_path_factory.mktemp("home"), {**settings, **model.env}))
        driver = await stack.enter_async_context(async_playwright())
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        stack.push_async_callback(browser.close)
        yield Place(bot, model, browser, port)


Open = Callable[..., Awaitable[Page]]


@pytest_asyncio.fixture(loop_scope="module")
async def opened(place: Place) -> AsyncIterator[Open]:
    """Opens the page as a person does, in a browser profile of the test's own. Nothing may go wrong in its scripts, and it asks
    nobody but the bot for anything."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    async def open_page(**options: Any) -> Page:
        context = await place.browser.new_context(**{"viewport": {"width": 1180, "height": 860}, **options})
        contexts.append(context)
        page = await context.new_page()
        page.set_default_timeout(SECONDS)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(f"a dialog: {dialog.message}"))
        context.on("request", lambda request: None if request.url.startswith(place.address) else wrong.append(request.url))
        await page.goto(await place.invitation())
        await expect(page.get_by_role("heading", name="Ask a question about a file.")).to_be_visible()
        return page

    yield open_page
    for context in contexts:
        await context.close()
    assert wrong == []


async def ask(page: Page, text: str) -> None:
    await page.get_by_label("Your question").fill(text)
    await page.get_by_role("button", name="Send").click()


async def demo(page: Page) -> None:
    """The demo's thread: that of an earlier test where there is one."""
    await expect(page.locator("#threads")).to_have_attribute("data-shown", re.compile("."))
    earlier = page.locator("#threads a", has_text="Which region's revenue")
    if await earlier.count():
        await page.goto(f"{page.url.partition('#')[0]}{await earlier.first.get_attribute('href')}")
    else:
        await page.get_by_role("button", name="Run the demo").click()
    await answered(page, "West grew most")


async def answered(page: Page, words: str) -> None:
    await expect(page.locator(".answer").last).to_contain_text(words)
    await expect(page.locator(".working")).to_have_count(0)


async def shown_figure(page: Page) -> str:
    """That a figure was really drawn; its words."""
    image = page.locator(".figure img").last
    await expect(image).to_be_visible(timeout=SECONDS)
    await page.wait_for_function("image => image.complete && image.naturalWidth > 100", arg=await image.element_handle())
    return str(await image.get_attribute("alt"))


async def picture(page: Page, name: str) -> None:
    """For people to look at."""
    ARTEFACTS.mkdir(exist_ok=True)
    await page.screenshot(path=ARTEFACTS / f"page-{name}.png")


async def check_access(page: Page) -> None:
    """axe-core finds nothing that breaks WCAG 2.2, level A or AA."""
    found = await Axe().run(page, options=STANDARD)
    assert found.response["violations"] == [], found.generate_report()


async def fits(page: Page) -> bool:
    """Whether nothing lies outside the window's width, or the thread's."""
    boxes = "[document.documentElement, document.body, document.querySelector('#view')]"
    return bool(await page.evaluate(f"{boxes}.every(box => box.scrollWidth <= box.clientWidth)"))


async def drop(page: Page, name: str, content: bytes, event: str = "drop") -> None:
    """Files dropped on the page, or pasted into it, as a browser tells of it."""
    await page.evaluate(
        """([name, content, event]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(content)], name));
            const init = {bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data};
            const made = event === "paste" ? new ClipboardEvent(event, init) : new DragEvent(event, init);
            document.querySelector("#text").dispatchEvent(made);
        }""",
        [name, list(content), event],
    )
    await expect(page.get_by_role("list", name="Attached files").first).to_contain_text(name)


# --- Asking ----------------------------------------------------------------------------------------------------------------


async def test_the_demo_gives_a_figure_without_any_model(place: Place, opened: Open) -> None:
    asked_before = len(place.model.requests)
    page = await opened()
    await picture(page, "welcome")
    await check_access(page)
    await page.get_by_role("button", name="Run the demo").click()
    await answered(page, "West grew most")
    assert "Revenue per month by region" in await shown_figure(page)
    await expect(page.get_by_role("cell", name="717.2")).to_be_visible()
    assert len(place.model.requests) == asked_before
    await page.locator("#view").evaluate("view => view.scrollTop = 0")
    await picture(page, "demo")
    await check_access(page)


async def test_a_dropped_csv_and_a_question_become_a_figure_that_a_reload_finds(place: Place, opened: Open) -> None:
    place.model.on("plot the revenue", Code(PLOT), "Revenue peaks in **February**.")
    page = await opened()
    await drop(page, "sales.csv", CSV)
    await ask(page, "please plot the revenue")
    await answered(page, "Revenue peaks in February.")
    assert "Revenue by month" in await shown_figure(page)
    await page.get_by_text("Show code").click()
    await expect(page.get_by_label("Code of step 1")).to_contain_text("pd.read_csv")
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.locator(".steps .block").first.hover()
    await page.locator(".steps .block").first.get_by_role("button", name="Copy").click()
    assert await page.evaluate("navigator.clipboard.readText()") == PLOT
    await expect(page.get_by_label("Output of step 1")).to_contain_text("60")
    await page.reload()
    await answered(page, "Revenue peaks in February.")
    assert "Revenue by month" in await shown_figure(page)
    await expect(page.get_by_role("link", name="Download sales.csv")).to_be_visible()
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download figure-1.png").click()
    saved = await (await download.value).path()
    assert saved.read_bytes().startswith(b"\x89PNG")


async def test_an_answer_grows_as_the_model_writes_it(place: Place, opened: Open) -> None:
    text = "Here it **begins**. " + "Then it goes on. " * 60 + "Here it ends."
    place.model.on("tell at length", text)
    page = await opened()
    await page.evaluate("""() => {
        window.seen = [];
        const look = () => seen.push(document.querySelector("[data-part=text]")?.textContent ?? "");
        new MutationObserver(look).observe(document.querySelector("#messages"), {childList: true, subtree: true});
    }""")
    place.model.pace = 30
    try:
        await ask(page, "tell at length")
        await answered(page, "Here it ends.")
    finally:
        place.model.pace = 0
    lengths = [len(words) for words in await page.evaluate("[...new Set(seen.filter(Boolean))]")]
    assert len(lengths) > 3
    assert lengths == sorted(lengths), "it only grows"
    await expect(page.locator(".answer strong", has_text="begins")).to_be_visible()


async def test_a_hidden_tab_catches_up_when_it_is_seen_again(place: Place, opened: Open) -> None:
    hide = """hidden => {
        Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    place.model.on("while I look away", Code("import time\ntime.sleep(2)"), "Done meanwhile.")
    page, other = await opened(), await opened()
    await ask(page, "while I look away")
    await expect(page.get_by_role("button", name="Stop")).to_be_visible()
    await page.evaluate(hide, True)
    await other.goto(page.url)
    await answered(other, "Done meanwhile.")
    await expect(page.get_by_role("button", name="Stop")).to_be_visible()
    await page.evaluate(hide, False)
    await answered(page, "Done meanwhile.")


async def test_a_pasted_file_is_attached_and_may_be_removed(opened: Open) -> None:
    page = await opened()
    await drop(page, "kept.txt", b"x", "paste")
    await page.get_by_role("button", name="Remove kept.txt").click()
    await expect(page.locator("#chips")).to_be_hidden()
    await page.set_input_files("#files", {"name": "large.bin", "mimeType": "text/plain", "buffer": b"x" * (9 << 20)})
    await expect(page.get_by_role("alert").filter(has_text="large.bin is too large: a file may have 8 MiB")).to_be_visible()


async def test_stop_ends_the_run_and_keeps_the_variables(place: Place, opened: Open) -> None:
    endless = 'kept = 41\nimport time\nwhile True:\n    print("still at it", flush=True)\n    time.sleep(0.05)\n'
    bar = '    print("\\rCounting: 45%|####5     | 45/100 [00:03<00:04, 12.3it/s]", end="", flush=True)'
    place.model.on("run for ever", Code(endless + bar), "never said")
    page = await opened()
    await ask(page, "run for ever")
    await expect(page.get_by_label("Output so far")).to_contain_text("still at it")
    await expect(page.get_by_role("progressbar", name="Counting ▰▰▰▰▱▱▱▱▱▱ 45%, 4 s left")).to_have_js_property("value", 0.45)
    await picture(page, "working")
    await page.get_by_role("button", name="Stop").click()
    await answered(page, "Stopped by you.")
    place.model.on("is it still there", Code("print(kept + 1)"), place.model.echo)
    await ask(page, "is it still there?")
    await answered(page, "42")


async def test_a_waiting_question_is_run_as_edited(place: Place, opened: Open) -> None:
    place.model.on("hold the line", Code("import time\ntime.sleep(3)"), "Held.")
    page = await opened()
    await ask(page, "hold the line")
    await expect(page.get_by_role("button", name="Stop")).to_be_visible()
    place.model.on("the new wording", Code("print('new')"), "Answer to the new wording.")
    await ask(page, "the old wording")
    await page.get_by_role("button", name="Edit this question").nth(1).click()
    await page.get_by_label("The question's new wording").fill("the new wording")
    await page.get_by_role("button", name="Run again").click()
    await answered(page, "Answer to the new wording.")
    await expect(page.locator(".question").last).to_contain_text("the new wording")


async def test_an_answered_question_is_asked_anew_with_its_files(place: Place, opened: Open) -> None:
    place.model.on("first line", Code('print(open("note.txt").read())'), "Read once.")
    page = await opened()
    await drop(page, "note.txt", b"words in a file")
    await ask(page, "read the first line")
    await answered(page, "Read once.")
    place.model.on("whole file", Code('print(open("note.txt").read())'), place.model.echo)
    await page.get_by_role("button", name="Edit this question").click()
    await page.get_by_label("The question's new wording").fill("read the whole file")
    await check_access(page)
    await page.get_by_role("button", name="Run again").click()
    await expect(page.get_by_role("alert").filter(has_text="This question has its answer.")).to_be_visible()
    await page.get_by_role("button", name="Ask it anew").click()
    await answered(page, "words in a file")
    await expect(page.locator(".question")).to_have_count(2)


async def test_a_word_that_is_a_command_is_answered_in_passing(place: Place, opened: Open) -> None:
    page = await opened()
    await ask(page, "help")
    await expect(page.get_by_role("alert").filter(has_text="Ask a question, with files attached")).to_be_visible()
    await check_access(page)
    await expect(page.get_by_role("list", name="Messages").get_by_role("listitem")).to_have_count(0)


# --- For everybody ---------------------------------------------------------------------------------------------------------


async def test_the_keyboard_alone_does_everything(place: Place, opened: Open) -> None:
    async def tab_to(matching: str) -> None:
        for _ in range(60):
            await page.keyboard.press("Tab")
            if await page.evaluate("wanted => document.activeElement.matches(wanted)", matching):
                return
        raise AssertionError(f"Tab never comes to {matching}")

    place.model.on("draw a line", Code("plt.plot([1, 2])\nplt.title('A line')"), "Drawn.")
    page = await opened()
    await tab_to(".skip")
    await page.keyboard.press("Enter")
    await page.keyboard.type("draw a line")
    await page.keyboard.press("Enter")
    await answered(page, "Drawn.")
    await page.keyboard.press("Escape")
    await tab_to(".figure button")
    assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", "focus can be seen"
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await check_access(page)
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog").get_by_role("button", name="Close")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await tab_to(".answer summary")
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Code of step 1")).to_be_visible()
    await tab_to("#new")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Ask a question about a file.")).to_be_visible()


async def test_a_listener_is_told_the_beginning_and_the_end_only(place: Place, opened: Open) -> None:
    place.model.on("count to five", Code("import time\nfor n in range(5):\n    print(n)\n    time.sleep(0.2)"), "Counted.")
    page = await opened()
    await page.evaluate("""() => {
        window.told = [];
        new MutationObserver(() => told.push(document.querySelector("#status").textContent))
            .observe(document.querySelector("#status"), {childList: true});
    }""")
    await ask(page, "count to five")
    await answered(page, "Counted.")
    told = await page.evaluate("told")
    assert [words.strip() for words in told] == ["Working on it.", "Answer: Counted."]


async def test_on_a_phone_everything_fits_and_the_threads_are_a_tap_away(opened: Open) -> None:
    page = await opened(viewport={"width": 375, "height": 740}, has_touch=True, is_mobile=True, device_scale_factor=2)
    assert await fits(page)
    await demo(page)
    await shown_figure(page)
    assert await fits(page)
    await page.get_by_text("Show code").tap()
    await page.get_by_text("Python, 14 lines").tap()
    assert await fits(page)
    await picture(page, "phone")
    await check_access(page)
    await page.get_by_role("button", name="Threads").tap()
    await expect(page.get_by_role("navigation", name="Threads")).to_be_visible()
    await picture(page, "phone-threads")
    await page.get_by_role("navigation").get_by_role("link").first.tap()
    await expect(page.get_by_role("navigation", name="Threads")).to_be_hidden()


async def test_at_twice_the_size_everything_is_still_there(opened: Open) -> None:
    """A browser at 200 % gives the page half as many CSS pixels (WCAG 2.2, 1.4.4 and 1.4.10)."""
    page = await opened(viewport={"width": 590, "height": 430}, device_scale_factor=2)
    await demo(page)
    assert await fits(page)
    await expect(page.get_by_role("button", name="Send")).to_be_in_viewport()
    await picture(page, "zoomed")


async def test_dark_follows_the_system_and_may_be_chosen(opened: Open) -> None:
    async def brightness() -> int:
        colour = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    page = await opened(color_scheme="dark")
    assert await brightness() < 150
    await demo(page)
    await shown_figure(page)
    await page.locator("#view").evaluate("view => view.scrollTop = 0")
    await picture(page, "dark")
    await check_access(page)
    await page.get_by_role("button", name="Switch to light colours").click()
    assert await brightness() > 600
    await page.reload()
    await answered(page, "West grew most")
    assert await brightness() > 600, "what was chosen is remembered"


# --- Nobody else -----------------------------------------------------------------------------------------------------------

HOSTILE = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>'
LINKS = "[press](javascript:window.hit=1) [data](data:text/html,<script>1</script>) ![seen](http://tracker.invalid/pixel.png)"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="200" height="200" onload="top.hit=1"><script>top.hit=1</script></svg>'
HTML = """<!doctype html><title>made</title><script>
const told = {origin: self.origin};
try { opener.hit = 1; told.opener = "reached"; } catch { told.opener = "refused"; }
try { told.cookie = document.cookie; } catch { told.cookie = "refused"; }
try { told.storage = localStorage.length; } catch { told.storage = "refused"; }
fetch("/api/threads").then(() => "reached", () => "refused").then((api) => { told.api = api; window.told = told; });
</script>"""


async def test_hostile_content_runs_nothing(place: Place, opened: Open) -> None:
    code = (
        f"plt.plot([1, 2])\nplt.title({HOSTILE!r})\nprint({HOSTILE!r})\n"
        f'open("evil.svg", "w").write({SVG!r})\nopen("evil.html", "w").write({HTML!r})\nraise ValueError({HOSTILE!r})'
    )
    place.model.on("be hostile", Code(code), f"{HOSTILE} {LINKS}\n\n```html\n{HOSTILE}\n```\n\n| {HOSTILE} |\n| --- |\n| x |")
    page = await opened()
    name = "<img src=x onerror=window.hit=1>.csv"
    await drop(page, name, CSV)
    await ask(page, f"be hostile {HOSTILE}")
    await answered(page, "onerror=")
    await shown_figure(page)
    await expect(page.locator(".figure img").first).to_have_attribute("alt", re.compile("onerror="))
    await expect(page.locator(".question")).to_contain_text("<script>window.hit=1</script>")
    await page.get_by_text("Show code").click()
    await expect(page.get_by_label("Output of step 1")).to_contain_text("<script>")
    assert await page.locator(".answer a[href^=javascript], .answer a[href^=data], .answer img[src^=http]").count() == 0
    assert await page.locator("#messages script, #messages [onerror], #messages [onload]").count() == 0
    await expect(page.locator("#threads")).to_contain_text("be hostile")

    async with page.context.expect_page() as made:
        await page.get_by_role("link", name="Open evil.html").click()
    artefact = await made.value
    await artefact.wait_for_function("window.told")
    told = await artefact.evaluate("told")
    assert told == {"origin": "null", "opener": "refused", "cookie": "refused", "storage": "refused", "api": "refused"}
    source = await page.locator('.figure img[src*="svg"]').get_attribute("src")
    async with page.expect_download() as download:
        await page.evaluate("address => { location.href = address; }", source)
    assert await (await download.value).path()
    assert await page.evaluate("window.hit") is None
    assert await fits(page)
    await picture(page, "hostile")


async def test_an_interactive_chart_draws_in_an_origin_of_its_own(place: Place, opened: Open) -> None:
    code = 'import plotly.express as px\npx.line(x=[1, 2], y=[3, 4], title="Interactive").write_html("chart.html")'
    place.model.on("an interactive chart", Code(code), "Here it is.")
    page = await opened()
    await ask(page, "make an interactive chart")
    await answered(page, "Here it is.")
    async with page.context.expect_page() as made:
        await page.get_by_role("link", name="Open chart.html").click()
    chart = await made.value
    await expect(chart.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    await expect(chart.get_by_text("Interactive")).to_be_visible()
    assert await chart.evaluate("self.origin") == "null"
    await picture(chart, "chart")


async def test_a_wrong_host_origin_or_token_is_refused(place: Place, opened: Open) -> None:
    page = await opened()
    (cookie,) = await page.context.cookies()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:

        async def status(method: str, path: str, *, known: bool = True, **headers: str) -> int:
            jar = {"Cookie": f"{cookie['name']}={cookie['value']}"} if known else {}
            async with client.request(
                method, place.address + path, headers={**jar, **headers}, data=b"{}", allow_redirects=False
            ) as response:
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert "unsafe-inline" not in response.headers["Content-Security-Policy"]
                return response.status

        assert await status("GET", "/api/threads") == 200
        assert await status("GET", "/api/threads", known=False) == 401
        assert await status("GET", "/static/app.js", known=False) == 401
        assert await status("GET", "/?token=wrong", known=False) == 403
        for host in ("evil.invalid", f"evil.invalid:{place.port}", "127.0.0.1.evil.invalid", "127.0.0.1@evil.invalid"):
            assert await status("GET", "/api/threads", Host=host) == 421
        assert await status("GET", "/api/threads", Host=f"localhost:{place.port}") == 200
        for origin in ("http://evil.invalid", "null", "http://127.0.0.1:1", f"https://127.0.0.1:{place.port}"):
            assert await status("POST", "/api/demo", Origin=origin) == 403
            assert await status("GET", "/api/threads", Origin=origin) == 403
        assert await status("POST", "/api/demo") == 403, "a browser always says where a POST comes from"
        assert await status("POST", "/api/demo", Origin=place.address) == 400, (
            "the page itself is let through, to be told what is missing"
        )
        assert await status("GET", f"/files/{'0' * 43}/{'0' * 64}/1/text/html?x", known=False) == 404


# --- The end of the bot ----------------------------------------------------------------------------------------------------


async def test_a_restart_finds_the_thread_its_figures_and_its_variables(place: Place, opened: Open) -> None:
    place.model.on("keep this number", Code("number = 1234\nplt.plot([1, 2])\nplt.title('Kept')"), "Kept it.")
    page = await opened()
    await ask(page, "keep this number")
    await answered(page, "Kept it.")
    await place.bot.stop()
    await expect(page.get_by_text("Cellmate is not answering.")).to_be_visible()
    await place.bot.start()
    await expect(page.get_by_text("Cellmate is not answering.")).to_be_hidden(timeout=SECONDS)
    await page.reload()
    await answered(page, "Kept it.")
    assert "Kept" in await shown_figure(page)
    place.model.on("double it", Code("print(number * 2)"), place.model.echo)
    await ask(page, "double it")
    await answered(page, "2468")


# --- Set-up and the check-up -------------------------------------------------------------------------------------------

PREPARE = """#!/bin/sh
cd {folder}
printf 'engine\\trunning\\tInstalling an engine\\n'
if [ ! -e again ]; then
    touch again
    echo 'cellmate: there is no network. Plug it in, then try again.' >&2
    exit 1
fi
printf 'engine\\tdone\\tunix:///var/run/docker.sock\\nimage\\trunning\\tBuilding the image\\n'
until [ -e go ]; do sleep 0.05; done
printf 'image\\tdone\\tcellmate-sandbox\\n'
"""


async def test_the_page_is_there_before_what_it_needs(tmp_path: Path, place: Place) -> None:
    """A failure with its remedy, another try, a demo that waits for the image and says so, and then its figure."""
    (tmp_path / "prepare").write_text(PREPARE.format(folder=tmp_path))
    (tmp_path / "prepare").chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"CELLMATE_WEB_PORT": str(port), "CELLMATE_SETUP": str(tmp_path / "prepare")}
    async with running_bot(tmp_path / "home", settings) as bot:
        own = Place(bot, place.model, place.browser, port)
        context = await place.browser.new_context(viewport={"width": 1180, "height": 860})
        try:
            page = await context.new_page()
            await page.goto(await own.invitation())
            setup = page.locator("#setup")
            await expect(setup).to_contain_text("there is no network. Plug it in, then try again.")
            await picture(page, "setup-failed")
            violations = (await Axe().run(page, options=STANDARD)).response["violations"]
            assert violations == []
            await page.get_by_role("button", name="Try again").click()
            await expect(setup).to_contain_text("Building the image")
            await page.get_by_role("button", name="Run the demo").click()
            await expect(page.locator(".answer").last).to_contain_text("Setting up: Building the image")
            await picture(page, "setup")
            (tmp_path / "go").touch()
            await answered(page, "West grew most")
            await expect(setup).to_be_hidden()
            assert await shown_figure(page)
        finally:
            await context.close()


async def test_the_check_up_is_on_the_page(opened: Open, place: Place) -> None:
    place.model.on("Answer with the word: yes", "yes")
    page = await opened()
    await page.get_by_role("button", name="Check-up").click()
    dialog = page.get_by_role("dialog", name="Check-up")
    await expect(dialog.get_by_role("status")).to_contain_text("checks")
    await expect(dialog.locator("#findings li", has_text="engine").first).to_be_visible()
    await expect(dialog.locator("#findings li", has_text="sandbox").last).to_contain_text("well")
    violations = (await Axe().run(page, options=STANDARD)).response["violations"]
    assert violations == []
    await picture(page, "check-up")
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
