"""The table of kinds: the suffixes of each kind, its reader, the version of the reader, and the packages that it needs.

To add a kind, write a function of the type `Reader` in a module of this package and name it here. Raise the version of a
kind when its reader returns other text. Then only files of that kind are read again.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import cast

from vector_pipeline.text.readers import CODE, DATA, READERS, READERS_VERSION, Reader

EXTRA = "documents"
"""The extra of this package that installs the packages of the readers."""

INSTALL = f"pip install 'vector-pipeline[{EXTRA}]'"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file. `reader` is `module:function`; it is empty for text, which needs no process of its own.

    `packages` are the modules that the reader imports. A kind that is not read `by_default` is read if INCLUDE names it.
    The text of a file that `holds_files` depends on the readers of all kinds.
    """

    name: str
    suffixes: tuple[str, ...]
    reader: str = ""
    version: int = 1
    packages: tuple[str, ...] = ()
    by_default: bool = True
    holds_files: bool = False

    @property
    def is_text(self) -> bool:
        """Whether the file is read in the calling process."""
        return not self.reader

    @property
    def is_installed(self) -> bool:
        """Whether all packages of its reader are installed."""
        return all(find_spec(package) is not None for package in self.packages)


_HERE = "vector_pipeline.formats."

_OFFICE = ("kreuzberg", "dochan")
_SHEETS = ("python_calamine", "dochan")

_ASKED_FOR = frozenset((*CODE, *DATA))

TEXT = Kind("text", tuple(suffix for suffix in READERS if suffix not in _ASKED_FOR), version=READERS_VERSION)

KINDS: tuple[Kind, ...] = (
    TEXT,
    Kind("code", CODE, by_default=False),
    Kind("data", DATA, version=READERS_VERSION, by_default=False),
    Kind("pdf", (".pdf",), _HERE + "pdf:read_pdf", version=4, packages=("pdf_inspector", "pypdfium2")),
    Kind("docx", (".docx", ".docm", ".dotx"), _HERE + "office:read_docx", version=3, packages=_OFFICE),
    Kind("pptx", (".pptx", ".pptm", ".ppsx"), _HERE + "office:read_pptx", version=3, packages=_OFFICE),
    Kind("xlsx", (".xlsx", ".xlsm", ".xlsb"), _HERE + "sheets:read_workbook", version=2, packages=_SHEETS),
    Kind("doc", (".doc",), _HERE + "office:read_doc", version=3, packages=_OFFICE),
    Kind("ppt", (".ppt",), _HERE + "office:read_ppt", version=3, packages=_OFFICE),
    Kind("xls", (".xls",), _HERE + "sheets:read_workbook", version=3, packages=_SHEETS),
    Kind("odt", (".odt", ".ott"), _HERE + "odf:read_odt"),
    Kind("odp", (".odp",), _HERE + "odf:read_odp"),
    Kind("ods", (".ods",), _HERE + "sheets:read_workbook", packages=_SHEETS),
    Kind("rtf", (".rtf",), _HERE + "office:read_rtf", version=3, packages=_OFFICE),
    Kind("hwp", (".hwp",), _HERE + "office:read_hwp", version=3, packages=_OFFICE),
    Kind("hwpx", (".hwpx",), _HERE + "office:read_hwpx", version=3, packages=_OFFICE),
    Kind("eml", (".eml",), _HERE + "mail:read_eml", version=3, holds_files=True),
    Kind("mbox", (".mbox",), _HERE + "mail:read_mbox", version=3, holds_files=True),
    Kind("msg", (".msg",), _HERE + "outlook:read_msg", version=3, packages=_OFFICE, holds_files=True),
    Kind("epub", (".epub",), _HERE + "epub:read_epub"),
    Kind("notebook", (".ipynb",), _HERE + "notebook:read_notebook"),
    Kind("zip", (".zip",), _HERE + "archive:read_zip", version=3, holds_files=True),
)
"""All kinds. If two kinds have the same suffix, the first one counts."""

_BY_SUFFIX = {suffix: kind for kind in reversed(KINDS) for suffix in kind.suffixes}


def kind_of(path: str) -> Kind | None:
    """The kind of a file by its name, in any case, with or without `.gz` at the end; None if there is no reader."""
    # Nearly all names end with a suffix in lower case, and a scan looks at each name.
    stem, dot, suffix = path.rpartition(".")
    if stem and stem[-1] != "/" and (kind := _BY_SUFFIX.get(dot + suffix)) is not None:
        return kind
    return _BY_SUFFIX.get(suffix_of(path))


def not_installed() -> frozenset[str]:
    """The names of the kinds that cannot be read because the extra is not installed."""
    installed = _installed()
    return frozenset(kind.name for kind in KINDS if not installed.issuperset(kind.packages))


def stamps() -> dict[str, tuple[object, ...]]:
    """The versions that a text depends on, by the name of its kind. A file with another stamp is read again."""
    installed = _installed()
    own = {kind.name: (kind.name, kind.version, installed.issuperset(kind.packages)) for kind in KINDS}
    inner = tuple(own[kind.name] for kind in KINDS if not kind.holds_files)
    return {kind.name: (*own[kind.name], *inner) if kind.holds_files else own[kind.name] for kind in KINDS}


def _installed() -> set[str]:
    """The installed packages of all readers. Each is looked for once, because many kinds need the same ones."""
    packages = {package for kind in KINDS for package in kind.packages}
    return {package for package in packages if find_spec(package) is not None}


def load_reader(name: str) -> Reader:
    """Import the reader with a name (`module:function`)."""
    module, _, function = name.partition(":")
    return cast(Reader, getattr(import_module(module), function))


def suffix_of(path: str) -> str:
    """The suffix of a name in lower case, without `.gz`; empty if it has none."""
    base = path.rpartition("/")[2].lower().removesuffix(".gz")
    stem, dot, suffix = base.rpartition(".")
    return dot + suffix if stem else ""
