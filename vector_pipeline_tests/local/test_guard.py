"""The UI's own requests pass; those that another page makes do not."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from vector_pipeline.local.guard import SameOriginOnly

HERE = "127.0.0.1:3000"


async def _answer(_: Request) -> PlainTextResponse:
    return PlainTextResponse("done")


APP = SameOriginOnly(Starlette(routes=[Route("/graphql", _answer, methods=["GET", "POST"])]), hosts=["ui.example"])


def send(method: str, headers: dict[str, str], query: str = "") -> int:
    async def ask() -> int:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(APP), base_url=f"http://{HERE}") as client:
            return (await client.request(method, f"/graphql{query}", headers=headers)).status_code

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", {"Host": HERE, "Origin": f"http://{HERE}", "Sec-Fetch-Site": "same-origin"}),
        ("POST", {"Host": "localhost:3000", "Origin": "http://localhost:3000"}),
        ("POST", {"Host": "[::1]:3000"}),
        ("POST", {"Host": "ui.example"}),  # named with --host
        ("POST", {"Host": "192.168.1.20:3000"}),
        ("GET", {"Host": HERE, "Sec-Fetch-Site": "none"}),
        ("GET", {"Host": HERE, "Sec-Fetch-Site": "cross-site"}),  # a link to the UI
    ],
)
def test_the_ui_and_scripts_pass(method: str, headers: dict[str, str]) -> None:
    assert send(method, headers) == 200


@pytest.mark.parametrize(
    ("method", "headers", "query"),
    [
        ("POST", {"Host": HERE, "Origin": "http://evil.example"}, ""),
        ("POST", {"Host": HERE, "Origin": "null"}, ""),
        ("POST", {"Host": HERE, "Origin": "http://127.0.0.1:8000"}, ""),  # another server of this machine
        ("POST", {"Host": HERE, "Sec-Fetch-Site": "cross-site"}, ""),
        ("POST", {"Host": "rebound.example:3000", "Origin": "http://rebound.example:3000"}, ""),
        ("GET", {"Host": "rebound.example:3000"}, ""),
        ("GET", {"Host": HERE}, "?query=mutation{launchRun}"),  # what an image sends
        ("GET", {"Host": HERE}, "?x=1&%71uery=mutation{launchRun}"),
        ("HEAD", {"Host": HERE}, "?query=mutation{launchRun}"),
        ("GET", {"Host": "[::1"}, ""),
        ("GET", {"Host": ""}, ""),
        ("POST", {"Host": HERE, "Origin": "http://[::1"}, ""),
        ("POST", {"Host": HERE, "Origin": f"http://me@{HERE}"}, ""),
        ("POST", {"Host": "127.0.0.1.rebound.example"}, ""),
        ("POST", {"Host": "localhost.rebound.example"}, ""),
    ],
)
def test_other_pages_are_refused(method: str, headers: dict[str, str], query: str) -> None:
    assert send(method, headers, query) == 403


def test_a_socket_of_another_page_is_refused() -> None:
    scope = {
        "type": "websocket",
        "headers": [(b"host", HERE.encode()), (b"origin", b"http://evil.example")],
        "query_string": b"",
    }
    assert APP.refusal(scope) == "the request comes from another web page"
