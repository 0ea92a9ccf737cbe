r"""Bytes to text: byte order mark, then strict UTF-8, then detection; what cannot be decided is rejected.

Nothing is ever replaced by a question mark: text that is not what its author wrote would be found, quoted and paid
for. Line ends become \n. Unicode is left in the form that it came in (NFC or NFD), so that offsets are the file's own.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

import regex
from charset_normalizer import from_bytes

from vector_pipeline.errors import FileRejected

_MARKS = (
    # UTF-32's little-endian mark begins with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# Multi-byte encodings are tried first: their rules are strict enough that text in another one seldom obeys them.
_EAST_ASIAN = ("cp949", "shift_jis", "gb18030", "big5", "euc_jp")
_WESTERN = ("cp1252", "cp1251", "cp1253", "cp1250", "cp1254", "cp1255", "cp1256", "cp1257")

# How much of a file detection looks at.
_SAMPLE_BYTES = 64 * 1024

# Control characters that no text holds; NUL is dealt with apart, since a few stray ones occur in real files.
_BINARY = regex.compile(rb"[\x01-\x06\x0e-\x1a\x1c-\x1f]")
_SURROGATE = regex.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Decoded:
    """A file's text, the encoding it was read in, and how many NUL and surrogate characters were taken out."""

    text: str
    encoding: str
    removed: int = 0


