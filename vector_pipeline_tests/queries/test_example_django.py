"""The Django app of examples/, in a project of its own that uses the pipeline's database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from vector_pipeline_tests.support.pipelines import Ingest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]

PROJECT = """
import json, os, sys
import django
from django.conf import settings

settings.configure(
    DATABASES={{"default": {{"ENGINE": "django.db.backends.postgresql", **{database!r}}}}},
    INSTALLED_APPS=["examples.django_search"],
    ROOT_URLCONF="examples.django_search.urls",
    ALLOWED_HOSTS=["testserver"],
)
django.setup()
from django.core.management import call_command
from django.test import Client
from examples.django_search.models import Chunk

call_command("check")
call_command("migrate", run_syncdb=True, verbosity=0)
client = Client()
both = list(Chunk.objects.search("how is the honey made", k=2))
nearest = Chunk.objects.filter(source__startswith="b").nearest("how is the honey made")[:2]
json.dump({{
    "sources": [chunk.source for chunk in both],
    "score": both[0].score,
    "root": both[0].root,
    "vector": len(both[0].embedding),
    "nearest": [chunk.source for chunk in nearest],
    "headings": [c.metadata["headings"] for c in Chunk.objects.filter(metadata__headings__contains=["Bread"])],
    "korean": [chunk.source for chunk in Chunk.objects.search("김치는 언제 익나요?", k=1)],
    "view": client.get("/search", {{"q": "김치는 언제 익나요?"}}).json(),
    "empty": [(found := client.get("/search")).status_code, found.json()],
}}, sys.stdout)
"""


@pytest.fixture
def asked(corpus: Path, run: Ingest, tmp_path: Path, fresh_database_url: str) -> dict[str, Any]:
    run(corpus)
    address = urlsplit(fresh_database_url)
    host = parse_qs(address.query).get("host", [address.hostname])[0]
    database = {
        "NAME": address.path[1:],
        "USER": unquote(address.username or ""),
        "PASSWORD": unquote(address.password or ""),
        "HOST": host,
        "PORT": address.port,
    }
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", PROJECT.format(database=database)],
        env={
            **os.environ,
            "DATABASE_URL": fresh_database_url,
            "VECTOR_PIPELINE_HOME": str(tmp_path / "home"),
            "PYTHONPATH": str(REPOSITORY),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return found


def test_the_model_searches_and_filters_and_the_view_answers(asked: dict[str, Any], corpus: Path) -> None:
    assert asked["sources"][0] == "bees.txt"
    assert asked["score"] > 0
    assert asked["root"] == str(corpus)
    assert asked["vector"] == 256
    assert asked["nearest"][0] == "bees.txt"
    assert set(asked["nearest"]) <= {"bees.txt", "bread.md"}
    assert asked["headings"] == [["Bread"]]
    assert asked["korean"] == ["김치.txt"]
    assert asked["view"]["results"][0]["source"] == "김치.txt"
    assert "두 주가 지나면" in asked["view"]["results"][0]["text"]
    status, answer = asked["empty"]
    assert (status, answer) == (400, {"error": "the query is empty; ask something"})
