"""YAML at the head of a Markdown file, read without letting it do harm."""

from __future__ import annotations

from typing import Any

import regex
import yaml

from vector_pipeline.text.readers.metadata import MAX_CHARACTERS, MAX_DEPTH, Unstorable, storable

_FRONT_MATTER = regex.compile(r"\A---[ \t]*\n(?:(.*?)\n)?(?:---|\.\.\.)[ \t]*(?:\n|\Z)", regex.DOTALL)

# The parser of libyaml where it is there, a tenth of the time.
_SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BASE = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def split(text: str) -> tuple[dict[str, Any], str, int]:
    """Front matter as metadata, the text behind it, and how many characters were taken out of the metadata.

    What is no mapping, is broken, or is more than metadata may be, stays a part of the text.
    """
    match = _FRONT_MATTER.match(text, 0, MAX_CHARACTERS + 10) if text.startswith("---") else None
    if match is None:
        return {}, text, 0
    try:
        metadata, removed = storable(_parsed(match[1] or ""))
    except (yaml.YAMLError, Unstorable):
        return {}, text, 0
    return metadata, text[match.end() :], removed


def _parsed(matter: str) -> dict[Any, Any]:
    _check(matter)
    try:
        value = yaml.load(matter, _SAFE)
    except (ValueError, OverflowError, TypeError, AttributeError):
        # A date such as 2026-02-31, or a number of thousands of digits: as text, then.
        value = yaml.load(matter, _BASE)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Unstorable("is no mapping")
    return value


def _check(matter: str) -> None:
    """Raise Unstorable for what would overrun the stack or the memory as it is built, which events do not."""
    depth, aliases, merges = 0, False, False
    for event in yaml.parse(matter, _SAFE):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise Unstorable(f"nests deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        aliases = aliases or isinstance(event, yaml.AliasEvent)
        merges = merges or (isinstance(event, yaml.ScalarEvent) and event.value == "<<")
    if aliases and merges:
        # Merged mappings are copied as they are built, and copies of copies fill any memory.
        raise Unstorable("merges what it refers to")
