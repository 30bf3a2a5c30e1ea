"""Media types, from a file's first bytes and its name, by our own tables, so that no host's changes what a person receives.

The bytes decide: a page that is called x.png is a page. The name decides among types that share a beginning (a workbook is a
zip archive), among kinds of text, and where no bytes are at hand. Nothing is decoded.

Sources: the IANA media type registry for the names; WHATWG MIME Sniffing for what is text and for pictures, sound and video;
each format's own specification for the rest.
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

_UNKNOWN = "application/octet-stream"
_OFFICE = "application/vnd.openxmlformats-officedocument"
_OPEN = "application/vnd.oasis.opendocument"
_BY_SUFFIX = {
    ".7z": "application/x-7z-compressed",
    ".aac": "audio/aac",
    ".aif": "audio/aiff",
    ".aiff": "audio/aiff",
    ".avi": "video/x-msvideo",
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".bz2": "application/x-bzip2",
    ".css": "text/css",
    ".csv": "text/csv",
    ".doc": "application/msword",
    ".docx": f"{_OFFICE}.wordprocessingml.document",
    ".eps": "application/postscript",
    ".epub": "application/epub+zip",
    ".feather": "application/vnd.apache.arrow.file",
    ".flac": "audio/flac",
    ".geojson": "application/geo+json",
    ".gif": "image/gif",
    ".gz": "application/gzip",
    ".heic": "image/heic",
    ".htm": "text/html",
    ".html": "text/html",
    ".ics": "text/calendar",
    ".ipynb": "application/x-ipynb+json",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".kml": "application/vnd.google-earth.kml+xml",
    ".log": "text/plain",
    ".m4a": "audio/mp4",
    ".md": "text/markdown",
    ".mid": "audio/midi",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".npy": _UNKNOWN,
    ".ods": f"{_OPEN}.spreadsheet",
    ".odt": f"{_OPEN}.text",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".opus": "audio/ogg",
    ".parquet": "application/vnd.apache.parquet",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".ppt": "application/vnd.ms-powerpoint",
    ".pptx": f"{_OFFICE}.presentationml.presentation",
    ".py": "text/x-python",
    ".rtf": "application/rtf",
    ".sqlite": "application/vnd.sqlite3",
    ".svg": "image/svg+xml",
    ".tar": "application/x-tar",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".toml": "application/toml",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
    ".wav": "audio/wav",
    ".weba": "audio/webm",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".xls": "application/vnd.ms-excel",
    ".xlsx": f"{_OFFICE}.spreadsheetml.sheet",
    ".xml": "application/xml",
    ".xz": "application/x-xz",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zip": "application/zip",
    ".zst": "application/zstd",
}


def _mark(pattern: bytes, *types: str) -> tuple[re.Pattern[bytes], tuple[str, ...]]:
    return re.compile(pattern, re.DOTALL), types


def _named(*suffixes: str) -> Iterator[str]:
    return (_BY_SUFFIX[suffix] for suffix in suffixes)


_BY_HEAD = (
    _mark(rb"\x89PNG\r\n\x1a\n", "image/png"),
    _mark(rb"\xff\xd8\xff", "image/jpeg"),
    _mark(rb"GIF8[79]a", "image/gif"),
    _mark(rb"RIFF.{4}WEBP", "image/webp"),
    _mark(rb"II\*\0|MM\0\*", "image/tiff"),
    _mark(rb"BM.{4}\0{4}", "image/bmp"),
    _mark(rb".{4}ftypavi[fs]", "image/avif"),
    _mark(rb".{4}ftyp(hei[cmsx]|mif1)", "image/heic"),
    _mark(rb"RIFF.{4}WAVE", "audio/wav"),
    _mark(rb"FORM.{4}AIF[FC]", "audio/aiff"),
    _mark(rb"fLaC", "audio/flac"),
    _mark(rb"MThd\x00{3}\x06", "audio/midi"),
    _mark(rb"\xff[\xf0\xf1\xf8\xf9]", "audio/aac"),
    _mark(rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]", "audio/mpeg"),
    _mark(rb".{4}ftypM4[ABP]", "audio/mp4"),
    _mark(rb"OggS\0.{23}(\x80theora|fishead\0)", "video/ogg"),
    _mark(rb"OggS\0", "audio/ogg", "video/ogg"),
    _mark(rb"RIFF.{4}AVI ", "video/x-msvideo"),
    _mark(rb".{4}ftypqt", "video/quicktime"),
    _mark(rb".{4}ftyp", "video/mp4", "audio/mp4", "video/quicktime"),
    _mark(rb"\x1aE\xdf\xa3.{0,60}webm", "video/webm", "audio/webm"),
    _mark(rb"\x1aE\xdf\xa3", "video/x-matroska"),
    _mark(rb"%PDF-", "application/pdf"),
    _mark(rb"%!PS", "application/postscript"),
    _mark(rb"\{\\rtf", "application/rtf"),
    _mark(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage", *_named(".doc", ".ppt", ".xls")),
    _mark(rb"PK(\x03\x04|\x05\x06|\x07\x08)", "application/zip", *_named(".docx", ".epub", ".ods", ".odt", ".pptx", ".xlsx")),
    _mark(rb"\x1f\x8b", "application/gzip"),
    _mark(rb"BZh[1-9]1AY&SY", "application/x-bzip2"),
    _mark(rb"\xfd7zXZ\0", "application/x-xz"),
    _mark(rb"\x28\xb5\x2f\xfd", "application/zstd"),
    _mark(rb"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    _mark(rb".{257}ustar", "application/x-tar"),
    _mark(rb"PAR1", "application/vnd.apache.parquet"),
    _mark(rb"ARROW1\0\0", "application/vnd.apache.arrow.file"),
    _mark(rb"SQLite format 3\0", "application/vnd.sqlite3"),
)
_MARKED = frozenset(type for _, types in _BY_HEAD for type in types)
_TEXT = frozenset(_BY_SUFFIX.values()) - _MARKED - {_UNKNOWN}
_PROLOGUE = rb"(?:\xef\xbb\xbf)?(?>\s|<\?xml.*?\?>|<!--.*?-->)*+"
_DOCTYPE = rb"(?:<!DOCTYPE\s+svg\b[^>\[]*(?:\[.*?\]\s*)?>(?>\s|<!--.*?-->)*+)?"
_SVG = re.compile(_PROLOGUE + _DOCTYPE + rb"<(?:svg:)?svg[\s>]", re.DOTALL)
_PAGE = rb"<(?:!DOCTYPE\s+html|html|head|body|title|script|style|table|iframe|h1|div)[\s>]"
_HTML = re.compile(_PROLOGUE + _PAGE, re.DOTALL | re.IGNORECASE)
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def media_type(name: str, head: bytes | None = None) -> str:
    """A file's media type; `application/octet-stream` where nothing tells. `head`: its first `wire.HEAD` bytes, where known."""
    named = _BY_SUFFIX.get(PurePosixPath(name).suffix.lower(), _UNKNOWN)
    if head is None:
        return named
    for pattern, types in _BY_HEAD:
        if pattern.match(head):
            return named if named in types else types[0]
    if _BINARY.search(head) and not head.startswith(_UTF_16):
        return _UNKNOWN
    return _text(named, head)


def _text(named: str, head: bytes) -> str:
    """The name decides among kinds of text, but none makes a picture: text is a drawing when it begins as one."""
    if named in _TEXT and named != "image/svg+xml":
        return named
    if _SVG.match(head):
        return "image/svg+xml"
    return "text/html" if _HTML.match(head) else "text/plain"
