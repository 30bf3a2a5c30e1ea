"""Fenced blocks out of a message."""

import pytest

from bot.intake import cells


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```\n1 + 1\n```", ["1 + 1\n"]),
        ("hi\n```python\nx = 1\n\nprint(x)\n```\nthanks", ["x = 1\n\nprint(x)\n"]),
        ("```py\n1\n```\nand\n```\n2\n```", ["1\n", "2\n"]),
        ("```sql\nselect 1\n```", []),
        ("~~~\n1\n~~~", ["1\n"]),
        ("````\nprint('```')\n````", ["print('```')\n"]),
        ("```print(1)```", ["print(1)"]),
        ("```py print(1)```", ["print(1)"]),
        ("what is `x`?", []),
        ("```\n   \n```", []),
        ("no code here", []),
    ],
)
def test_bare_and_python_fences_are_cells(text: str, code: list[str]) -> None:
    assert cells(text) == code
