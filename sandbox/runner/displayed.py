"""What is made to be displayed becomes: files for sound, film, pictures, drawings and pages, text for the rest."""

import json
import mimetypes
import os
from base64 import b64decode
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from IPython.display import display

from . import figures
from .text import shorten

_TEXT = 32 << 10


def install(formatter: Any) -> None:
    """`formatter`: a shell's `display_formatter`. Nothing is imported before such an object is displayed."""
    acts = {
        ("IPython.lib.display", "Audio"): lambda value: _keep(value, "audio", _suffix(value.mimetype)),
        ("IPython.core.display", "Video"): lambda value: _keep(value, "video", _suffix(value.mimetype or "video/mp4")),
        ("IPython.core.display", "Image"): lambda value: _keep(value, "image", f".{value.format or 'png'}"),
        ("IPython.core.display", "SVG"): lambda value: _keep(value, "drawing", ".svg"),
        ("IPython.core.display", "HTML"): lambda value: _keep(value, "page", ".html"),
        ("IPython.core.display", "JSON"): lambda value: _print(json.dumps(value.data, indent=1, default=str)),
    }
    for name in ("Markdown", "Latex", "Math", "Pretty"):
        acts["IPython.core.display", name] = lambda value: _print(str(value.data))
    for (module, name), act in acts.items():
        formatter.ipython_display_formatter.for_type_by_name(module, name, act)


def take(value: Any) -> bool:
    """Whether the last expression's value is made to be displayed, and now is."""
    if type(value).__module__.startswith("IPython."):
        display(value)
    elif page := _page(value):
        figures.new_file("page", ".html").write_text(page)
    else:
        return False
    return True


def _page(value: Any) -> str:
    """A map, a chart or a styled table as a web page; "" for what is none, or has a text of its own."""
    kind: Any = type(value)
    root = kind.__module__.partition(".")[0]
    if root == "altair" and hasattr(value, "to_html"):
        return str(value.to_html(inline=find_spec("vl_convert") is not None))
    if root == "bokeh" and hasattr(value, "select"):
        return str(import_module("bokeh.embed").file_html(value, import_module("bokeh.resources").INLINE))
    if root == "folium" and hasattr(value, "get_root"):
        return str(value.get_root().render())
    if hasattr(kind, "_repr_html_") and kind.__repr__ is object.__repr__:
        return str(value._repr_html_() or "")
    return ""


def _print(text: str) -> None:
    print(shorten(text, _TEXT))


def _suffix(media_type: str) -> str:
    return mimetypes.guess_extension(media_type) or "." + media_type.rpartition("/")[2]


def _keep(value: Any, stem: str, suffix: str) -> None:
    """Hand out the workspace's file that it was made from, else its content as a new one."""
    name = getattr(value, "filename", None)
    if name and (source := Path(name).resolve()).is_relative_to(figures.WORKSPACE) and source.is_file():
        os.utime(source)  # a file that has changed is handed out
        return
    data = value.data
    if data is None:
        _print(repr(value))  # an address, which nobody here can open
    elif stem == "image" and figures.take_png(data):
        return
    elif isinstance(data, str) and stem in ("audio", "video", "image"):
        figures.new_file(stem, suffix).write_bytes(b64decode(data))
    else:
        figures.new_file(stem, suffix).write_bytes(data.encode() if isinstance(data, str) else data)
