"""What the tests of other libraries assert about the text of their documents.

The tests of Apache Tika and POI (Java), unstructured and markitdown (Python) name a document and strings that must stand
in its text. These functions take such strings from the source of the tests, without running it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

import regex

Asserted = tuple[str, str]
"""The base name of a document, and a string that stands in its text."""

_COMMENT = regex.compile(r'("(?:\\.|[^"\\\n])*+")|//[^\n]*|(?s:/\*.*?\*/)')
_LITERAL = regex.compile(r'"(?:\\.|[^"\\\n])*+"')
_CALL = regex.compile(
    r"assertContains\s*(?<args>\((?:[^()\"]|\"(?:\\.|[^\"\\\n])*+\"|(?&args))*+\))"
    r"|assertTrue\(\s*(?<of>[\w.]+(?:\(\))?)\.(?:contains|startsWith)(?<only>(?&args))"
    r"|(?<file>\"[^\"\n]*\.\w{3,5}\")"
)
# A test with options of its own asserts what is not read by default.
_OPTIONS = regex.compile(r"Config\b|\.set\w+\(|TikaLoader|OCR")
# The first document that a file holds is itself. What is asserted of metadata or of a file inside does not count.
_OTHER = regex.compile(
    r"(?i)\.get\((?!0\)|TikaCoreProperties\.TIKA_CONTENT)|metadata(?!List|\.get\(0|\w*\.get\(Tika)|mes?sa?ge?"
)
_ARGUMENT = regex.compile(
    r"(?:[^,()\"]|\"(?:\\.|[^\"\\\n])*+\"|(?<in>\((?:[^()\"]|\"(?:\\.|[^\"\\\n])*+\"|(?&in))*+\)))++"
)
_ESCAPE = regex.compile(r"\\(?:u+([0-9a-fA-F]{4})|(.))")
_TAG = regex.compile(r"</?[a-zA-Z][^<>]*>")
_NO_TEXT = regex.compile(r"[<>]|=\"|\w:\w+=|data:|^[\s*]*(?:From|To|CC|Date|Subject|Attachments?|Authors):")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r"}


def of_java(source: str) -> Iterator[Asserted]:
    """The assertions of a class of tests. A string belongs to the document that its method named last."""
    source = _COMMENT.sub(lambda match: match[1] or " ", source)
    for method in regex.split(r"@(?:Test|ParameterizedTest)\b", source)[1:]:
        if _OPTIONS.search(method):
            continue
        document = ""
        for found in _CALL.finditer(method):
            if found["file"]:
                document = PurePosixPath(_java_string(found["file"])).name
                continue
            arguments = _arguments(found["only"] or found["args"])
            strings = [argument for argument in arguments if not _LITERAL.sub("", argument).strip(" \n\t+")]
            others = [found["of"] or "", *(argument for argument in arguments if argument not in strings)]
            if document and strings and not any(map(_OTHER.search, others)):
                yield document, "".join(map(_java_string, _LITERAL.findall(strings[0])))


def _arguments(call: str) -> list[str]:
    """The arguments of a call, from `(` to `)`."""
    return [match[0] for match in _ARGUMENT.finditer(call[1:-1])]


def _java_string(literal: str) -> str:
    def one(match: regex.Match[str]) -> str:
        return chr(int(match[1], 16)) if match[1] else _LETTERS.get(match[2], match[2])

    text = str(_ESCAPE.sub(one, literal[1:-1]))
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def of_python(source: str) -> Iterator[Asserted]:
    """The assertions of a module of tests: what a function that names one document compares texts with."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            yield from _compared(node)
        elif isinstance(node, ast.Call):
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            if isinstance(name := given.get("filename"), ast.Constant) and "must_include" in given:
                yield from ((str(name.value), text) for text in _strings(given["must_include"]))


def _compared(function: ast.FunctionDef) -> Iterator[Asserted]:
    documents = {
        PurePosixPath(text).name
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "example_doc_path"
        for text in _strings(call)
    }
    if len(documents) != 1:
        return
    for node in ast.walk(function):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq) and len(node.comparators) == 1:
            left, right = ast.unparse(node.left), node.comparators[0]
            if regex.fullmatch(r"[\w\[\]-]+\.text|\[(\w+)\.text for \1 in \w+\]", left):
                texts = [right, *getattr(right, "elts", [])]
                yield from ((next(iter(documents)), text) for found in texts for text in _constant(found))


def _constant(tree: ast.AST) -> list[str]:
    return [tree.value] if isinstance(tree, ast.Constant) and isinstance(tree.value, str) else []


def _strings(tree: ast.AST) -> list[str]:
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


ASSERTIONS: dict[str, tuple[str, str, Callable[[str], Iterator[Asserted]]]] = {
    "tika": ("apache/tika", r"src/test/java/.*Test\.java", of_java),
    "poi": ("apache/poi", r"(?<!hpsf/)(?<!hpsf/extractor/)Test\w*Extract\w*\.java", of_java),
    "unstructured": ("Unstructured-IO/unstructured", r"test_unstructured/partition/.*\.py", of_python),
    "markitdown": ("microsoft/markitdown", r"tests/.*\.py", of_python),
}
"""The repository of each set, its tests, and how they are read."""


def is_text(asserted: str) -> bool:
    """Whether a string is text: four letters or more, no part of a tag, no picture, and no line of a message's head."""
    rest = _TAG.sub(" ", asserted)
    return len(regex.findall(r"\w", rest)) >= 4 and not _NO_TEXT.search(rest)
