"""Figures and pictures become files in the workspace without `savefig`, with words for those who cannot see them."""

import base64
import contextlib
import importlib.abc
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import facts

WORKSPACE = "/workspace"
_RASTER = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".bmp")
_DPI = 150
_PIXELS = 50_000_000


class _State:
    """What the current cell has drawn."""

    def __init__(self) -> None:
        self.number = 1
        self.limit = 20
        self.figures: list[tuple[str, str, str]] = []
        """Name, alt text and facts of each."""
        self.alts: list[tuple[str, str, str]] = []
        """The same of files that the code has written itself."""
        self.saved: set[int] = set()
        self.notes: list[str] = []
        self.skipped = 0


_state = _State()
_true_savefig: Callable[..., Any] | None = None


def install() -> None:
    """Take over `plt.show`, `Figure.savefig`, `Image.show` and plotly's `show`, each once its library is imported."""
    sys.meta_path.insert(0, _AfterImport("matplotlib.figure", _patch_figure))
    sys.meta_path.insert(0, _AfterImport("matplotlib.pyplot", _patch_pyplot))
    sys.meta_path.insert(0, _AfterImport("PIL.ImageShow", _patch_pil))
    sys.meta_path.insert(0, _AfterImport("plotly.basedatatypes", _patch_plotly))


def begin(number: int, limit: int) -> None:
    """A cell begins; its figures are numbered from `number` on."""
    global _state
    _state = _State()
    _state.number, _state.limit = number, limit


def outcome() -> dict[str, Any]:
    """For the cell's outcome."""
    return {"figures": _state.figures, "alts": _state.alts, "figure": _state.number}


def notes() -> list[str]:
    """What a person should know about the pictures."""
    if _state.skipped:
        more = f"{_state.skipped:,} more figure" + (" was" if _state.skipped == 1 else "s were")
        return [*_state.notes, f"{more} drawn but not kept: a cell may have {_state.limit}"]
    return _state.notes


def collect() -> None:
    """Save and close every open figure; one that nothing was drawn in is nothing to show."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or not pyplot.get_fignums():
        return
    try:
        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            if len(figure.get_children()) > 1:  # its background is one
                _save_figure(figure)
            pyplot.close(number)
    finally:
        pyplot.close("all")


def discard() -> None:
    """Close every open figure unsaved: the cell was stopped half-way."""
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


def take(value: Any) -> bool:
    """Whether the last expression's value is a picture, or only what drawing one returns; its text is then not shown."""
    root = type(value).__module__.partition(".")[0]
    if root == "PIL" and hasattr(value, "save"):
        return _save_image(value)
    if root == "plotly" and hasattr(value, "write_html"):
        _save_plotly(value)
        return True
    if root == "matplotlib" and hasattr(value, "savefig"):
        _save_figure(value)
        return True
    return _drawn(value)


def _drawn(value: Any) -> bool:
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or not (pyplot.get_fignums() or _state.figures or _state.saved):
        return False
    items = (
        list(value)[:50] if isinstance(value, list | tuple) else list(value.flat)[:50] if hasattr(value, "flat") else [value]
    )
    if type(value).__module__.partition(".")[0] == "seaborn":
        return True
    artist = sys.modules["matplotlib.artist"].Artist
    container = sys.modules["matplotlib.container"].Container
    return isinstance(value, artist | container) or any(isinstance(item, artist | container) for item in items)


def new_file(stem: str, suffix: str) -> Path:
    """A path in the workspace at which there is nothing yet."""
    return Path(WORKSPACE, _free(stem, suffix))


def _free(stem: str, suffix: str) -> str:
    while True:
        name = f"{stem}-{_state.number}{suffix}"
        _state.number += 1
        if not os.path.lexists(f"{WORKSPACE}/{name}"):
            return name


def _full() -> bool:
    if len(_state.figures) >= _state.limit:
        _state.skipped += 1
        return True
    return False


def _save_figure(figure: Any) -> None:
    """A PNG of the figure, unless this cell has saved it as a picture itself."""
    if id(figure) in _state.saved or _full():
        return
    name = _free("figure", ".png")
    width, height = figure.get_size_inches()
    dpi = min(_DPI, (_PIXELS / max(width * height, 1e-9)) ** 0.5)
    try:
        assert _true_savefig is not None
        _true_savefig(figure, f"{WORKSPACE}/{name}", dpi=dpi, bbox_inches="tight")
    except Exception as error:
        Path(WORKSPACE, name).unlink(missing_ok=True)
        _state.notes.append(f"{name} could not be drawn: {type(error).__name__}: {str(error)[:200]}")
        return
    _state.saved.add(id(figure))
    _state.figures.append((name, *facts.describe(figure)))


