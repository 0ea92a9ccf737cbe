"""Files that something grows in without end, each made at whatever size is wanted."""

from __future__ import annotations

import json
from collections.abc import Callable

GROWING: dict[str, Callable[[int], str]] = {}
"""Name, with the suffix of its format, to what makes a file of so many parts."""


def _grows(name: str) -> Callable[[Callable[[int], str]], Callable[[int], str]]:
    def keep(make: Callable[[int], str]) -> Callable[[int], str]:
        GROWING[name] = make
        return make

    return keep


def _text(name: str, part: str, *, begin: str = "", end: str = "") -> None:
    GROWING[name] = lambda parts: begin + part * parts + end


for _name, _part in {
    "words": "lorem ipsum dolor ",
    "one word": "a",
    "spaces": " ",
    "odd spaces": " \u00a0\u2003",
    "lines": "\n",
    "indented lines": "\n    ",
    "spaces before lines": "        \n",
    "carriage returns": "\r",
    "tabs": "\t",
    "digits": "1",
    "full stops": ".",
    "sentences": "A. ",
    "quotes": "\".'",
    "signs": "*-_=",
    "flags": "\U0001f1e6",
    "flags and letters": "\U0001f1e6\U0001f1e7a",
    "marks": "\u0301",
    "joined emoji": "\U0001f469\u200d",
    "emoji": "\U0001f469\U0001f3fd",
    "Devanagari": "\u0915\u094d",
    "Hangul in parts": "\u1100\u1161\u11a8",
    "syllables": "한",
    "Korean": "대한민국의 주권은 국민에게 있고 ",
    "Thai": "การทำงาน",
    "zero width": "\u200b",
    "right to left": "\u202e\u05d0",
    "headings": "# h\n",
    "headings that nest": "# a\n## b\n### c\n#### d\n##### e\n###### f\n",
    "underlines": "a\n===\n",
    "underlines only": "===\n",
    "a long underline": "=",
    "marks of headings": "#",
    "headings without a title": "# \n",
    "fences": "```\n",
    "open fences": "```\n~~~\n",
    "backticks": "`",
    "items": "- a\n",
    "numbers before items": "1",
    "items that nest": "\n - ",
    "quoted lines": "> > a\n",
    "table": "| a | b |\n",
    "brackets": "[",
    "links": "[a](b) ",
    "data": "data:;base64,",
    "data over lines": "data:;base64,\n" + "A" * 64 + "\n",
    "control characters": "\x1b[31m text ",
    "surrogates": "\U00010400",
}.items():
    _text(f"{_name}.md", _part, begin="x\n")

_text("title.md", "t", begin="# ")
_text("front matter.md", "a: 1\n", begin="---\n", end="---\ntext")
_text("front matter that nests.md", "[", begin="---\na: ", end="\n---\ntext")
_text("front matter of dashes.md", "- ", begin="---\n", end="\n---\ntext")
_text("front matter of aliases.md", "*a , ", begin="---\nb: &a x\na: [", end="]\n---\ntext")
_text("front matter that does not end.md", "---x\n", begin="---\n")

for _name, _part in {
    "elements": "<p>x",
    "elements that nest": "<div>x",
    "nested in order": "<ul><li>x",
    "formatting": "<b>x",
    "formatting in paragraphs": "<p><b>x",
    "links": "<a href=x>y</a> ",
    "crossing": "<a><b><div></a>x",
    "cells": "<td>x",
    "text in a table": "x<b>",
    "code": "<pre>`x\n</pre>",
    "lines of code": "<div>x</div>",
    "readings": "<ruby>x<rt>y</ruby>",
    "formulas": "<math><mi>x</mi></math>",
    "formulas that nest": "<math><mfrac><mi>x</mi><msup>",
    "drawings": "<svg><g><text>x</text>",
    "exponents": "1<sup>2</sup>",
    "exponents that nest": "1<sup>2",
    "visible in invisible": "<p style='visibility:hidden'>x<b style='visibility:visible'>y</b>",
    "shadows": "<a-b><template shadowrootmode=open>x<slot></slot></template>y</a-b>",
    "shadows that nest": "<a-b><template shadowrootmode=open>x",
    "templates": "<template>",
    "hidden": "<p hidden>x</p>y",
    "styled": "<span style='display:block;color:red'>x</span>",
    "nested styles": "<div style='display:none'>x",
    "entities": "&amp;&nbsp;",
    "open entities": "&",
    "comments": "<!--",
    "tags": "<",
    "ends": "</p>",
    "bodies": "<body>",
    "scripts": "<script>x</script>y",
    "buttons": "<button>x",
    "hr": "<hr>",
    "breaks": "<br> ",
    "soft hyphens": "x&shy;",
    "empty tags": "<title/>",
}.items():
    _text(f"{_name}.html", _part, begin="<body>x")

