"""Text as Markdown carries it."""

from bot.text import fence, shorten


def test_a_fence_is_longer_than_any_inside_it() -> None:
    assert fence("a\n```\nb") == "````\na\n```\nb\n````"
    assert fence("1\n", "python") == "```python\n1\n```"


def test_shortening_keeps_head_and_tail_and_counts_what_is_missing() -> None:
    short = shorten("a" * 600 + "b" * 600, 300)
    assert short.startswith("a" * 200 + "\n…") and short.endswith("\n" + "b" * 100) and "900 characters left out" in short
    assert shorten("abc", 3) == "abc"