def decode(data: bytes) -> Decoded:
    """The text of a file. Raises FileRejected where it is binary or its encoding cannot be decided."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return _cleaned(data.decode(encoding), encoding.removesuffix("-sig"))
            except UnicodeDecodeError as error:
                raise FileRejected(
                    f"begins as {encoding} but is none at byte {error.start:,}; save it as UTF-8"
                ) from error
    refuse_binary(data)
    try:
        return _cleaned(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError as error:
        encoding = detect(data, error)
        return _cleaned(data.decode(encoding), encoding)


def refuse_binary(data: bytes) -> None:
    """Raise FileRejected for bytes that are no text: many NULs, or control characters."""
    sample = data[:_SAMPLE_BYTES]
    zeros = sample.count(0)
    if zeros * 50 > len(sample) or len(_BINARY.findall(sample)) * 100 > len(sample):
        raise FileRejected("is binary, not text; give it the suffix of its format, or remove it from the source")


def detect(data: bytes, error: UnicodeDecodeError) -> str:
    """The encoding of text that is not UTF-8. Raises FileRejected where it cannot be decided."""
    candidates = [encoding for encoding in (*_EAST_ASIAN, *_WESTERN) if _decodes(data, encoding)]
    sample = data[:_SAMPLE_BYTES]
    best = max(candidates, key=lambda encoding: _plausibility(sample, encoding), default=None)
    if best is not None and _plausibility(sample, best) >= _CERTAIN:
        return best
    match = from_bytes(sample, cp_isolation=candidates or None, threshold=0.2).best() if candidates else None
    if match is not None and match.encoding in candidates and match.chaos < _ORDERLY:
        return str(match.encoding)
    raise FileRejected(
        f"is not UTF-8 (byte {error.start:,} is 0x{data[error.start]:02x}) and its encoding cannot be told; "
        "save it as UTF-8"
    )


_CERTAIN = 0.9
_ORDERLY = 0.1


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


# Letters that texts in these encodings consist of. What decodes to anything else was probably written in another.
_EXPECTED = {
    "cp949": regex.compile(r"[\uac00-\ud7a3]"),
    "shift_jis": regex.compile(r"[\u3040-\u30ff]"),
    "euc_jp": regex.compile(r"[\u3040-\u30ff]"),
    "gb18030": regex.compile(r"[\u4e00-\u9fff]"),
    "big5": regex.compile(r"[\u4e00-\u9fff]"),
    "cp1252": regex.compile(r"[àâäáãåæçèéêëìíîïñòóôõöøœùúûüÿßÀÂÄÁÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØŒÙÚÛÜ’‘“”–—…€«»°§£©®¿¡·]"),
    "cp1251": regex.compile(r"[а-яёіїєґА-ЯЁІЇЄҐ№«»–—]"),
    "cp1253": regex.compile(r"[α-ωά-ώΑ-ΩΆ-Ώϊϋΐΰς«»–—]"),
}
_PUNCTUATION = regex.compile(r"[\u3000-\u303f\uff01-\uff5e·‘’“”…–—\u00a0]")


def _plausibility(sample: bytes, encoding: str) -> float:
    """The share of the characters above ASCII that text in an encoding consists of; 0 where none is expected."""
    expected = _EXPECTED.get(encoding)
    if expected is None:
        return 0.0
    text = sample.decode(encoding, errors="ignore")
    foreign = [character for character in text if ord(character) > 127]
    if not foreign:
        return 0.0
    joined = "".join(foreign)
    letters = len(expected.findall(joined))
    share = (letters + len(_PUNCTUATION.findall(joined))) / len(joined)
    if encoding in ("shift_jis", "euc_jp"):
        # Japanese is kana and characters; characters alone prove nothing, but with kana among them they count.
        kanji = len(regex.findall(r"[\u4e00-\u9fff]", joined))
        halfwidth = len(regex.findall(r"[\uff61-\uff9f]", joined))
        share = (letters + kanji + len(_PUNCTUATION.findall(joined)) - halfwidth) / len(joined)
        return share if letters * 5 > len(joined) else 0.0
    if encoding in ("gb18030", "big5", "cp949"):
        common = sum(1 for c in joined if _is_common(c, encoding))
        return (common + len(_PUNCTUATION.findall(joined))) / len(joined) - 0.02
    if encoding.startswith("cp125"):
        return _western_share(text, share)
    return share


_MIXED = regex.compile(r"[a-zA-Z][\p{Cyrillic}\p{Greek}]|[\p{Cyrillic}\p{Greek}][a-zA-Z]|\p{Ll}\p{Lu}")


def _western_share(text: str, share: float) -> float:
    """Accented letters stand among plain ones; Cyrillic ones in words of their own."""
    words = regex.findall(r"\w+", text)
    # Letters of two alphabets in a word, or a capital behind a small letter: read in the wrong code page.
    mixed = sum(1 for word in words if _MIXED.search(word))
    foreign = sum(1 for word in words if not word.isascii())
    return 0.0 if foreign and mixed * 3 > foreign else share - 0.01


# The rows of each character set that running text is written with: level 1 of GB 2312 and of Big5, and the 2,350
# syllables of KS X 1001, of which CP949 is an extension.
_COMMON = {"gb18030": ("gb2312", 0xB0, 0xD7), "big5": ("big5", 0xA4, 0xC6), "cp949": ("euc_kr", 0xB0, 0xC8)}


def _is_common(character: str, encoding: str) -> bool:
    try:
        lead = character.encode(_COMMON[encoding][0])
    except UnicodeEncodeError:
        return False
    if len(lead) != 2:
        return False
    _, first, last = _COMMON[encoding]
    return first <= lead[0] <= last


def _cleaned(text: str, encoding: str) -> Decoded:
    text, removed = clean(text)
    return Decoded(text, encoding, removed)


def clean(text: str) -> tuple[str, int]:
    r"""Text that Postgres and JSON take, and how many characters were taken out for it; line ends become \n.

    Postgres refuses NUL, and neither takes a surrogate without its other half; halves that belong together are joined.
    """
    removed = 0
    if "\x00" in text:
        removed += text.count("\x00")
        text = text.replace("\x00", "")
    if not text.isascii() and _SURROGATE.search(text):
        joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")
        removed += len(_SURROGATE.findall(text)) - (len(joined) - len(_SURROGATE.sub("", text))) * 2
        text = joined
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text, removed
