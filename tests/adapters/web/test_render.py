"""What the browser is given: nothing in it runs, loads or leads where it should not."""

import pytest

from adapters.web.render import disposition, entry, markdown, title
from adapters.web.store import Entry
from bot.types import Blob, Card, CardFile, CellError, Step, Table

BLOB = Blob("0" * 64, 1500)


def address(name: str, media_type: str, blob: Blob) -> str:
    return f"/files/{media_type}/{name}"


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>x</script>",
        "<img src=x onerror=x>",
        "<b onclick=x>y</b>",
        "text <!-- --> <iframe src=x></iframe>",
        "| <svg onload=x> |\n| --- |\n| <script>x</script> |",
        "```<script>\n</code></pre><script>x</script>\n```",
    ],
)
def test_markup_is_text(hostile: str) -> None:
    html = markdown(hostile)
    for tag in ("<script", "<img", "<b ", "<iframe", "<svg", "<!--"):
        assert tag not in html


@pytest.mark.parametrize(
    "link",
    [
        "[a](javascript:x)",
        "[a](JaVaScRiPt:x)",
        "[a](&#106;avascript:x)",
        "[a](data:text/html,x)",
        "[a](vbscript:x)",
        "[a](file:///etc/passwd)",
        "[a](/api/threads)",
        "[a](//evil.invalid)",
        "<javascript:x>",
        "![a](https://tracker.invalid/x.png)",
    ],
)
def test_no_link_runs_and_no_image_is_loaded(link: str) -> None:
    html = markdown(link)
    assert "<img" not in html
    assert 'href="' not in html or 'href="https://tracker.invalid/x.png"' in html


def test_a_good_link_opens_beside_the_page_and_tells_nothing() -> None:
    html = markdown("[docs](https://docs.example/a)")
    assert '<a href="https://docs.example/a" target="_blank" rel="noopener noreferrer nofollow">docs</a>' in html


def test_tables_and_code_are_rendered() -> None:
    html = markdown("| a | b |\n| --- | --- |\n| 1 | 2 |\n\n```python\nx < 1\n```")
    assert "<td>1</td>" in html
    assert '<code class="language-python">x &lt; 1\n</code>' in html


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        ("image/png", "picture"),
        ("image/svg+xml", "picture"),
        ("text/html", "page"),
        ("application/pdf", "file"),
        ("image/svg+xml; charset=utf-8", "file"),
    ],
)
def test_a_file_is_shown_opened_or_saved_by_its_type(media_type: str, kind: str) -> None:
    card = Card("t", 1, "done", files=(CardFile("a\u202egnp.b", media_type, BLOB),))
    shown = entry(Entry("t", "x", 0.0, None, card), card, address)["card"]["files"][0]
    assert shown["kind"] == kind
    assert shown["name"] == "agnp.b", "no character turns a name around"
    assert shown["alt"]


def test_a_step_shows_the_end_of_its_output_and_what_was_raised() -> None:
    step = Step("# Look\nx", "failed", "a\n" * 10_000 + "last", "warned", error=CellError("ValueError", "no"))
    card = Card(
        "t", 1, "working", steps=(step,), actions=("stop", "code"), table=Table(("a",), (("1",),) * 150, 150, ("int64",))
    )
    shown = entry(Entry("t", "x", 0.0, None, card), card, address)["card"]
    assert shown["steps"][0]["title"] == "Look"
    assert shown["steps"][0]["output"].endswith("last\nwarned\nValueError: no")
    assert len(shown["steps"][0]["output"]) < 7_000
    assert [action["name"] for action in shown["actions"]] == ["stop"], "the code is there to unfold"
    assert shown["table"]["more"] == "First 100 of 150 rows."
    assert shown["table"]["types"] == ["int64"]


def test_a_thread_is_named_after_its_first_question() -> None:
    assert title("```python\nprint(1)\n```") == "print(1)"
    assert title("Which?\nAnd why?") == "Which?"
    assert len(title("x" * 500)) == 80
    assert title(" ") == "New thread"


def test_a_name_cannot_break_out_of_its_header() -> None:
    value = disposition('a/b"; filename=x.html\r\nX: y.svg', inline=False)
    assert value == "attachment; filename*=UTF-8''b%22%3B%20filename%3Dx.html%20X%3A%20y.svg"
