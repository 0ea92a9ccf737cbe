"""The embedded server's memory: a share of the machine's memory, or of the container's limit if that is lower.

The shares leave most memory to the pipeline and to other programs on the machine. Postgres advises a quarter of the
memory for shared_buffers on a machine that runs only the server:
https://www.postgresql.org/docs/current/runtime-config-resource.html#GUC-SHARED-BUFFERS
"""

from __future__ import annotations

MIN_SHARED_BUFFERS_MB, MAX_SHARED_BUFFERS_MB = 128, 4_096
MIN_MAINTENANCE_MB, MAX_MAINTENANCE_MB = 64, 2_048
# Up to three workers of autovacuum run at once, and each may take this much.
MAX_AUTOVACUUM_MB = 256
# Postgres's default.
MIN_WORKERS = 8


def memory_settings(memory_mb: int, cores: int) -> dict[str, str]:
    """Settings of a server on a machine with this much memory and this many cores."""
    maintenance = _within(memory_mb // 16, MIN_MAINTENANCE_MB, MAX_MAINTENANCE_MB)
    workers = max(MIN_WORKERS, cores)
    return {
        "shared_buffers": f"{_within(memory_mb // 8, MIN_SHARED_BUFFERS_MB, MAX_SHARED_BUFFERS_MB)}MB",
        "effective_cache_size": f"{max(512, memory_mb // 2)}MB",
        "maintenance_work_mem": f"{maintenance}MB",
        "autovacuum_work_mem": f"{min(maintenance, MAX_AUTOVACUUM_MB)}MB",
        "max_worker_processes": str(workers),
        "max_parallel_workers": str(workers),
    }


def _within(value: int, least: int, most: int) -> int:
    return max(least, min(most, value))
