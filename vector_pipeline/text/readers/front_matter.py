"""YAML front matter of a Markdown file, read safely."""

from __future__ import annotations

from typing import Any, ClassVar

import regex
import yaml

from vector_pipeline.text.readers.metadata import MAX_CHARACTERS, MAX_DEPTH, Unstorable, storable

_FRONT_MATTER = regex.compile(r"\A---[ \t]*\n(?:(.*?)\n)?(?:---|\.\.\.)[ \t]*(?:\n|\Z)", regex.DOTALL)

# The parser of libyaml if it is installed: it takes a tenth of the time.
_SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SAFE):  # type: ignore[misc, valid-type]
    """Scalars by the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema), and dates.

    A number becomes a number only if it would be written again in the same way: 02134 and 1.10 are text. Keys are text.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put merged mappings (`<<`) before the mapping's own keys. Keys are text as written."""
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE]
        if len(set(names)) < len(names):
            raise yaml.constructor.ConstructorError("has a key twice")
        super().flatten_mapping(node)
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                key.tag = _TEXT


_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_DIGITS = regex.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_DATE = regex.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}|"
    r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{0,6})?"
    r"[ \t]*(?:Z|[-+][0-9]{1,2}(?::?[0-9]{2})?)?"
)
_RESOLVED = {
    "null": (r"(?:~|null|Null|NULL|)\Z", ("~", "n", "N", "")),
    "bool": (r"(?:true|True|TRUE|false|False|FALSE)\Z", tuple("tTfF")),
    "int": (r"-?[0-9]+\Z", tuple("-0123456789")),
    "float": (r"-?[0-9]+\.[0-9]+\Z", tuple("-0123456789")),
    "timestamp": (rf"(?:{_DATE.pattern})\Z", tuple("0123456789")),
    "merge": (r"<<\Z", ("<",)),
}
for _tag, (_pattern, _firsts) in _RESOLVED.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", regex.compile(_pattern), list(_firsts))


def _number(loader: Any, node: yaml.ScalarNode) -> int | float | str:
    text = str(loader.construct_scalar(node))
    if not _DIGITS.fullmatch(text) or text.startswith("-0") or len(text) > _MAX_DIGITS:
        return text
    value = float(text) if "." in text else int(text)
    return value if repr(value) == text else text


# Longer numbers exceed 64 bits and the precision of a double, so they are text anyway.
_MAX_DIGITS = 32


def _truth(loader: Any, node: yaml.ScalarNode) -> bool | str:
    text = str(loader.construct_scalar(node))
    return {"true": True, "false": False}.get(text.lower(), text)


def _moment(loader: Any, node: yaml.ScalarNode) -> Any:
    try:
        return loader.construct_yaml_timestamp(node)
    except (ValueError, OverflowError, AttributeError):
        return loader.construct_scalar(node)  # the 31st of February


def _set(loader: Any, node: yaml.MappingNode) -> list[Any]:
    # In the order of the file, because the order of a Python set differs between processes.
    return list(loader.construct_mapping(node))


_CONSTRUCTORS = {"int": _number, "float": _number, "bool": _truth, "timestamp": _moment, "set": _set}
for _tag, _constructor in _CONSTRUCTORS.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _constructor)


def split(text: str) -> tuple[dict[str, Any], str, int]:
    """Split a text into front matter as metadata and the text after it; also the number of characters removed from it.

    Front matter that is not a mapping, is broken, or exceeds the limits of metadata stays part of the text.
    """
    match = _FRONT_MATTER.match(text, 0, MAX_CHARACTERS + 10) if text.startswith("---") else None
    if match is None:
        return {}, text, 0
    try:
        stored = storable(_parsed(match[1] or ""))
    except (yaml.YAMLError, Unstorable):
        return {}, text, 0
    return stored.fields, text[match.end() :], stored.removed


def _parsed(matter: str) -> dict[Any, Any]:
    matter = _with_whole_characters(matter)
    _check(matter)
    try:
        value = yaml.load(matter, _Loader)
    except (ValueError, OverflowError, TypeError, AttributeError) as error:
        raise Unstorable("cannot be read") from error  # !!binary of other text, and the like
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Unstorable("is no mapping")
    return value


# The escapes of halves of characters, as JSON writes characters beyond 16 bits: "\ud83d\ude00". The others are
# matched to be passed over: in "\\ud83d" the backslash is the escaped character.
_ESCAPE = regex.compile(
    r"\\(?:(?:u|U0000)([dD][89abAB][0-9a-fA-F]{2})\\(?:u|U0000)([dD][c-fC-F][0-9a-fA-F]{2})"
    r"|((?:u|U0000)[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    regex.DOTALL,
)
_HALF = regex.compile(r"\\(u|U0000)[dD][89a-fA-F][0-9a-fA-F]{2}")


def _with_whole_characters(matter: str) -> str:
    """YAML whose quoted scalars have one escape for a character that is written as two halves, as JSON requires.

    libyaml refuses halves. One without the other becomes an escaped NUL, which `storable` removes and counts.
    """
    if _HALF.search(matter) is None:
        return matter
    # With other escapes of the same length, to find the scalars that have escapes.
    readable = _HALF.sub(r"\\\g<1>0041", matter)
    parts, done = [], 0
    for event in yaml.parse(readable, _SAFE):
        begin, end = event.start_mark, event.end_mark
        if isinstance(event, yaml.ScalarEvent) and event.style == '"' and begin is not None and end is not None:
            parts += [matter[done : begin.index], _ESCAPE.sub(_whole, matter[begin.index : end.index])]
            done = end.index
    return "".join(parts) + matter[done:]


def _whole(escape: regex.Match[str]) -> str:
    first, second, alone = escape.groups()
    if first:
        return f"\\U{0x10000 + (int(first, 16) - 0xD800) * 0x400 + int(second, 16) - 0xDC00:08X}"
    return r"\0" if alone else escape[0]


def _check(matter: str) -> None:
    """Raise Unstorable for YAML that would overflow the stack or the memory when built. Parsing its events is safe."""
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
        # Merged mappings are copied, and copies of copies can fill any memory.
        raise Unstorable("merges what it refers to")
