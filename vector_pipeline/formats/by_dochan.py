"""The text of a document by dochan, and the reason if a library cannot read a document."""

from __future__ import annotations

import dochan
import regex

from vector_pipeline.errors import FileRejected, one_line
from vector_pipeline.formats.dialects import of_dochan
from vector_pipeline.formats.packages import PASSWORD, as_file

_ENCRYPTED = regex.compile(r"(?i)password|encrypt|암호화|DRM")
_HANGUL = (".hwp", ".hwpx")
# dochan writes its errors in Korean with an English cause behind them, and names the temporary file.
_KOREAN = regex.compile(r"(?s)^.*\p{Hangul}[^:]*:?")
_PLACE = regex.compile(r"(?:^|(?<=[\s:'\"(]))/\S+")


def by_dochan(data: bytes, suffix: str) -> str:
    """The Markdown of a document with this suffix. Raises FileRejected."""
    with as_file(data, suffix) as path:
        try:
            found = dochan.Dochan(path)
        except Exception as error:
            raise refused(one_line(error)) from error
        text = of_dochan(str(found.to_markdown()), states_author=suffix not in _HANGUL)
    if not text.strip() and found.errors:
        raise refused(" ".join(map(str, found.errors)))
    return text


def refused(why: str) -> FileRejected:
    """The rejection of a document that a library cannot read, with the library's reason."""
    if _ENCRYPTED.search(why):
        return FileRejected(PASSWORD)
    reason = " ".join(_PLACE.sub("", _KOREAN.sub("", why)).split()).strip(" :()'\"")[:120]
    shown = f" ({reason})" if reason else ""
    return FileRejected(f"is damaged, or of an unknown format{shown}; open it in its program and save it again")
