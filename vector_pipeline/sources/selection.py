"""The selection of files of a source: by the settings INCLUDE and EXCLUDE, by .vectorignore, and by their kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from vector_pipeline.errors import SourceError
from vector_pipeline.formats.kinds import kind_of
from vector_pipeline.sources.base import Source
from vector_pipeline.sources.patterns import Rules

IGNORE_FILE = ".vectorignore"

# Each path is compared with each pattern.
_MAX_BYTES = 1024 * 1024
_MAX_PATTERNS = 10_000

# The number of folders whose verdict is kept. A walk visits one folder after another.
_KEPT = 4_096


class UnreadableRules(SourceError):
    """The .vectorignore of a folder (empty for the root) cannot be read, so it is unknown what it leaves out."""

    def __init__(self, message: str, folder: str = "") -> None:
        super().__init__(message)
        self.folder = folder


Verdict = Literal["wanted", "left out", "other kind"]


@dataclass(frozen=True, slots=True)
class Choice:
    """The values of INCLUDE and EXCLUDE: patterns as in a .gitignore, one a line or separated by commas."""

    include: str = ""
    exclude: str = ""

    @property
    def included(self) -> Rules | None:
        """The rules of INCLUDE; None if it is not set, and the kind of a file decides."""
        return Rules.of(_lines(self.include)) if self.include.strip() else None

    @property
    def excluded(self) -> Rules:
        """The rules of EXCLUDE."""
        return Rules.of(_lines(self.exclude))


def _lines(text: str) -> list[str]:
    return [line.strip() for part in text.split("\n") for line in part.split(",")]


@dataclass(slots=True)
class Selection:
    """The wanted files of one source, for one walk. A .vectorignore is read when the walk reaches its folder."""

    source: Source
    choice: Choice = field(default_factory=Choice)
    _include: Rules | None = field(init=False)
    _exclude: Rules = field(init=False)
    _ignored: dict[str, Rules] = field(default_factory=dict)
    _folders: dict[str, bool] = field(default_factory=dict)
    _last: tuple[str | None, bool] = (None, False)
    """The folder of the file before, and whether it has no rules. A walk visits the files of a folder together."""
    _unreadable: dict[str, str] = field(default_factory=dict)
    """Maps a folder whose .vectorignore cannot be read to the message."""

    def __post_init__(self) -> None:
        self._include, self._exclude = self.choice.included, self.choice.excluded

    def wants(self, path: str) -> bool:
        """Whether to read a file. Raises UnreadableRules if a .vectorignore cannot be read."""
        return self.verdict(path) == "wanted"

    def verdict(self, path: str) -> Verdict:
        """The verdict on a file. Raises UnreadableRules if a .vectorignore cannot be read."""
        kind = kind_of(path)
        if kind is None:
            return "other kind"
        folder = path.rpartition("/")[0]
        if self._is_without_rules(folder):
            return "wanted" if kind.by_default else "other kind"
        if self._folder_is_excluded(folder) or self._is_excluded(path, is_folder=False):
            return "left out"
        if self._include is not None:
            return "wanted" if self._is_included(path) else "left out"
        return "wanted" if kind.by_default else "other kind"

    def _is_without_rules(self, folder: str) -> bool:
        """Whether no rules apply to the files of a folder, so that their kinds decide."""
        if folder != self._last[0]:
            no_rules = self._include is None and not self._exclude.rules and not self._folder_is_excluded(folder)
            above = folder
            while no_rules and above:
                no_rules = not self._rules_in(above).rules
                above = above.rpartition("/")[0]
            self._last = (folder, no_rules and not self._rules_in("").rules)
        return self._last[1]

    def _folder_is_excluded(self, folder: str) -> bool:
        """Whether a folder or one above it is excluded. Files in it then cannot be included again, as in git."""
        # By hand and not by recursion: folders may nest deeper than Python's own stack.
        unknown = []
        while folder and folder not in self._folders:
            unknown.append(folder)
            folder = folder.rpartition("/")[0]
        known = bool(folder) and self._folders[folder]
        for inner in reversed(unknown):
            known = known or self._is_excluded(inner, is_folder=True)
            if len(self._folders) >= _KEPT:
                self._folders.clear()
                self._ignored.clear()
            self._folders[inner] = known
        return known

    def _is_excluded(self, path: str, *, is_folder: bool) -> bool:
        if self._exclude.decides(path, is_folder=is_folder):
            return True
        # The .vectorignore nearest to a path decides.
        folder = path
        while folder:
            folder = folder.rpartition("/")[0]
            rules = self._rules_in(folder)
            if rules.rules:
                decided = rules.decides(path[len(folder) + 1 :] if folder else path, is_folder=is_folder)
                if decided is not None:
                    return decided
        return False

    def _rules_in(self, folder: str) -> Rules:
        if folder in self._unreadable:
            raise UnreadableRules(self._unreadable[folder], folder)
        found = self._ignored.get(folder)
        if found is None:
            # In a bucket only the root is checked, because each folder would cost a request.
            found = self._read(folder) if self.source.reads_cheaply or not folder else Rules()
            self._ignored[folder] = found
        return found

    def _read(self, folder: str) -> Rules:
        path = f"{folder}/{IGNORE_FILE}" if folder else IGNORE_FILE
        try:
            with self.source.open(path) as stream:
                text = stream.read(_MAX_BYTES + 1)
            if len(text) > _MAX_BYTES:
                raise ValueError(f"it has more than {_MAX_BYTES:,} bytes")
            rules = Rules.of(text.decode("utf-8-sig").split("\n"))
            if len(rules.rules) > _MAX_PATTERNS:
                raise ValueError(f"it has more than {_MAX_PATTERNS:,} patterns")
            return rules
        except (FileNotFoundError, NotADirectoryError):
            return Rules()
        except (OSError, ValueError) as error:
            problem = f"'{path}' in '{self.source.root}' cannot be read ({error}), which says what to leave out"
            self._unreadable[folder] = f"{problem}; save it as UTF-8, make it shorter, or remove it"
            raise UnreadableRules(self._unreadable[folder], folder) from error

    def _is_included(self, path: str) -> bool:
        """Whether the last pattern that matches a path or one of its folders includes it."""
        assert self._include is not None
        parts = path.split("/")
        levels = [("/".join(parts[:depth]), depth < len(parts)) for depth in range(1, len(parts) + 1)]
        for rule in reversed(self._include.rules):
            if any(rule.matches(level, is_folder=is_folder) for level, is_folder in levels):
                return not rule.negated
        return False
