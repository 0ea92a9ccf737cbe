"""The objects that the migration files leave in a schema: functions, triggers, indexes, views and primary keys."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

# Statements of the files begin at the beginning of a line; those inside of DO blocks do not.
_FUNCTION = re.compile(
    r"^CREATE (?:OR REPLACE )?FUNCTION \{schema\}\.(\w+)\((.*?)\)\s*\n?\s*RETURNS .*?AS \$function\$(.*?)\$function\$;",
    re.DOTALL | re.MULTILINE,
)
_ALTERED = re.compile(r"^ALTER FUNCTION \{schema\}\.(\w+)\((.*?)\)\s+SET [^;]*;", re.DOTALL | re.MULTILINE)
_TRIGGER = re.compile(r"^CREATE TRIGGER (\w+) [^;]*? ON \{schema\}\.(\w+)[^;]*;", re.MULTILINE)
_INDEX = re.compile(r"^CREATE (?:UNIQUE )?INDEX (\w+) ON \{schema\}\.(\w+) [^;]*;", re.MULTILINE)
_FUNCTION_DROPPED = re.compile(r"^DROP FUNCTION \{schema\}\.(\w+)\((.*?)\);", re.MULTILINE)
_DROPPED = re.compile(r"^DROP INDEX \{schema\}\.(\w+);", re.MULTILINE)
_VIEW = re.compile(r"^(?:CREATE (?:OR REPLACE )?|ALTER )VIEW \{schema\}\.(\w+) [^;]*;", re.MULTILINE)
_TABLE = re.compile(
    r"^CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?\{schema\}\.(\w+) \((.*?)^\)", re.DOTALL | re.MULTILINE
)
_KEY = re.compile(r"^\s+(?:PRIMARY KEY \(([^)]*)\)|(\w+)\s[^,\n]*?PRIMARY KEY)", re.MULTILINE)
_SETTING = re.compile(r"\bSET ([\w.]+) =")


@dataclass(slots=True)
class Function:
    """A function: its body, the names of its settings, its owner's right, and the statements that make it."""

    name: str
    body: str
    settings: set[str]
    grant: str
    statements: list[str]


@dataclass(slots=True)
class Objects:
    """What the files leave in a schema, by name. Statements have the placeholders of the files, and can be repeated."""

    functions: dict[tuple[str, tuple[str, ...]], Function] = field(default_factory=dict)
    """By name and types of arguments."""
    triggers: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Table and statement."""
    indexes: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Table and statement."""
    views: dict[str, list[str]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    """The columns of the primary key of each table; empty if it has none."""

    @classmethod
    def of(cls, files: Iterable[str]) -> Self:
        """Read the files, in their order."""
        found = cls()
        for file in files:
            found._add(file)
        return found

    def _add(self, file: str) -> None:
        # A file drops what earlier files made.
        for dropped in _DROPPED.finditer(file):
            self.indexes.pop(dropped[1], None)
        for dropped in _FUNCTION_DROPPED.finditer(file):
            self.functions.pop((dropped[1], _types(dropped[2])), None)
        for table in _TABLE.finditer(file):
            key = _KEY.search(table[2])
            self.keys[table[1]] = (key[1] or key[2]) if key else ""
        for made in _FUNCTION.finditer(file):
            replaced = re.sub(r"^CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", made[0])
            types = _types(made[2])
            grant = f"GRANT EXECUTE ON FUNCTION {{schema}}.{made[1]}({', '.join(types)}) TO CURRENT_USER;"
            settings = set(_SETTING.findall(made[0][: made[0].index("$function$")]))
            self.functions[made[1], types] = Function(made[1], made[3], settings, grant, [replaced])
        for altered in _ALTERED.finditer(file):
            function = self.functions[altered[1], _types(altered[2])]
            function.statements.append(altered[0])
            function.settings |= set(_SETTING.findall(altered[0]))
        for trigger in _TRIGGER.finditer(file):
            self.triggers[trigger[1]] = (trigger[2], trigger[0].replace("CREATE", "CREATE OR REPLACE", 1))
        for index in _INDEX.finditer(file):
            self.indexes[index[1]] = (index[2], index[0])
        for view in _VIEW.finditer(file):
            earlier = self.views.get(view[1], []) if view[0].startswith("ALTER") else []
            self.views[view[1]] = [*earlier, re.sub(r"^CREATE VIEW", "CREATE OR REPLACE VIEW", view[0])]


def _types(arguments: str) -> tuple[str, ...]:
    """The types of a function's arguments, which have names where it is created and none where it is altered."""
    parts = [part.split(" DEFAULT ")[0].split() for part in arguments.split(",") if part.strip()]
    return tuple(part[-1] for part in parts)
