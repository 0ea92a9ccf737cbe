"""Patterns in the form of a .gitignore, as rules on paths: https://git-scm.com/docs/gitignore."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import regex

MAX_CHARACTERS = 4_096
"""The longest pattern. A longer one matches nothing: no path has as many characters."""

_NOTHING = regex.compile(r"(?!)")


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern. A `negated` one reverses earlier ones. `folders_only` means that it ends with a slash."""

    pattern: regex.Pattern[str]
    negated: bool
    folders_only: bool

    def matches(self, path: str, *, is_folder: bool) -> bool:
        """Whether the pattern matches a path, which is relative to the folder of the rules."""
        return (is_folder or not self.folders_only) and self.pattern.fullmatch(path) is not None


@dataclass(frozen=True, slots=True)
class Rules:
    """Patterns in their order. The last one that matches a path counts."""

    rules: tuple[Rule, ...] = ()

    @classmethod
    def of(cls, lines: Iterable[str]) -> Rules:
        """The rules of some lines. Blank lines and comments are skipped."""
        return cls(tuple(rule for line in lines if (rule := _rule(line)) is not None))

    def decides(self, path: str, *, is_folder: bool) -> bool | None:
        """True if a path matches, False if a later negated pattern reverses that, None if no pattern matches."""
        for rule in reversed(self.rules):
            if rule.matches(path, is_folder=is_folder):
                return not rule.negated
        return None


def _rule(line: str) -> Rule | None:
    pattern = line.rstrip("\r\n")
    if len(pattern) > MAX_CHARACTERS:
        return Rule(_NOTHING, negated=False, folders_only=False)
    while pattern.endswith(" ") and not pattern.endswith("\\ "):
        pattern = pattern[:-1]
    if not pattern or pattern.startswith("#"):
        return None
    negated = pattern.startswith("!")
    pattern = pattern.removeprefix("!")
    folders_only = pattern.endswith("/")
    pattern = pattern.removesuffix("/")
    if not pattern:
        return None
    anchored = "/" in pattern
    pattern = pattern.removeprefix("/")
    body = _expression(pattern)
    try:
        compiled = regex.compile(body if anchored else f"(?:[^/]*+/)*+{body}", regex.DOTALL)
    except regex.error:
        # A reversed range (`[z-a]`) matches nothing, as in git.
        compiled = _NOTHING
    return Rule(compiled, negated, folders_only)


def _expression(pattern: str) -> str:
    """A pattern as a regular expression. It takes time in proportion to a path's length, whatever the pattern.

    A star, except for the last of its segment, is matched by as few characters as possible and never by more. If a path
    matches at all, it also matches in this way. The same is true of `**/` and whole segments.
    """
    groups: list[list[str]] = [[]]
    pieces = [""]
    for token in _tokens(pattern):
        if token == _SLASH:
            groups[-1].append(_segment(pieces))
            pieces = [""]
        elif token == _FOLDERS:
            groups.append([])
        elif token == _STAR:
            pieces.append("")
        else:
            pieces[-1] += token
    first, *middle, last = groups if len(groups) > 1 else [[], *groups]
    found = _folders(first)
    for group in middle:
        found += f"(?>{_ANY_FOLDERS}{_folders(group)})" if group else ""
    return found + (_ANY_FOLDERS if len(groups) > 1 else "") + _folders(last) + _segment(pieces)


# Tokens of a pattern that are not the expression of one character.
_SLASH, _FOLDERS, _STAR = "/", "**/", "*"
_ANY_FOLDERS = "(?:[^/]*+/)*?"


def _tokens(pattern: str) -> Iterator[str]:
    at = 0
    while at < len(pattern):
        begins = at == 0 or pattern[at - 1] == "/"
        if begins and pattern.startswith("**/", at):
            yield _FOLDERS
            at += 3
        elif begins and at and pattern[at:] == "**":
            yield ".+"
            at += 2
        elif pattern[at] == "*":
            while at < len(pattern) and pattern[at] == "*":
                at += 1
            yield _STAR
        elif pattern[at] == "/":
            yield _SLASH
            at += 1
        elif pattern[at] == "?":
            yield "[^/]"
            at += 1
        elif pattern[at] == "[" and (end := _class_end(pattern, at)):
            yield _class(pattern[at + 1 : end - 1])
            at = end
        else:
            at += pattern[at] == "\\" and at + 1 < len(pattern)
            yield regex.escape(pattern[at])
            at += 1


def _folders(segments: Iterable[str]) -> str:
    return "".join(f"(?>{segment}/)" for segment in segments)


def _segment(pieces: Sequence[str]) -> str:
    """The expression of a segment whose pieces have stars between them."""
    first, *others = pieces
    if not others:
        return first
    return first + "".join(f"(?>[^/]*?{piece})" for piece in others[:-1] if piece) + f"[^/]*{others[-1]}"


def _class_end(pattern: str, at: int) -> int:
    """The position after the bracket that closes a class; 0 if it is not closed."""
    # A bracket directly at the beginning is a member.
    first = at + 2 if pattern[at + 1 : at + 2] in ("!", "^") else at + 1
    return pattern.find("]", first + 1) + 1


def _class(members: str) -> str:
    negated = members[:1] in ("!", "^")
    inner = members[1:] if negated else members
    inner = (
        inner.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace("&&", "&\\&").replace("~~", "~\\~")
    )
    # A class never matches the slash between folders.
    return f"(?!/)[{'^' if negated else ''}{inner}]"
