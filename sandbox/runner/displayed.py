"""What IPython's display objects become: files for sound, film, pictures, drawings and pages, text for the rest."""

import json
import mimetypes
import os
from base64 import b64decode
from pathlib import Path
from typing import Any

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


def _print(text: str) -> None:
    print(shorten(text, _TEXT))


def _suffix(media_type: str) -> str:
    return mimetypes.guess_extension(media_type) or "." + media_type.rpartition("/")[2]


def _keep(value: Any, stem: str, suffix: str) -> None:
    """Hand out the workspace's file that it was made from, else its content as a new one."""
    source = Path(getattr(value, "filename", None) or "/dev/null").resolve()
    if source.is_relative_to(figures.WORKSPACE) and source.is_file():
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
