"""Patterns in the form of a .gitignore, as rules on paths: https://git-scm.com/docs/gitignore."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import regex


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
        compiled = regex.compile(body if anchored else f"(?:.*/)?{body}", regex.DOTALL)
    except regex.error:
        # A reversed range (`[z-a]`) matches nothing, as in git.
        compiled = regex.compile(r"(?!)")
    return Rule(compiled, negated, folders_only)


def _expression(pattern: str) -> str:
    """A pattern as a regular expression."""
    out, at = [], 0
    while at < len(pattern):
        rest = pattern[at:]
        if rest.startswith("**/") and (at == 0 or pattern[at - 1] == "/"):
            out.append("(?:.*/)?")
            at += 3
        elif rest == "**" and at and pattern[at - 1] == "/":
            out.append(".+")
            at += 2
        elif rest[0] == "*":
            while at < len(pattern) and pattern[at] == "*":
                at += 1
            out.append("[^/]*")
        elif rest[0] == "?":
            out.append("[^/]")
            at += 1
        elif rest[0] == "[" and (end := _class_end(pattern, at)):
            out.append(_class(pattern[at + 1 : end - 1]))
            at = end
        else:
            at += rest[0] == "\\" and len(rest) > 1
            out.append(regex.escape(pattern[at]))
            at += 1
    return "".join(out)


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
