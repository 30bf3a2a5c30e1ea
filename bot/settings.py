"""Every setting of the core, read once from the environment. Ours start with `CELLMATE_`; vendors' keep their names.

An adapter's settings live in its own room; `cellmate settings` prints all of them in one table (docs/settings.md).
"""

import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from bot.errors import ConfigError


class Settings(BaseSettings):
    """The core's settings. Sizes are in MiB, times in seconds."""

    model_config = SettingsConfigDict(env_prefix="CELLMATE_", extra="forbid", populate_by_name=True)

    home: Path = Field(Path(".cellmate"), description="Where the journal, files and checkpoints are kept; made with mode 0700.")
    database: str = Field("", description="Where the journal is, as an SQLAlchemy URL; empty: SQLite in `CELLMATE_HOME`.")
    model: Literal["", "openai", "local", "none"] = Field(
        "",
        description="`openai`: any OpenAI-compatible server; `local`: a small demo model on this machine; `none`: only run "
        "code. Empty: `openai` if a key or URL is set, else a server on this machine if chosen on the page, else `local`.",
    )
    model_name: str = Field("gpt-5-mini", description="The model's name as its server knows it.")
    model_mode: Literal["auto", "tool", "fenced"] = Field(
        "auto",
        description="`tool`: the model calls a tool; `fenced`: it writes fenced blocks (small models); `auto`: finds out.",
    )
    model_patience: float = Field(
        60, gt=0, description="Seconds for which a model's server that fails is tried again before the asker is told."
    )
    openai_api_key: SecretStr = Field(SecretStr(""), validation_alias="OPENAI_API_KEY", description="The model server's key.")
    openai_base_url: str = Field(
        "", validation_alias="OPENAI_BASE_URL", description="The model server's URL; empty: OpenAI's own."
    )
    model_weights: str = Field(
        "", description="A file or URL that has the demo model's weights, where the usual sources are out of reach."
    )
    model_threads: int = Field(0, ge=0, description="Threads of the demo model; 0: as many as there are cores.")
    cache: Path = Field(Path("~/.cache/cellmate"), description="Where the demo model's weights are kept (1.1 GB).")
    setup: Path | None = Field(
        None, description="The program that finds or makes what is missing (`./run` sets it); empty: nothing is made."
    )
    image: str = Field(
        "cellmate-sandbox:latest", description="The sandbox image; `./run` makes it, or the larger `cellmate-standard:latest`."
    )
    runtime: str = Field("", description="The OCI runtime as the engine knows it (`runsc`); empty: the engine's default.")
    pool: int = Field(1, ge=0, le=64, description="Containers kept started and ready for the next thread, at least; 0: none.")
    pool_memory: int = Field(
        1024, ge=0, description="Memory that ready containers may use, about 128 each: more are kept while more ask at once."
    )
    sessions: int = Field(
        16, ge=1, description="Threads whose container may be running at once; more put the longest idle to sleep."
    )
    pause: float = Field(60, gt=0, description="Seconds without use after which a thread's container is paused.")
    idle: float = Field(900, gt=0, description="Seconds without use after which a thread's container is put to sleep.")
    memory_total: int = Field(
        0,
        ge=0,
        description="Memory of all threads; over it the longest idle are put to sleep. 0: three quarters of the machine's.",
    )
    keep_days: float = Field(
        30, ge=0, description="Days without use after which a thread's files and variables are removed; 0: never."
    )
    disk: int = Field(
        20480, ge=1, description="Disk for the files and variables of threads; over it those unused for longest are removed."
    )
    egress: str = Field(
        "",
        description="Which hosts code may reach, by channel ([how](operating.md#what-code-may-reach)): "
        "`* = pypi; slack/T0123/C0456 = pypi data.example.org`. Empty: none.",
    )
    cells: int = Field(0, ge=0, description="Cells that run at once; 0: as many as there are cores.")
    seconds: float = Field(120, gt=0, description="The longest a cell may run.")
    steps: int = Field(20, ge=1, description="Cells that a model may run for one question.")
    memory: int = Field(2048, ge=128, description="A thread's memory, files included.")
    workspace: int = Field(1024, ge=16, description="A thread's files; at most half of its memory is used.")
    file: int = Field(512, ge=1, description="The largest single file, in or out.")
    processes: int = Field(128, ge=16, description="Processes and threads that a thread's code may have.")
    files: int = Field(20, ge=1, description="Files that one answer delivers.")
    log: Literal["debug", "info", "warning", "error"] = Field("info", description="How much is logged on stderr.")

    @property
    def source(self) -> Literal["openai", "local", "none", ""]:
        """Where answers come from; empty: nothing is set."""
        if self.model:
            return self.model
        return "openai" if self.openai_api_key.get_secret_value() or self.openai_base_url else ""

    @property
    def journal_url(self) -> str:
        """The journal's SQLAlchemy URL."""
        return self.database or f"sqlite+aiosqlite:///{(self.home / 'journal.db').absolute()}"


_Kind = TypeVar("_Kind", bound=BaseSettings)


def read(kind: type[_Kind]) -> _Kind:
    """One room's settings from the environment. Raises `ConfigError` that names the variable and what it wants."""
    try:
        return kind()
    except ValidationError as error:
        first = error.errors()[0]
        name = env_name(kind, str(first["loc"][0]))
        raise ConfigError(f"{name}: {first['msg']}. See docs/settings.md.") from None


def refuse_unknown(kinds: Iterable[type[BaseSettings]], environment: Mapping[str, str] = os.environ) -> None:
    """Raise `ConfigError` for a `CELLMATE_` variable that no room knows: a typing mistake must not go unnoticed."""
    known = {env_name(kind, field) for kind in kinds for field in kind.model_fields}
    for name in sorted(environment):
        if name.startswith("CELLMATE_") and name not in known:
            near = get_close_matches(name, known, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{name} is not a setting.{hint} See docs/settings.md.")


def env_name(kind: type[BaseSettings], field: str) -> str:
    """The environment variable of a field."""
    info = kind.model_fields.get(field)
    if info is not None and isinstance(info.validation_alias, str):
        return info.validation_alias
    if info is None and field.isupper():
        return field  # pydantic reports an alias by its own name
    return f"{kind.model_config.get('env_prefix', '')}{field}".upper()


def table(kinds: Iterable[type[BaseSettings]]) -> str:
    """Every setting as a Markdown table; one that a room shares with the core stands there once."""
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    seen: set[str] = set()
    for kind in kinds:
        for field, info in kind.model_fields.items():
            if env_name(kind, field) in seen:
                continue
            seen.add(env_name(kind, field))
            default = info.get_default(call_default_factory=True, validated_data={})
            secret = isinstance(default, SecretStr)
            shown = "" if secret or default in ("", None) else f"`{default}`"
            rows.append(f"| `{env_name(kind, field)}` | {shown} | {info.description} |")
    return "\n".join(rows)