_text("lines of code in one.html", "<span style='display:block'>x</span>", begin="<pre>", end="</pre>")
_text("declarations.html", "display:(';", begin='<p style="', end='">x</p>')
_text("open brackets.html", "(", begin='<p style="display:', end='">x</p>')
_text("open comments.html", "/*", begin='<p style="display:', end='">x</p>')
_text("parts of one formula.html", "<mo>(</mo><mi>x</mi>", begin="<math>", end="</math>")
_text("headings in one.html", "<b>x", begin="<h1>")


@_grows("attributes.html")
def _attributes(parts: int) -> str:
    return "<p " + " ".join(f"a{n}=1" for n in range(parts)) + ">x</p>"


@_grows("attributes of bodies.html")
def _bodies(parts: int) -> str:
    return "".join(f"<body a{n}=1>" for n in range(parts)) + "x"


@_grows("formatting of its own.html")
def _formatting(parts: int) -> str:
    return "<p>" + "".join(f"<b a={n}>" for n in range(parts)) + "<p>x" * parts


@_grows("columns.csv")
def _columns(parts: int) -> str:
    return ",".join(f"c{n}" for n in range(parts)) + ",text\n" + "," * parts + "hello\n"


@_grows("columns without names.csv")
def _nameless(parts: int) -> str:
    return "," * parts + "text\n" + "," * parts + "hello\n"


_text("rows.csv", "a,b\n", begin="text,note\n")
_text("quotes.csv", '""', begin='text,note\n"', end='",x\n')
_text("quoted rows.csv", '"a\nb",c\n', begin="text,note\n")
_text("one row.csv", "a\n", begin='text,note\n"', end='",x\n')
_text("blank lines.csv", "\n", begin="text,note\n", end="a,b\n")
_text("rows.tsv", 'x\t"a\n', begin="id2\ttext\n")
_text("quoted rows.tsv", '"a\n\tb"\tc\n', begin="text\tid2\n")
_text("open quotes.tsv", 'x\t"\n\n', begin="id2\ttext\n", end="y\tz")
_text("blank lines.tsv", "\n", begin='id2\ttext\nx\t"a\n', end="a\tb\n")
_text("quotes in one line.tsv", '"\t', begin="text\tid2\n")
_text("rows.jsonl", '{"text": "a"}\n')
_text("blank lines.jsonl", "\n", end='{"text": "a"}\n')
_text("lists in lists.json", "[")
_text("objects.json", '{"text": "a"},', begin="[", end='{"text": "a"}]')
_text("digits.json", "1", begin='{"text": "a", "n": ', end="}")
_text("decimals.json", "1", begin='{"text": "a", "n": 0.', end="}")
_text("escapes.json", "\\ud800", begin='{"text": "x', end='"}')
_text("pairs.json", "\\ud83d\\ude00", begin='{"text": "x', end='"}')


@_grows("ids.jsonl")
def _ids(parts: int) -> str:
    return "".join(f'{{"id": {n if n % 2 else json.dumps(str(n))}, "text": "a"}}\n' for n in range(parts))


@_grows("fields.json")
def _fields(parts: int) -> str:
    return json.dumps({"text": "a", **{f"f{n}": n for n in range(parts)}})
