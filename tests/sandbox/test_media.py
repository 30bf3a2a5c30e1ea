"""Media types by first bytes and name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import media_type

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
ZIP = b"PK\3\4\x14\0"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
MP4 = b"\0\0\0\x20ftypisom\0\0\2\0"
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
        (b"GIF89a\1\0", "image/gif"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "audio/wav"),
        (b"RIFF\x24\0\0\0AVI LIST", "video/x-msvideo"),
        (b"BM\x36\0\0\0\0\0\0\0\x36", "image/bmp"),
        (b"II*\0\x08\0\0\0", "image/tiff"),
        (b"\0\0\0\x20ftypavif", "image/avif"),
        (b"ID3\4\0", "audio/mpeg"),
        (b"\xff\xfb\x90\x64", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac"),
        (b"fLaC\0\0\0\x22", "audio/flac"),
        (b"OggS\0\2" + bytes(20) + b"\1\x13OpusHead", "audio/ogg"),
        (b"OggS\0\2" + bytes(20) + b"\1\x2a\x80theora", "video/ogg"),
        (b"\0\0\0\x20ftypM4A ", "audio/mp4"),
        (MP4, "video/mp4"),
        (b"\0\0\0\x14ftypqt  ", "video/quicktime"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\1B\x82\x84webmB\x87", "video/webm"),
        (b"\x1aE\xdf\xa3\xa3B\x86\x81\1B\x82\x88matroska", "video/x-matroska"),
        (b"%PDF-1.7\n%\xe2\xe3", "application/pdf"),
        (ZIP, "application/zip"),
        (b"\x1f\x8b\x08\0", "application/gzip"),
        (b"a.txt" + bytes(252) + b"ustar\x0000", "application/x-tar"),
        (b"PAR1\x15\4", "application/vnd.apache.parquet"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", "image/svg+xml"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- drawn -->\n<!DOCTYPE svg PUBLIC '-//W3C//DTD'>\n<svg\n", "image/svg+xml"),
        (b"\n<!-- a page --><!doctype HTML>\n<title>", "text/html"),
        (b"<HTML lang=en>", "text/html"),
        (b"name,count\n", "text/plain"),
        ("größe;menge\n".encode("latin-1"), "text/plain"),
        ("größe".encode("utf-16"), "text/plain"),
        (b"", "text/plain"),
        (b"\x93NUMPY\1\0v\0", "application/octet-stream"),
        (b"BMW,AUDI\n1,2\n", "text/plain"),
    ],
)
def test_the_first_bytes_tell(head: bytes, found: str) -> None:
    assert media_type("x", head) == found
    assert media_type("x.jpeg", head) == found  # whatever it is called


@pytest.mark.parametrize(
    ("name", "head", "found"),
    [
        ("a.docx", ZIP, WORD),
        ("a.DOCX", ZIP, WORD),
        ("a.docx", PNG, "image/png"),
        ("a.doc", OLE, "application/msword"),
        ("a", OLE, "application/x-ole-storage"),
        ("a.m4a", MP4, "audio/mp4"),
        ("a.csv", b"a,b\n", "text/csv"),
        ("a.json", b"{}", "application/json"),
        ("a.csv", ZIP, "application/zip"),
        ("a.csv", b"\0\1\2", "application/octet-stream"),
        ("page.txt", b"<!doctype html>", "text/plain"),
        ("page.html", b"no tags", "text/html"),
        ("drawing.svg", b"<!doctype html>", "text/html"),
        ("drawing.svg", b"<svg>", "image/svg+xml"),
        ("x.png", b"<html><script>", "text/html"),
        ("x.png", b"", "text/plain"),
    ],
)
def test_the_name_decides_among_what_begins_alike(name: str, head: bytes, found: str) -> None:
    assert media_type(name, head) == found


def test_without_bytes_the_name_is_all_there_is() -> None:
    assert media_type("dir.x/a.PNG") == "image/png"
    assert media_type("a.unheard-of") == media_type("a") == "application/octet-stream"


@given(
    st.binary(max_size=512) | st.sampled_from([b"<!---->" * 73, b"<?xml?>" * 73, b"<!DOCTYPE svg" + b">" * 490, b"\n" * 512])
)
def test_any_bytes_have_a_type_and_never_a_pictures_by_name_alone(head: bytes) -> None:
    assert "/" in media_type("a.webp", head)
    assert media_type("a.webp", head) != "image/webp" or head[8:12] == b"WEBP"
