"""`VectorPipelineComponent`: a pipeline in a `defs.yaml` of a Dagster project.

Its attributes are the settings in lower case, and options for Dagster: owners, tags, upstream assets, freshness,
switches. Settings that are not given come from the environment.
"""

from __future__ import annotations

import ast
import inspect
import re
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import dagster as dg
from pydantic import BaseModel, ConfigDict, Field, SecretStr, create_model

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.defs.options import DagsterOptions
from vector_pipeline.defs.scaffold import CorpusScaffolder
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.settings import Settings, variable

TEMPLATE = re.compile(r"\s*\{\{.*\}\}\s*", re.DOTALL)

# Stands for a secret that was found in the file.
IN_THE_FILE = "<a secret in a YAML file>"

# A URL whose user has a password.
_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]+@|password", re.IGNORECASE)

# The process that runs Dagster decides these, not a project's YAML.
_NOT_ATTRIBUTES = frozenset({"dagster_home"})

_SECRETS = ("openai_api_key", "database_url", "openai_base_url")

# Attributes whose name in YAML is a method of the class.
_YAML_NAMES = {"db_schema": "schema", "embedding_model": "model"}
_FIELDS = {"model": "embedding_model"}

# Settings that YAML writes in more than one way: a number, a list.
_KINDS: Mapping[str, Any] = {"tier": str | int, "source": str | list[str]}


def _template_only(context: dg.ResolutionContext, value: str) -> Any:
    """A secret: a template, resolved. The secret itself becomes IN_THE_FILE, which `settings` refuses.

    An error raised here would be shown by Dagster together with the line of the file.
    """
    return context.resolve_value(value) if TEMPLATE.fullmatch(value) else IN_THE_FILE


def _without_password(context: dg.ResolutionContext, value: str) -> Any:
    """A URL: as it is where it has no password, else as `_template_only`."""
    return _template_only(context, value) if _PASSWORD.search(value) else context.resolve_value(value)


def _resolved(context: dg.ResolutionContext, value: Any) -> Any:
    """An ordinary attribute; templates in it are resolved."""
    return context.resolve_value(value)


def _resolver(name: str, kind: Any, description: str) -> dg.Resolver:
    resolve: Callable[[dg.ResolutionContext, Any], Any] = _resolved
    pattern = None
    if name == "openai_api_key":
        # `dg check yaml` checks the pattern of the text, before any template is resolved.
        resolve, pattern = _template_only, {"pattern": r"^\s*\{\{[\s\S]*\}\}\s*$"}
    elif name in _SECRETS:
        resolve = _without_password
    return dg.Resolver(
        resolve,
        model_field_name=_YAML_NAMES.get(name, name),
        model_field_type=kind,
        description=description,
        inject_before_resolve=False,
        json_schema_extra=pattern,
    )


