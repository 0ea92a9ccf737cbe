"""How often text that is not UTF-8 is read right, rejected, or taken for other text, beside the detection libraries.

The texts are Django's own translations, which nothing here was made from: single messages by length, pages of 25 of
them, and all of a language together, encoded as such files come. Django and the libraries are installed into a virtual
environment in FOLDER (kept and used again). A library is believed whatever it answers, since its users have nothing
else to go by; that it gives no answer counts as a rejection. Prints a Markdown table.

    python benchmarks/encodings.py --peers FOLDER
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import time
import venv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import regex

from vector_pipeline.errors import FileRejected
from vector_pipeline.text.encodings.decode import decode

PACKAGES = ("django", "chardet", "charset-normalizer", "faust-cchardet")
ENCODINGS = {
    "ko": "cp949 euc_kr",
    "ja": "shift_jis euc_jp",
    "zh_Hans": "gb18030",
    "zh_Hant": "big5",
    **dict.fromkeys(("de", "fr", "es", "pt", "sv"), "cp1252"),
    **dict.fromkeys(("pl", "cs", "hu"), "cp1250"),
    **dict.fromkeys(("lt", "lv"), "cp1257"),
    **dict.fromkeys(("uk", "bg"), "cp1251"),
    "ru": "cp1251 koi8_r",
    "el": "cp1253",
    "tr": "cp1254",
    "he": "cp1255",
    "ar": "cp1256",
    "th": "cp874",
}
LENGTHS = ("under 20 characters", "20 to 60", "over 60", "25 messages", "all messages")
MAX_TEXTS_OF_LENGTH = 60

# Reads texts in base64, a line each, and writes what the library makes of them, or null.
PEER = """
import base64, json, sys
name = sys.argv[1]
def read(data):
    if name == "charset-normalizer":
        from charset_normalizer import from_bytes
        best = from_bytes(data).best()
        return str(best) if best else None
    if name == "chardet":
        from chardet import detect
    else:
        from cchardet import detect
    encoding = detect(data)["encoding"]
    try:
        return data.decode(encoding) if encoding else None
    except (LookupError, UnicodeDecodeError):
        return None
for line in sys.stdin:
    print(json.dumps(read(base64.b64decode(line))), flush=True)
"""

_MESSAGE = regex.compile(r'msgstr(?:\[\d\])? ((?:"(?:[^"\\]|\\.)*"\s*)+)')
_STRING = regex.compile(r'"((?:[^"\\]|\\.)*)"')
_PLACEHOLDER = regex.compile(r"%\(\w+\)[sd]|%[sd]|\{\w+\}")


def messages(django: Path, language: str) -> list[str]:
    """The translations into a language that are not ASCII, each once."""
    found: dict[str, None] = {}
    for catalogue in sorted(django.rglob(f"locale/{language}/LC_MESSAGES/django.po")):
        for match in _MESSAGE.finditer(catalogue.read_text()):
            text = "".join(_STRING.findall(match[1])).replace("\\n", "\n").replace('\\"', '"')
            text = _PLACEHOLDER.sub("", text).strip()
            if text and not text.isascii() and "Project-Id" not in text:
                found[text] = None
    return list(found)


def texts(django: Path) -> Iterator[tuple[str, str, str]]:
    """Length, encoding and text; characters that the encoding lacks are left out of it."""
    for language, encodings in ENCODINGS.items():
        found = messages(django, language)
        by_length = {
            LENGTHS[0]: [text for text in found if len(text) < 20],
            LENGTHS[1]: [text for text in found if 20 <= len(text) < 60],
            LENGTHS[2]: [text for text in found if len(text) >= 60],
            LENGTHS[3]: ["\n".join(found[first : first + 25]) for first in range(0, len(found) - 24, 25)],
            LENGTHS[4]: ["\n".join(found)],
        }
        for encoding in encodings.split():
            for length, of_length in by_length.items():
                for text in of_length[:MAX_TEXTS_OF_LENGTH]:
                    encodable = text.encode(encoding, "ignore").decode(encoding)
                    if not encodable.isascii():
                        yield length, encoding, encodable


def ours(data: bytes) -> str | None:
    """The text that the pipeline reads; None where it rejects the file."""
    try:
        return decode(data).text
    except FileRejected:
        return None


def theirs(folder: Path, name: str, data: list[bytes]) -> list[str | None]:
    """The texts that a library reads."""
    lines = "\n".join(base64.b64encode(one).decode() for one in data)
    command = [str(folder / "bin" / "python"), "-c", PEER, name]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True, help="folder of the virtual environment of the libraries")
    folder = parser.parse_args().peers
    if not (folder / "bin" / "python").exists():
        venv.create(folder, with_pip=True)
        subprocess.run([str(folder / "bin" / "pip"), "install", "-q", *PACKAGES], check=True)
    (django,) = folder.glob("lib/python*/site-packages/django")
    cases = list(texts(django))
    data = [text.encode(encoding) for _, encoding, text in cases]
    print(f"{len(cases):,} texts\n\n| right / rejected / wrong | seconds | {' | '.join(LENGTHS)} |")
    print("| --- " + "| ---: " * (len(LENGTHS) + 1) + "|")
    for name in ("this package", *PACKAGES[1:]):
        began = time.perf_counter()
        answers = [ours(one) for one in data] if name == "this package" else theirs(folder, name, data)
        seconds = time.perf_counter() - began
        outcomes: Counter[tuple[str, str]] = Counter()
        for (length, _, text), answer in zip(cases, answers, strict=True):
            outcomes[length, "rejected" if answer is None else "right" if answer == text else "wrong"] += 1
        cells = (" / ".join(f"{outcomes[length, o]:,}" for o in ("right", "rejected", "wrong")) for length in LENGTHS)
        print(f"| {name} | {seconds:.1f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
