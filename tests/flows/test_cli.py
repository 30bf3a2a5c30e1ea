"""`cellmate run`: files as cells of one thread, with no model; and what a wrong setting says."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bot_process import ENVIRONMENT


def cellmate(*arguments: str | Path, home: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    base = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "bot", *map(str, arguments)],
        env={**base, "CELLMATE_HOME": str(home), "CELLMATE_POOL": "0", "CELLMATE_MODEL": "none", **settings},
        capture_output=True,
        text=True,
        timeout=100,
    )


def source(folder: Path, name: str, code: str) -> Path:
    path = folder / name
    path.write_text(code, "utf-8")
    return path


def answer(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.stdout, result.stderr
    parsed: dict[str, Any] = json.loads(result.stdout)
    return parsed


@pytest.mark.engine
def test_files_run_as_cells_of_one_thread(tmp_path: Path) -> None:
    one = source(tmp_path, "one.py", "import sys\nx = 20\nprint('hello')\nprint('oops', file=sys.stderr)\n")
    two = source(tmp_path, "two.py", "x + 22\n")
    result = cellmate("run", one, two, "--json", home=tmp_path / "home")
    assert result.returncode == 0, result.stderr
    got = answer(result)
    assert [(c["stdout"], c["stderr"], c["result"], c["error"]) for c in got["cells"]] == [
        ("hello\n", "oops\n", None, None),
        ("", "", "42", None),
    ]
    assert got["cells"][1]["code"].strip() == "x + 22"
    assert all(cell["seconds"] >= 0 for cell in got["cells"])
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700


@pytest.mark.engine
def test_a_failing_cell_does_not_stop_the_next_and_the_status_is_1(tmp_path: Path) -> None:
    bad = source(tmp_path, "bad.py", "def f():\n    1 / 0\nf()\n")
    good = source(tmp_path, "good.py", "print('after')\n")
    result = cellmate("run", bad, good, "--json", home=tmp_path / "home")
    assert result.returncode == 1
    first, second = answer(result)["cells"]
    assert (first["error"]["name"], first["error"]["message"]) == ("ZeroDivisionError", "division by zero")
    assert "in f" in first["error"]["traceback"] and "runner" not in first["error"]["traceback"]
    assert second["stdout"] == "after\n" and second["error"] is None


@pytest.mark.engine
def test_attachments_go_in_and_files_come_out(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a,b\n1,2\n3,4\n")
    code = source(
        tmp_path, "code.py", "df = pd.read_csv('in.csv')\ndf.to_csv('out.csv', index=False)\ndf.plot(title='Both')\ndf\n"
    )
    result = cellmate("run", code, "--attach", tmp_path / "in.csv", "--out", tmp_path / "out", "--json", home=tmp_path / "home")
    got = answer(result)
    files = {file["name"]: file for file in got["files"]}
    assert {name: file["media_type"] for name, file in files.items()} == {"out.csv": "text/csv", "figure-1.png": "image/png"}
    assert Path(files["out.csv"]["path"]) == tmp_path / "out" / "out.csv"
    assert (tmp_path / "out" / "out.csv").read_text() == "a,b\n1,2\n3,4\n"
    assert files["figure-1.png"]["size"] == (tmp_path / "out" / "figure-1.png").stat().st_size
    assert "Both" in files["figure-1.png"]["alt"] and "a: 2 points" in files["figure-1.png"]["facts"]
    table = {"columns": ["a", "b"], "types": ["int64", "int64"], "rows": [["1", "2"], ["3", "4"]], "total": 2}
    assert got["table"] == table


@pytest.mark.engine
def test_a_named_thread_keeps_files_and_variables_from_run_to_run(tmp_path: Path) -> None:
    first = source(tmp_path, "first.py", "kept = {'a': 1}\nopen('note.txt', 'w').write('here')\n")
    second = source(tmp_path, "second.py", "print(kept, open('note.txt').read())\n")
    assert cellmate("run", first, "--thread", "mine", home=tmp_path / "home").returncode == 0
    got = answer(cellmate("run", second, "--thread", "mine", "--json", home=tmp_path / "home"))
    assert got["cells"][0]["stdout"] == "{'a': 1} here\n"
    other = answer(cellmate("run", second, "--thread", "other", "--json", home=tmp_path / "home"))
    assert other["cells"][0]["error"]["name"] == "NameError"


@pytest.mark.engine
def test_ask_without_a_model_says_how_to_get_one(tmp_path: Path) -> None:
    result = cellmate("ask", "how many?", home=tmp_path / "home")
    assert "No language model is set up" in result.stdout and "OPENAI_API_KEY" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        (["up"], {"CELLMATE_MEMROY": "1"}, "CELLMATE_MEMROY is not a setting. Did you mean CELLMATE_MEMORY?"),
        (["up"], {"CELLMATE_MEMORY": "much"}, "CELLMATE_MEMORY: "),
        (["up", "--only", "irc"], {}, "There is no adapter 'irc'"),
        (["up", "--only", "slack"], {}, "has no token"),
        (["run", "missing.py"], {}, "missing.py cannot be read"),
        (["run", __file__, "--attach", "missing.csv"], {}, "missing.csv is not a file"),
        (["run", __file__, "--thread", "a:b"], {}, "has no colon"),
        (["run", __file__], {"DOCKER_HOST": "ssh://elsewhere"}, "DOCKER_HOST: "),
        (["health"], {}, "No bot with this CELLMATE_HOME"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_status_2(
    arguments: list[str], settings: dict[str, str], words: str, tmp_path: Path
) -> None:
    result = cellmate(*arguments, home=tmp_path / "home", **settings)
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    assert words in result.stderr and len(result.stderr.strip().splitlines()) == 1, result.stderr
