"""The fenced blocks of a page of docs/."""

from __future__ import annotations

import re


def blocks(text: str, language: str) -> list[str]:
    """The blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
