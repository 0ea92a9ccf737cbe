"""`python -m vector_pipeline.local.webserver`: Dagster's web server behind `guard.SameOriginOnly`.

It has the arguments of `python -m dagster_webserver`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from dagster_webserver import cli

from vector_pipeline.local.guard import SameOriginOnly

CREATE = "create_app_from_workspace_process_context"


def main(arguments: Sequence[str]) -> None:
    """Serve until the process receives a signal to end."""
    # Dagster has no public way to put something in front of its application.
    create = vars(cli)[CREATE]
    host = arguments[arguments.index("--host") + 1] if "--host" in arguments else "127.0.0.1"

    def guarded(*args: Any, **kwargs: Any) -> Any:
        app = create(*args, **kwargs)
        app.add_middleware(SameOriginOnly, hosts=[host])
        return app

    vars(cli)[CREATE] = guarded
    cli.cli(list(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
