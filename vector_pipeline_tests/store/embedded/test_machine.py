"""Memory and processors are those of the machine, or of the container's control groups where these allow less."""

from __future__ import annotations

from pathlib import Path

import pytest

from vector_pipeline.settings import available_processors
from vector_pipeline.store.embedded.machine import free_memory_mb, memory_mb, processors

MIB = 1 << 20
OWN = {"v2": "0::/pods/one\n", "v1": "5:cpu,cpuacct:/pods/one\n4:memory:/pods/one\n0::/elsewhere\n", "none": ""}
LIMITS = {
    "v2": ("memory.max", "memory.current", "inactive_file"),
    "v1": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


class Groups:
    """A folder like /sys/fs/cgroup."""

    def __init__(self, folder: Path, version: str) -> None:
        self.root, self.own = folder / "cgroup", folder / "own"
        self.own.write_text(OWN[version])
        self._version = version

    def limit(self, group: str, mb: int | str, used: int = 0, cache: int = 0) -> None:
        limit, usage, inactive = LIMITS[self._version]
        folder = (self.root / "memory" if self._version == "v1" else self.root) / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / limit).write_text(f"{mb * MIB if isinstance(mb, int) else mb}\n")
        (folder / usage).write_text(f"{used * MIB}\n")
        (folder / "memory.stat").write_text(f"anon 5\n{inactive} {cache * MIB}\nfile 7\n")

    def quota(self, group: str, quota: str, period: str) -> None:
        folder = (self.root / "cpu" if self._version == "v1" else self.root) / group
        folder.mkdir(parents=True, exist_ok=True)
        if self._version == "v1":
            (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
            (folder / "cpu.cfs_period_us").write_text(f"{period}\n")
        else:
            (folder / "cpu.max").write_text(f"{quota} {period}\n")


@pytest.fixture(params=["v1", "v2"])
def groups(tmp_path: Path, request: pytest.FixtureRequest) -> Groups:
    return Groups(tmp_path, request.param)


@pytest.mark.parametrize("group", ["pods/one", "pods", ""])
def test_a_limit_of_a_group_or_of_one_above_it_counts_if_it_is_lower(groups: Groups, group: str) -> None:
    machine = memory_mb(groups.root, groups.own)
    groups.limit("other", 100)
    assert memory_mb(groups.root, groups.own) == machine
    groups.limit(group, 300)
    assert memory_mb(groups.root, groups.own) == 300
    for none in ("max", str(1 << 62)):
        groups.limit(group, none)
        assert memory_mb(groups.root, groups.own) == machine


def test_in_a_container_that_sees_its_own_group_as_the_root_that_limit_counts(tmp_path: Path) -> None:
    groups = Groups(tmp_path, "v2")
    groups.own.write_text("0::/\n")
    groups.limit("", 300)
    assert memory_mb(groups.root, groups.own) == 300


def test_free_memory_is_the_machines_or_what_is_left_of_a_limit(groups: Groups, tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  9000 kB\nMemAvailable:  5120000 kB\n")
    assert free_memory_mb(groups.root, groups.own, meminfo) == 5_000
    groups.limit("pods/one", 3_000, used=2_000, cache=500)
    assert free_memory_mb(groups.root, groups.own, meminfo) == 1_500
    groups.limit("pods", 2_000, used=1_900)
    assert free_memory_mb(groups.root, groups.own, meminfo) == 100
    groups.limit("pods", 1_000, used=1_900)
    assert free_memory_mb(groups.root, groups.own, meminfo) == 0
    assert free_memory_mb(groups.root, groups.own, tmp_path / "none") == 0
    assert 0 < free_memory_mb() <= memory_mb()


def test_a_quota_of_processor_time_counts_as_that_many_processors(groups: Groups) -> None:
    assert processors(groups.root, groups.own) == available_processors()
    groups.quota("pods/one", "50000", "100000")
    assert processors(groups.root, groups.own) == 1
    groups.quota("pods/one", "-1" if "cpu,cpuacct" in groups.own.read_text() else "max", "100000")
    assert processors(groups.root, groups.own) == available_processors()
    groups.quota("pods", "6400000", "100000")
    assert processors(groups.root, groups.own) == available_processors()
