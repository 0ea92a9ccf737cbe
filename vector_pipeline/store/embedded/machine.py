"""What this machine, or the container, lets its processes have: memory and processors.

Limits of a container are those of its control groups and of the groups above them
(https://docs.kernel.org/admin-guide/cgroup-v2.html; `memory` and `cpu` of version 1).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from vector_pipeline.settings import available_processors

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
MEMORY = Path("/proc/meminfo")


def memory_mb(groups: Path = GROUPS, own: Path = OWN_GROUPS) -> int:
    """MB that processes may use here: the machine's memory, or a lower limit of a control group."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for folder, controller in _folders(groups, own):
        limit = _number(folder / ("memory.limit_in_bytes" if controller else "memory.max"))
        found += [] if limit is None else [limit]
    return min(found) >> 20


def free_memory_mb(groups: Path = GROUPS, own: Path = OWN_GROUPS, memory: Path = MEMORY) -> int:
    """MB that are free here, with what the kernel can give back from its cache of files."""
    found = [value * 1024 for value in _numbers(memory, "MemAvailable:")]
    for folder, controller in _folders(groups, own):
        limit = _number(folder / ("memory.limit_in_bytes" if controller else "memory.max"))
        used = _number(folder / ("memory.usage_in_bytes" if controller else "memory.current"))
        if limit is not None and used is not None:
            cache = sum(_numbers(folder / "memory.stat", "total_inactive_file" if controller else "inactive_file"))
            found.append(max(0, limit - used + cache))
    return min(found, default=0) >> 20


def processors(groups: Path = GROUPS, own: Path = OWN_GROUPS) -> int:
    """The number of processors that processes may use here, at least 1; a quota of one and a half counts as 2."""
    found = [available_processors()]
    for folder, controller in _folders(groups, own, "cpu"):
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if controller else ("cpu.max",)
        limits = [_whole(word) for name in names for word in _text(folder / name).split()]
        if len(limits) == 2 and limits[0] and limits[1]:
            found.append(math.ceil(limits[0] / limits[1]))
    return min(found)


def _folders(groups: Path, own: Path, controller: str = "memory") -> Iterator[tuple[Path, str]]:
    """The folders of this process's groups and those above, each with its controller; "" for version 2."""
    for line in [*_text(own).splitlines(), "0::/", f"0:{controller}:/"]:
        _, controllers, path = (*line.split(":", 2), "", "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        root = groups / controller if controllers else groups
        folder = root / path.strip("/")
        while folder != root:
            yield folder, controllers and controller
            folder = folder.parent
        yield root, controllers and controller


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # it does not exist where groups of that version are not used


def _whole(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None  # "max" and -1 mean no limit


def _number(path: Path) -> int | None:
    return _whole(_text(path))


def _numbers(path: Path, name: str) -> Iterator[int]:
    for line in _text(path).splitlines():
        words = line.split()
        if words[:1] == [name]:
            yield int(words[1])
