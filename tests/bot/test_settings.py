"""Settings: read once, and a mistake is one clear line."""

from pathlib import Path

import pytest

from bot import wiring
from bot.errors import ConfigError
from bot.settings import Settings, read, refuse_unknown, table


def test_a_misspelt_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"CELLMATE_MEMRY is not a setting\. Did you mean CELLMATE_MEMORY\?"):
        refuse_unknown([Settings], {"CELLMATE_MEMRY": "1"})


def test_a_bad_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLMATE_MEMORY", "lots")
    with pytest.raises(ConfigError, match=r"^CELLMATE_MEMORY: "):
        read(Settings)


@pytest.mark.parametrize(
    ("environment", "source"),
    [
        ({}, ""),
        ({"OPENAI_API_KEY": "k"}, "openai"),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, "openai"),
        ({"OPENAI_API_KEY": "k", "CELLMATE_MODEL": "none"}, "none"),
        ({"CELLMATE_MODEL": "openai"}, "openai"),
        ({"CELLMATE_MODEL": "local", "OPENAI_API_KEY": "k"}, "local"),
    ],
)
def test_where_answers_come_from(environment: dict[str, str], source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "CELLMATE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert read(Settings).source == source


def test_the_documented_table_is_the_one_in_force() -> None:
    documented = Path("docs/settings.md").read_text("utf-8")
    assert table(wiring.all_settings()) in documented, "run `cellmate settings` and put its table into docs/settings.md"


def test_no_secret_is_shown_by_a_settings_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    assert "very-secret" not in repr(read(Settings))
