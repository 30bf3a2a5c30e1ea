"""Makes the pictures in docs/pictures: real threads, as the fake platforms' pages show them, with the real bot and engine.

    .venv/bin/python -m scripts.pictures [slack] [discord] [page] [newcomer]

`newcomer` is what the demo model makes of the bundled table: its answer is its own, and nothing of it is scripted.
Needs Chromium (`apt-get install chromium`), the engine and the sandbox image (`./run` makes them), and for `newcomer` what
serves the demo model (`scripts/prepare local`).
"""

import asyncio
import random
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops
from playwright.async_api import Page, async_playwright

from tests.bot_process import BotProcess, running_bot
from tests.fakes.discord import FakeDiscord
from tests.fakes.model import Code, ScriptedModel
from tests.fakes.platform import Platform
from tests.fakes.slack import FakeSlack

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
FETCHED = 900_000.0
"""Milliseconds until the demo model has been fetched and has answered."""
QUESTION = "Plot revenue per month by region. Which region grew most?"
LOOK = 'df = pd.read_csv("sales.csv")\ndf.groupby("region")["revenue"].agg(["sum", "min", "max"])'
PLOT = """table = df.pivot_table(index="month", columns="region", values="revenue", aggfunc="sum")
ax = table.plot(marker="o", figsize=(8, 4.2), title="Revenue per month by region")
ax.set_xlabel("Month")
ax.set_ylabel("Revenue (k€)")
growth = (table.iloc[-1] / table.iloc[0] - 1) * 100
print(growth.round(1))"""


def sales() -> bytes:
    """A year of three regions."""
    rng = random.Random(7)
    rows = ["month,region,revenue"]
    for region, start, slope in (("north", 42, 2.4), ("south", 55, 0.7), ("west", 31, 3.1)):
        rows += [f"2026-{m:02d},{region},{start + slope * m + rng.uniform(-4, 4):.1f}" for m in range(1, 13)]
    return "\n".join(rows).encode()


def answer(messages: Sequence[Mapping[str, Any]]) -> str:
    """A capable model's words about the numbers it was shown: they are read out of the cell's output, not made up."""
    printed = str(messages[-1]["content"])
    growth = {
        line.split()[0]: float(line.split()[1]) for line in printed.splitlines() if line.startswith(("north", "south", "west"))
    }
    best = max(growth, key=lambda region: growth[region])
    others = ", ".join(f"{region} by {by:.0f} %" for region, by in growth.items() if region != best)
    return f"**{best.capitalize()}** grew most, by **{growth[best]:.0f} %** from January to December ({others})."


def trim(path: Path) -> None:
    """Cut off what is empty below the thread."""
    picture = Image.open(path).convert("RGB")
    ground = Image.new("RGB", picture.size, picture.getpixel((0, picture.height - 1)))
    box = ImageChops.difference(picture, ground).getbbox()
    assert box is not None, "an empty picture"
    picture.crop((0, 0, picture.width, min(picture.height, box[3] + 40))).save(path, optimize=True)


async def picture(platform: Platform, name: str, browser: str) -> None:
    """Ask, wait for the answer, and photograph the thread."""
    with tempfile.TemporaryDirectory() as folder:
        async with platform, ScriptedModel() as model:
            model.reply(Code(LOOK), Code(PLOT), answer)
            async with running_bot(Path(folder) / "home", {**platform.env, **model.env}):
                await platform.connected()
                thread = await platform.ask(QUESTION, files=[("sales.csv", sales())])
                await platform.until(
                    thread, lambda messages: any("grew most" in m.text and m.author == "cellmate" for m in messages)
                )
                await platform.until(thread, lambda messages: any(m.files and m.author == "cellmate" for m in messages))
                page = Path(folder) / "page.html"
                page.write_text(platform.page(thread), "utf-8")
        process = await asyncio.create_subprocess_exec(
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"),
            *(f"--user-data-dir={folder}/profile", "--hide-scrollbars", "--force-device-scale-factor=1.5"),
            *("--window-size=860,1000", f"--screenshot={PICTURES / name}", page.as_uri()),
            stderr=asyncio.subprocess.DEVNULL,
        )
        if await process.wait() != 0:
            raise SystemExit(f"{browser} took no picture")
        trim(PICTURES / name)


