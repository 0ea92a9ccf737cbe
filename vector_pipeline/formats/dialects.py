"""The Markdown of kreuzberg and of dochan, without what each writes in its own way.

Both results are for `markdown.plainer`, which removes what is left of emphasis and escapes.
"""

from __future__ import annotations

import html

import regex

from vector_pipeline.formats.markdown import outside_code

_PICTURE = regex.compile(r"!\[([^\]]*+)\]\(([^)\n]*+)\)")
# The name of a shape, in the language of the program: "Picture 1". dochan writes it behind the description.
_SHAPE = regex.compile(
    r"(?i)(?:^|\s+)(?:picture|pic|image|graphic|(?:content )?placeholder|object|grafik|bild|imagen?|imagem|immagine"
    r"|рисунок|图片|圖片|図|画像|그림)(?:\s*\d+)?$"
)
_FILE_NAME = regex.compile(r"(?i)(?:fig:\s*)?\S+\.(?:png|jpe?g|gif|wmf|emf|bmp|tiff?|svg|pict)")
_STRUCK = regex.compile(r"~~(?=\S)([^~\n]++)(?<=\S)~~")

# kreuzberg ---------------------------------------------------------------------------------------------------------
_ROW = regex.compile(r"(?m)^\|.*")
_ESCAPED_MARK = regex.compile(r"\\([*~_])")
# Raised and lowered text, as `1^st^` and `H~2~O`. Formulas have the same signs.
_SCRIPT = regex.compile(
    r"\$[^$\n]++\$|(?<![\[\\^])\^((?:\[\^\w+\])+|[\w.,*†‡()]{1,20})\^(?!\^)|(?<![\\~])~([\w.,()]{1,20})~(?!~)"
)

# dochan ------------------------------------------------------------------------------------------------------------
_HEAD_COMMENTS = r"(?:\s*<!--(?:(?!-->).)*+-->)*"
# The title and the author, which are in the metadata already.
_STATED = regex.compile(rf"(?s)\A({_HEAD_COMMENTS}\s*)(?:# [^\n]*\n\n)?Author: [^\n]*(?:\n|\Z)")
_TARGET = regex.compile(r"\[bookmark: [^\]\n]*+\] ?| ?<#[^<>\s]*+>")
_REMARK = regex.compile(r" ?\[comment \d+(?:: [^\]]*+)?\]")
_REMARK_TEXT = regex.compile(r"(?m)^\[\^comment-\d+\]:[^\n]*+\n?(?:\n?(?: {4}|\t)[^\n]*+\n?)*+")
_JOINED = regex.compile(r"(?<=\S)\*{4,}(?=\S)")


def of_kreuzberg(markdown: str) -> str:
    """Text with entities resolved and without signs for raised and lowered text."""
    markdown = _ROW.sub(lambda row: _ESCAPED_MARK.sub(r"\1", row[0]), markdown)
    return outside_code(markdown, lambda text: _STRUCK.sub(r"\1", _SCRIPT.sub(_on_the_line, html.unescape(text))))


def of_dochan(markdown: str, *, states_author: bool) -> str:
    """Text without marks of anchors, remarks of reviewers and names of shapes.

    If it `states_author`, as of documents of Office, its title and author above the text are removed too.
    """
    markdown = _REMARK_TEXT.sub("", _STATED.sub(r"\1", markdown) if states_author else markdown)
    return _with_descriptions(_STRUCK.sub(r"\1", _JOINED.sub("", _REMARK.sub("", _TARGET.sub("", markdown)))))


def _on_the_line(found: regex.Match[str]) -> str:
    return found[1] or found[2] or found[0]


def _with_descriptions(markdown: str) -> str:
    """Text with each picture once, with its description alone. In slides dochan writes a picture twice."""
    seen: set[str] = set()

    def one(picture: regex.Match[str]) -> str:
        description = _SHAPE.sub("", " ".join(picture[1].split()))
        if "/" not in picture[2] and description in seen:
            return ""
        seen.add(description)
        return "" if _FILE_NAME.fullmatch(description) else f"![{description}]({picture[2]})"

    return _PICTURE.sub(one, markdown)