def _plain(annotation: Any) -> Any:
    """The type that a setting has in YAML: a scalar or one of some literals; its own checks follow in Settings."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        (inner,) = (arg for arg in get_args(annotation) if arg is not type(None))
        return _plain(inner)
    if get_origin(annotation) is Literal or annotation in (str, int, float, bool):
        return annotation
    return str if annotation in (Path, SecretStr) else Any


def _attribute_docs() -> dict[str, str]:
    """The docstring under each field of Settings."""
    (definition,) = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, text in pairwise(definition.body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            found[field.target.id] = inspect.cleandoc(ast.literal_eval(text.value))
    return found


def _setting_fields() -> dict[str, Any]:
    docs = _attribute_docs()
    fields: dict[str, Any] = {}
    for setting, field in Settings.model_fields.items():
        if setting not in _NOT_ATTRIBUTES:
            name = _FIELDS.get(setting, setting)
            description = f"{docs.get(setting, '')} Default: {variable(setting)}.".strip()
            kind = _KINDS.get(setting) or _plain(field.annotation)
            fields[name] = (Annotated[kind | None, _resolver(name, kind, description)], None)
    return fields


_SettingAttributes: Any = create_model("_SettingAttributes", __base__=dg.Model, **_setting_fields())


class Freshness(dg.Resolvable, dg.Model):
    """The time without a scan or an index run after which the assets count as late."""

    fail_window_minutes: float = Field(description="Minutes after which the assets fail their freshness policy.")
    warn_window_minutes: float | None = Field(default=None, description="Minutes after which they warn.")

    def policy(self) -> dg.FreshnessPolicy:
        """The policy as a Dagster object."""
        warn = self.warn_window_minutes
        return dg.FreshnessPolicy.time_window(
            fail_window=timedelta(minutes=self.fail_window_minutes),
            warn_window=None if warn is None else timedelta(minutes=warn),
        )


class Translation(dg.Resolvable, dg.Model):
    """What the project adds to each asset of the pipeline."""

    key_prefix: str | Sequence[str] | None = Field(
        default=None, description="Prefix of asset keys, one name or several. Default: the pipeline's name."
    )
    group_name: str | None = Field(default=None, description="Group of the assets. Default: the pipeline's name.")
    owners: Sequence[str] = Field(default=(), description="Owners: email addresses, or team:NAME.")
    tags: Mapping[str, str] = Field(default_factory=dict, description="Tags.")
    metadata: Mapping[str, Any] = Field(default_factory=dict, description="Metadata.")


@dg.scaffold_with(CorpusScaffolder)
class VectorPipelineComponent(dg.Component, dg.Resolvable, _SettingAttributes):
    """A folder or bucket of text, kept in step with a pgvector table: seven assets, their jobs, sensors and checks.

    The attributes are the settings in lower case; docs/configuration.md describes each. The default of `name` is the
    name of the folder with the defs.yaml, and that of `schema` is `name`, so several corpora can be several folders.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    deps: Sequence[dg.ResolvedAssetKey] = Field(
        default=(), description="Assets that write the source: after each of their materializations it is scanned."
    )
    translation: Translation = Field(default_factory=Translation, description="Keys, group, owners, tags, metadata.")
    automation_condition: Annotated[
        dg.AutomationCondition[Any] | None,
        dg.Resolver.default(model_field_type=str | None, description="When source_files is materialized automatically."),
    ] = None
    freshness: Freshness | None = Field(default=None, description="Freshness policy of source_files and vector_index.")
    switches: Mapping[str, bool] = Field(
        default_factory=dict, description="Sensors and schedules, by their names without prefix: on or off at first."
    )
    executor: Literal["in_process", "project"] = Field(
        default="in_process",
        description="Run the pipeline's jobs in one process each, or with the project's executor.",
    )
    pool: str | None = Field(default=None, description="Concurrency pool of embeddings. Default: NAME_embeddings.")

    @classmethod
    def model(cls) -> type[BaseModel]:
        """The model of the attributes as YAML has them."""
        with warnings.catch_warnings():
            # `schema` is also a deprecated method of pydantic's, which nothing calls.
            warnings.filterwarnings("ignore", message='Field name "schema"', category=UserWarning)
            return super().model()

    def settings(self, context: dg.ComponentLoadContext) -> Settings:
        """The attributes on top of the environment's settings. Raises ConfigurationError."""
        given = {
            name: value
            for name in Settings.model_fields
            if name not in _NOT_ATTRIBUTES and (value := getattr(self, _FIELDS.get(name, name))) is not None
        }
        for name in _SECRETS:
            if given.get(name) == IN_THE_FILE:
                raise ConfigurationError(
                    f"{name} is in the defs.yaml of '{context.path.name}', which is not a place for a secret: write "
                    f'"{{{{ env.{variable(name)} }}}}" there and set that variable'
                )
        if "tier" in given:
            given["tier"] = str(given["tier"])  # YAML reads 3 as a number
        name = given.setdefault("name", _identifier(context.path.name))
        if name:
            given.setdefault("db_schema", name)
        given.setdefault("home", context.project_root / ".vector_pipeline")
        if "source" in given:
            places = Settings.of(source=given["source"]).sources
            given["source"] = [
                place if "://" in place else str(context.project_root / Path(place).expanduser()) for place in places
            ]
        return Settings.from_environment(**given)

    def options(self) -> DagsterOptions:
        """The attributes that are Dagster's own. Raises ConfigurationError."""
        translation = self.translation
        prefix = translation.key_prefix
        return DagsterOptions(
            key_prefix=prefix.split("/") if isinstance(prefix, str) else prefix,
            group_name=translation.group_name,
            owners=translation.owners,
            tags=translation.tags,
            metadata=translation.metadata,
            deps=self.deps,
            automation_condition=self.automation_condition,
            freshness=self.freshness.policy() if self.freshness else None,
            switches=self.switches,
            executor=dg.in_process_executor if self.executor == "in_process" else None,
            pool=self.pool,
        )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The pipeline's definitions. Raises ConfigurationError for attributes that make none."""
        return build_definitions(self.settings(context), options=self.options())


def _identifier(name: str) -> str:
    """A folder's name as a prefix: ASCII letters, digits and _."""
    found = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"_{found}" if found[:1].isdigit() else found