async def pictures_of_the_page(browser: str) -> None:
    """The same question on the page: at a desk, and in the dark on a phone."""
    with tempfile.TemporaryDirectory() as folder:
        async with ScriptedModel() as model, async_playwright() as driver:
            model.reply(Code(LOOK), Code(PLOT), answer)
            settings = {"CELLMATE_WEB_ENABLED": "true", "CELLMATE_WEB_PORT": "8898"}
            async with running_bot(Path(folder) / "home", {**settings, **model.env}) as bot:
                chromium = await driver.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
                desk = await chromium.new_context(viewport={"width": 1080, "height": 960}, device_scale_factor=1.5)
                page = await desk.new_page()
                address = await address_of(bot)
                await page.goto(address)
                await page.set_input_files("#files", {"name": "sales.csv", "mimeType": "text/csv", "buffer": sales()})
                await page.fill("#text", QUESTION)
                await page.click("#send")
                await page.locator(".answer", has_text="grew most, by").wait_for()
                await photograph(page, "page.png")
                phone = await chromium.new_context(
                    viewport={"width": 390, "height": 844},
                    device_scale_factor=2,
                    color_scheme="dark",
                    is_mobile=True,
                    has_touch=True,
                )
                pocket = await phone.new_page()
                await pocket.goto(address)
                await pocket.goto(page.url)
                await pocket.locator(".answer", has_text="grew most, by").wait_for()
                await photograph(pocket, "page-phone-dark.png")
                await chromium.close()


async def picture_of_the_newcomer(browser: str) -> None:
    """The page after its first question, with no account and no key, answered by the demo model."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"CELLMATE_MODEL": "local", "CELLMATE_WEB_ENABLED": "true", "CELLMATE_WEB_PORT": "8898"}
        async with async_playwright() as driver, running_bot(Path(folder) / "home", settings) as bot:
            chromium = await driver.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
            page = await chromium.new_page(viewport={"width": 1080, "height": 1090}, device_scale_factor=1.5)
            await page.goto(await address_of(bot))
            await page.set_input_files("#files", ROOT / "adapters" / "web" / "demo" / "sales.csv")
            await page.fill("#text", "plot revenue per month by region")
            await page.click("#send")
            await page.locator(".state.done").wait_for(state="attached", timeout=FETCHED)
            await photograph(page, "first-answer.png")
            await chromium.close()


async def address_of(bot: BotProcess) -> str:
    """What the bot prints once its page can be opened."""
    for _ in range(600):
        if found := re.search(r"Open (\S+)", bot.output):
            return found[1]
        await asyncio.sleep(0.1)
    raise SystemExit(f"the page never came up:\n{bot.output}")


async def photograph(page: Page, name: str) -> None:
    """The answer and its figure, from the question on."""
    await page.wait_for_function("[...document.querySelectorAll('.figure img')].some(image => image.naturalWidth > 100)")
    await page.locator("#view").evaluate("view => view.scrollTop = 0")
    await page.screenshot(path=PICTURES / name)
    Image.open(PICTURES / name).convert("RGB").quantize(255).save(PICTURES / name, optimize=True)


async def main() -> None:
    """Every picture, or those that are named."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("There is no Chromium here. Type: apt-get install chromium")
    PICTURES.mkdir(parents=True, exist_ok=True)
    made = {
        "slack": lambda: picture(FakeSlack(), "slack-thread.png", browser),
        "discord": lambda: picture(FakeDiscord(), "discord-thread.png", browser),
        "page": lambda: pictures_of_the_page(browser),
        "newcomer": lambda: picture_of_the_newcomer(browser),
    }
    for name in sys.argv[1:] or made:
        await made[name]()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