def _savefig(self: Any, fname: Any, *arguments: Any, **options: Any) -> Any:
    assert _true_savefig is not None
    value = _true_savefig(self, fname, *arguments, **options)
    if isinstance(fname, str | os.PathLike):
        path = Path(os.path.normpath(Path.cwd() / fname))
        path = path if path.suffix else path.with_suffix(".png")
        if path.is_relative_to(WORKSPACE):
            _state.alts.append((str(path.relative_to(WORKSPACE)), *facts.describe(self)))
            if path.suffix.lower() in _RASTER:
                _state.saved.add(id(self))
    return value


def _save_image(image: Any) -> bool:
    if _full():
        return True
    name = _free("image", ".png")
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"):
        image = image.convert("RGB")
    image.save(f"{WORKSPACE}/{name}")
    _state.figures.append((name, f"Image, {image.width}×{image.height} pixels", ""))  # noqa: RUF001
    return True


def take_png(data: object) -> bool:
    """Whether these are a displayed picture's bytes, now a file; anything else under that name is not one."""
    if isinstance(data, str):
        with contextlib.suppress(ValueError):
            data = base64.b64decode(data, validate=False)
    if not isinstance(data, bytes) or not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return False
    if not _full():
        name = _free("image", ".png")
        Path(WORKSPACE, name).write_bytes(data)
        _state.figures.append((name, "Image", ""))
    return True


def _save_plotly(figure: Any) -> None:
    title = str(getattr(getattr(figure.layout, "title", None), "text", None) or "")
    slug = re.sub(r"[^\w]+", "-", title.lower()).strip("-")[:60] or f"chart-{_state.number}"
    name = f"{slug}.html"
    while os.path.lexists(f"{WORKSPACE}/{name}"):
        name = _free(slug, ".html")
    figure.write_html(f"{WORKSPACE}/{name}", include_plotlyjs=True)
    _state.alts.append((name, *facts.describe_plotly(figure)))
    _state.notes.append(f"{name} is an interactive HTML page: open it in a browser")
    if importlib.util.find_spec("kaleido") and shutil.which("chromium") and len(_state.figures) < _state.limit:
        _save_still(figure, name.removesuffix(".html"))


def _save_still(figure: Any, stem: str) -> None:
    """A PNG beside a plotly page, where the image has a browser to draw it."""
    name = f"{stem}.png"
    while os.path.lexists(f"{WORKSPACE}/{name}"):
        name = _free(stem, ".png")
    try:
        figure.write_image(f"{WORKSPACE}/{name}", scale=2)
    except Exception as error:
        _state.notes.append(f"{name} could not be drawn: {type(error).__name__}: {str(error)[:200]}")
    else:
        _state.figures.append((name, *facts.describe_plotly(figure)))


def _patch_figure(module: Any) -> None:
    global _true_savefig
    _true_savefig = module.Figure.savefig
    module.Figure.savefig = _savefig
    module.Figure.show = lambda self, *_, **__: _save_figure(self)
    facts.watch(sys.modules["matplotlib.axes"].Axes)


def _patch_pyplot(module: Any) -> None:
    module.show = lambda *_, **__: collect()


def _patch_pil(module: Any) -> None:
    viewer = type("Viewer", (module.Viewer,), {"show": lambda self, image, **_: bool(_save_image(image)) or True})
    module.register(viewer, 0)


def _patch_plotly(module: Any) -> None:
    module.BaseFigure.show = module.BaseFigure._ipython_display_ = lambda self, *_, **__: _save_plotly(self)


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls back once a module has been imported."""

    def __init__(self, name: str, then: Callable[[Any], None]) -> None:
        self._name, self._then = name, then

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The module's own spec, its loader followed by the callback."""
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                try:
                    load(module)
                except BaseException:
                    sys.meta_path.insert(0, self)
                    raise
                self._then(module)

            vars(spec.loader)["exec_module"] = exec_module
        return spec


def warm_up() -> None:
    """Draw one small figure to memory: fonts, backends and encoders are then there."""
    import io

    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or _true_savefig is None:
        return
    figure, axes = pyplot.subplots()
    axes.plot([1, 2], label="a")
    axes.set_title("a")
    axes.legend()
    if pandas := sys.modules.get("pandas"):
        pandas.DataFrame({"x": [1, 2]}).plot(ax=axes)
    _true_savefig(figure, io.BytesIO(), dpi=_DPI, bbox_inches="tight")
    pyplot.close("all")
