r"""Decode the bytes of a file: by its byte order mark, then as strict UTF-8, then by detection.

A file whose encoding cannot be decided is rejected. No byte is ever replaced by a question mark: the altered text
would be embedded at a cost, found and quoted. Line ends become \n. The Unicode form (NFC or NFD) does not change, so
offsets are those of the file.
"""

from __future__ import annotations

import codecs
import io
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import regex

from vector_pipeline.errors import FileRejected
from vector_pipeline.text.encodings.detection import (
    Reading,
    codecs_of,
    is_plausible,
    most_likely,
    odd_places,
    unlikely_place,
)

_MARKS = (
    # UTF-32's little-endian mark begins with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# Formats with an unmistakable beginning whose files sometimes have the suffix of a text file.
_FORMATS = (
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive, or an Office document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (b"{\\rtf", "an RTF document"),
    (b"\x1f\x8b\x08", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"PAR1", "binary (Parquet)"),
    (b"SQLite format 3\x00", "binary (an SQLite database)"),
    (b"\x89PNG", "binary (a PNG image)"),
    (b"\xff\xd8\xff", "binary (a JPEG image)"),
    (b"GIF8", "binary (a GIF image)"),
)

# Control characters that no text holds. NUL is handled separately, because a few stray ones occur in real files.
_CONTROLS = bytes([*range(1, 7), *range(14, 27), *range(28, 32)])

# The size of the blocks in which a stream is read.
BLOCK_BYTES = 1 << 20

# Detection is certain with this many bytes outside ASCII. If a block has fewer, detection also sees the next block.
_ENOUGH = 2048


@dataclass(frozen=True, slots=True)
class Decoded:
    """A file's text, its encoding, and the number of NUL and surrogate characters that were removed."""

    text: str
    encoding: str
    removed: int = 0


def decode(data: bytes, *, declared: str = "") -> Decoded:
    """Decode a file. Raises FileRejected if it is binary or its encoding cannot be decided.

    `declared` is the encoding that the file itself names, by Python's name. It is used if the bytes agree.
    """
    decoder = _Decoder(declared)
    return _cleaned("".join(decoder.decode(data, b"", final=True)), decoder.encoding)


class TextStream:
    """The text of a stream, decoded block by block. It holds one block or the longest line in memory."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder = _Decoder("")

    @property
    def encoding(self) -> str:
        """The encoding of the part read so far; UTF-8 while that part is ASCII."""
        return self._decoder.encoding

    def lines(self) -> Iterator[str]:
        r"""Yield the lines with their ends (\n, \r\n or \r). Raises FileRejected, which names the line."""
        unfinished: list[str] = []
        for text in self.blocks():
            first, *others = io.StringIO(text, newline="")
            unfinished.append(first)
            if not first.endswith(("\n", "\r")):
                continue
            yield "".join(unfinished)
            unfinished = [others.pop()] if others and not others[-1].endswith(("\n", "\r")) else []
            yield from others
        if unfinished:
            yield "".join(unfinished)

    def blocks(self) -> Iterator[str]:
        r"""Yield the text in pieces, of which none ends between \r and \n. Raises FileRejected, which names the line."""
        held = ""
        block = self._stream.read(BLOCK_BYTES)
        while block:
            following = self._stream.read(BLOCK_BYTES)
            for text in self._decoder.decode(block, following, final=not following):
                whole = (held + text).removesuffix("\r")
                held = "\r" if (text or held).endswith("\r") else ""
                if whole:
                    yield whole
            block = following
        if held:
            yield held


class _Decoder:
    """Decodes a file block by block, and decides its encoding at the first byte outside ASCII."""

    def __init__(self, declared: str) -> None:
        self.encoding = ""
        self._declared = declared
        self._decoder: codecs.IncrementalDecoder | None = None
        self._reading: Reading | None = None
        self._ascii = True
        self._lines = 0

    def decode(self, data: bytes, following: bytes, *, final: bool) -> Iterator[str]:
        if self._decoder is None:
            data = self._begin(data)
        elif self.encoding == "utf-8" and self._ascii and 0x1B in data and (encoding := _iso2022(data)):
            self._use(encoding)
        assert self._decoder is not None
        held = self._decoder.getstate()[0]
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError as error:
            text = self._decide(held + data, following, error, final=final)
        if self._reading is not None:
            self._check_lines(text, self._reading)
        if not final:
            self._ascii = self._ascii and text.isascii()
            self._lines += _count_lines(text)
        yield text

    def _begin(self, data: bytes) -> bytes:
        encoding = "utf-8"
        for mark, marked in _MARKS:
            if data.startswith(mark):
                data, encoding = (data[3:], "utf-8") if marked == "utf-8-sig" else (data, marked)
                break
        else:
            refuse_formats(data)
            encoding = _unmarked(data)
        self._use(encoding)
        return data

    def _use(self, encoding: str) -> None:
        self.encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")

    def _decide(self, data: bytes, following: bytes, error: UnicodeDecodeError, *, final: bool) -> str:
        """Decode a block that the first choice of encoding cannot decode."""
        place = self._place(data, error)
        if self.encoding != "utf-8" or not self._ascii:
            raise FileRejected(f"{place} is not {self.encoding}, as the file is up to there; save it as UTF-8")
        ahead = following if len(data.translate(None, _ASCII)) < _ENOUGH else b""
        self._reading = detect(data + ahead, error, place, self._declared)
        encoding = self._reading.encoding if self._reading is not None else self._declared
        for codec in codecs_of(encoding):
            self._use(codec)
            assert self._decoder is not None
            try:
                return self._decoder.decode(data, final)
            except UnicodeDecodeError as failure:
                error = failure
        raise FileRejected(f"{self._place(data, error)} is not {encoding}, as the file is elsewhere; save it as UTF-8")

    def _check_lines(self, text: str, reading: Reading) -> None:
        """Raise FileRejected if a line is in another encoding than the rest.

        Such a line may decode without an error, as the wrong characters.
        """
        enough, end, number = (1 if reading.single_byte else 4), -1, self._lines + 1
        counted = 0
        unlikely = unlikely_place(text, reading.script)
        if unlikely is not None:
            raise FileRejected(
                f"line {number + text.count(chr(10), 0, unlikely):,} does not read as {reading.encoding}, as the rest "
                "does: the file mixes encodings; save it as UTF-8"
            )
        places = odd_places(text, reading.script)
        for index, place in enumerate(places):
            if place < end:
                continue
            start, end = text.rfind("\n", 0, place) + 1, text.find("\n", place)
            end = end if end >= 0 else len(text)
            number += text.count("\n", counted, start)
            counted = start
            line = text[start:end]
            odd = bisect_left(places, end) - index
            foreign = len(line) - len(line.encode("ascii", "ignore"))
            if _is_utf8(line.encode(self.encoding), enough) or (foreign >= 4 and odd * 2 > foreign):
                raise FileRejected(
                    f"line {number:,} does not read as {reading.encoding}, as the rest does: the file mixes "
                    "encodings; save it as UTF-8"
                )

    def _place(self, data: bytes, error: UnicodeDecodeError) -> str:
        lines = self._lines + _count_lines(data[: error.start].decode(self.encoding, "ignore"))
        return f"line {lines + 1:,} (byte 0x{data[error.start]:02x})"


_ASCII = bytes(range(128))


def detect(data: bytes, error: UnicodeDecodeError, place: str, declared: str) -> Reading | None:
    """The most likely reading of text that is not UTF-8; None if only `declared` can decide it.

    Raises FileRejected if there is neither a likely reading nor a declared encoding.
    """
    lenient = data.decode("utf-8", "replace")
    broken = lenient.count("\ufffd")
    if len(lenient.encode()) - len(lenient) > 3 * 2 * broken and not declared:
        # Most bytes outside ASCII are UTF-8: the file was cut, or joined from files in several encodings.
        raise FileRejected(f"{place} is not UTF-8, as the rest of the file is; fix it, or save it as UTF-8 again")
    reading = most_likely(data, declared=declared)
    if reading is None and not declared:
        if any(_is_utf8(line, 1) for line in data.split(b"\n")):
            raise FileRejected(
                f"{place} is not UTF-8, though other lines are: the file mixes encodings; save it as UTF-8"
            )
        raise FileRejected(f"{place} is not UTF-8, and its encoding cannot be detected; save it as UTF-8")
    return reading


def refuse_formats(data: bytes) -> None:
    """Raise FileRejected if a file begins like one of another format."""
    for magic, name in _FORMATS:
        if data.startswith(magic):
            raise FileRejected(f"is {name}, not text; convert it to text, or remove it from the source")


def _is_binary(data: bytes) -> bool:
    """Whether bytes hold too many NULs or control characters to be text in a single-byte encoding."""
    # A single one proves nothing, however short the file is.
    controls = len(data) - len(data.translate(None, _CONTROLS))
    return (0 in data and (data.count(0) - 1) * 50 > len(data)) or (controls - 1) * 100 > len(data)


def _unmarked(data: bytes) -> str:
    """The encoding of a file without a byte order mark: ISO-2022 or UTF-16 if its bytes show it, else UTF-8."""
    # A search for one byte is several times as fast as a search for two.
    if 0x1B in data and (encoding := _iso2022(data)):
        return encoding
    binary = _is_binary(data)
    if 0 in data and len(data) % 2 == 0 and (binary or not _is_utf8(data, 0)):
        found = [encoding for encoding in ("utf-16-le", "utf-16-be") if _is_utf16(data[:_SAMPLE_BYTES], encoding)]
        if len(found) == 1:
            return found[0]
    if binary:
        raise FileRejected("is binary, not text; give it the suffix of its format, or remove it from the source")
    return "utf-8"


# What announces two-byte characters in ISO-2022 (RFC 1468, 1554, 1557, 1922).
_SHIFT = regex.compile(rb"\x1b\$(?:[@AB]|[()][@-Z])")


def _iso2022(data: bytes) -> str:
    """The encoding of 7-bit text in ISO-2022; empty if it has no such text. Raises FileRejected if it is damaged."""
    shift = _SHIFT.search(data) if data.isascii() else None
    if shift is None:
        return ""
    # Python's decoders of Japanese take Korean and Chinese (RFC 1922) without an error, as signs.
    japanese = () if b")" in shift[0] else ("iso2022_jp_ext", "iso2022_jp_2")
    for encoding in ("iso2022_kr",) if shift[0] == b"\x1b$)C" else japanese:
        try:
            # A block may end inside a character.
            codecs.getincrementaldecoder(encoding)("strict").decode(data, False)
        except UnicodeDecodeError:
            continue
        return encoding
    raise FileRejected("has the escape sequences of ISO-2022, but is not whole in ISO-2022-JP or -KR; save it as UTF-8")


_SAMPLE_BYTES = 64 * 1024


def _is_utf16(data: bytes, encoding: str) -> bool:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        # The sample may end between the halves of a pair.
        text = data[: error.start].decode(encoding) if error.start == len(data) - 2 else "\x00"
    return "\x00" not in text and is_plausible(text)


def _is_utf8(data: bytes, characters: int) -> bool:
    """Whether bytes are UTF-8 with at least this number of characters outside ASCII."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return characters == 0 or len(text) - len(text.encode("ascii", "ignore")) >= characters


def _count_lines(text: str) -> int:
    return text.count("\n") or text.count("\r")


def _cleaned(text: str, encoding: str) -> Decoded:
    removed = 0
    if "\x00" in text:
        removed = text.count("\x00")
        text = text.replace("\x00", "")
    return Decoded(_line_ends(text), encoding or "utf-8", removed)


def _line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


_SURROGATE = regex.compile("[\ud800-\udfff]")
_PAIR = regex.compile("[\ud800-\udbff][\udc00-\udfff]")


def clean(text: str) -> tuple[str, int]:
    r"""Make a text valid for Postgres and JSON; returns it and the number of characters removed. Line ends become \n.

    Postgres refuses NUL. Neither accepts a surrogate without its other half. Two halves that belong together are joined.
    """
    removed = 0
    if "\x00" in text:
        removed = text.count("\x00")
        text = text.replace("\x00", "")
    if not text.isascii() and _SURROGATE.search(text):
        text = _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
        whole = _SURROGATE.sub("", text)
        removed += len(text) - len(whole)
        text = whole
    return _line_ends(text), removed
