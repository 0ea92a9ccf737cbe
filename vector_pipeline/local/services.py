"""`python -m vector_pipeline.local.services`: `dagster dev`, whose web server is `local.webserver`.

`dagster dev` starts `python -m dagster_webserver` and has no option for another one. If a version of Dagster starts it
in a different way, nothing is started: a server without the guard must not run unnoticed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from dagster._cli import dev

WEBSERVER = "dagster_webserver"


def main(arguments: Sequence[str]) -> None:
    """Run until interrupted. Raises SystemExit if this version of Dagster cannot be guarded."""
    start = getattr(dev, "open_ipc_subprocess", None)
    if start is None:
        sys.exit("this version of Dagster cannot be run by `vector-pipeline dev`; install one that pyproject.toml names")

    def guarded(parts: Sequence[str], **kwargs: Any) -> Any:
        parts = list(parts)
        if WEBSERVER in parts[:3]:
            parts[parts.index(WEBSERVER)] = "vector_pipeline.local.webserver"
        return start(parts, **kwargs)

    vars(dev)["open_ipc_subprocess"] = guarded
    dev.dev_command(list(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
