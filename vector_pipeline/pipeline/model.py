"""The model, the provider and the limits that the settings name, and the spaces that texts are embedded into."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from vector_pipeline.embedding.models import TIERS, known_model, resolve_dimensions
from vector_pipeline.embedding.pacing.limits import Limits
from vector_pipeline.embedding.providers.base import Provider
from vector_pipeline.embedding.providers.embedded import BUSY_SECONDS, require_installed
from vector_pipeline.embedding.providers.registry import provider_named
from vector_pipeline.embedding.requests import RequestLimits, target_weight
from vector_pipeline.embedding.roles import NO_ROLES, Role, Roles, known_roles, name_before_vectors
from vector_pipeline.embedding.values import ClientConfig
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.settings import EMBEDDED_MODELS, Settings, variable
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.space import Space, active_space, filling_space
from vector_pipeline.store.spaces import note_query_role, open_space
from vector_pipeline.store.text_context import record_context


def model_name(settings: Settings) -> str:
    """The model to use: an embedded one unless a key or a base URL is set."""
    if not settings.uses_embedded_model or settings.model in EMBEDDED_MODELS:
        return settings.model
    return EMBEDDED_MODELS[0]


def require_model(settings: Settings) -> None:
    """Raise ConfigurationError if the settings name an embedded model that is not installed."""
    if settings.uses_embedded_model:
        require_installed(model_name(settings))


def model_dimensions(settings: Settings) -> int | None:
    """The dimensions of the model's vectors; None for an unknown model before its first answer."""
    if not settings.uses_embedded_model:
        return resolve_dimensions(settings.model, settings.dimensions)
    known = known_model(model_name(settings))
    dimensions = known.dimensions if known else None
    if settings.dimensions not in (None, dimensions):
        raise ConfigurationError(
            f"{variable('dimensions')} is {settings.dimensions}, but the embedded model has {dimensions}; "
            f"unset it, or set {variable('openai_api_key')} or {variable('openai_base_url')} to use another model"
        )
    return dimensions


def account_limits(settings: Settings) -> Limits | None:
    """The limits of the account: those in the settings, else the published ones of the tier; None to learn them.

    Limits in the settings apply even if the API would allow more.
    """
    tier = TIERS.get(settings.tier or "")
    tokens = settings.tokens_per_minute or (tier.tokens_per_minute if tier else None)
    requests = settings.requests_per_minute or (tier.requests_per_minute if tier else None)
    per_day = settings.requests_per_day or (tier.requests_per_day if tier else None)
    if not (tokens or requests or per_day):
        return None
    chosen = settings.tokens_per_minute or settings.requests_per_minute or settings.requests_per_day
    return Limits(tokens, requests, per_day, binding=bool(chosen))


def request_limits(settings: Settings) -> RequestLimits:
    """The limits of one request. Its size suits the rate limit, if that is known."""
    known = known_model(model_name(settings))
    own = (known and known.limits) or RequestLimits()
    limits = RequestLimits(
        max_inputs=min(settings.max_inputs_per_request, own.max_inputs),
        max_weight=min(settings.max_tokens_per_request, own.max_weight),
    )
    rate = account_limits(settings)
    weight = target_weight(limits, rate.tokens_per_minute if rate else None, rate.requests_per_minute if rate else None)
    return replace(limits, max_weight=weight)


def provider_of(settings: Settings) -> Provider:
    """The provider that the settings name. Raises ConfigurationError if there is none of that name."""
    return provider_named(settings.provider_name)


def client_config(settings: Settings, provider: Provider | None = None) -> ClientConfig:
    """The configuration of the embedding client. `provider` replaces the one that the settings name."""
    provider = provider or provider_of(settings)
    of_openai = provider.name == "openai"
    return ClientConfig(
        provider=provider,
        model=model_name(settings),
        dimensions=model_dimensions(settings),
        base_url=settings.base_url or (settings.openai_base_url if of_openai else None),
        api_key=settings.api_key or (settings.openai_api_key if of_openai else None),
        organization=settings.openai_organization,
        project=settings.openai_project,
        timeout_seconds=BUSY_SECONDS if settings.uses_embedded_model else settings.timeout_seconds,
        retry_seconds=settings.retry_seconds,
        max_in_flight=settings.max_in_flight,
        limits=account_limits(settings),
        roles=roles_of_model(settings),
    )


def settings_roles(settings: Settings, unset: Roles) -> Roles:
    """The roles that the settings name. A side that they leave open is that of `unset`."""
    document, query = settings.document_prefix, settings.query_prefix
    return Roles(
        document=unset.document if document is None else Role(document),
        query=unset.query if query is None else Role(query),
    )


def roles_of_model(settings: Settings) -> Roles:
    """The roles of the settings' model without a space: those that the settings name, else those of its table."""
    return settings_roles(settings, NO_ROLES if settings.uses_embedded_model else known_roles(settings.model))


def roles_in_space(settings: Settings, space: Space) -> Roles:
    """What is sent with texts and questions to a space.

    That of documents is recorded with it. The settings' query prefix holds for the spaces that they describe, and the
    recorded one for others.
    """
    wanted = settings_roles(settings, space.roles)
    described = space.holds(model_name(settings), model_dimensions(settings), wanted.document)
    return wanted if described else space.roles


def roles_wanted(settings: Settings, spaces: Iterable[Space | None]) -> Roles:
    """The roles of the settings' model.

    What the settings leave open is as it is recorded with the first of the spaces that has that model. So nothing is
    paid for again because a model became known.
    """
    model = model_name(settings)
    recorded = next((space.roles for space in spaces if space is not None and space.model == model), None)
    return roles_of_model(settings) if recorded is None else settings_roles(settings, recorded)


def roles_to_start(settings: Settings, active: Space | None) -> Roles:
    """The roles of a space that a person starts: as the settings name them, else the model's own, if it is known."""
    model = model_name(settings)
    own = NO_ROLES if settings.uses_embedded_model else known_roles(model)
    if own == NO_ROLES and active is not None and active.model == model:
        own = active.roles
    return settings_roles(settings, own)


@dataclass(frozen=True, slots=True)
class Target:
    """What texts are embedded into: a space, or an unknown model whose first answer will create its space."""

    model: str
    space: Space | None
    roles: Roles = NO_ROLES

    @classmethod
    def of(cls, space: Space) -> Self:
        """A space as a target."""
        return cls(space.model, space, space.roles)

    @property
    def name(self) -> str:
        """Its name in plans and claims."""
        return self.space.name if self.space else self.name_before_vectors

    @property
    def name_before_vectors(self) -> str:
        """Its name in plans and claims before its first answer."""
        return name_before_vectors(self.model, self.roles.document)

    @property
    def dimensions(self) -> int | None:
        """The dimensions that answers must have; None before the first answer of an unknown model."""
        return self.space.dimensions if self.space else None

    @property
    def prefix(self) -> str:
        """What is sent before each text."""
        return self.roles.document.prefix


def check_model(connection: Connection, settings: Settings) -> None:
    """Raise SpaceMismatch if the table holds vectors of another model or document prefix than the settings name."""
    active = active_space(connection)
    if active is not None:
        roles = roles_wanted(settings, (active, filling_space(connection)))
        open_space(connection, model_name(settings), model_dimensions(settings), roles)


def targets(connection: Connection, settings: Settings) -> Sequence[Target]:
    """The active space and the filling space, if there is one. Without any space it creates the active one.

    Raises SpaceMismatch if the active space belongs to another model or document prefix than the settings name.
    """
    if settings.context is not None:
        record_context(connection, settings.context)
    dimensions = model_dimensions(settings)
    active, filling = active_space(connection), filling_space(connection)
    roles = roles_wanted(settings, (active, filling))
    if dimensions is None and active is None:
        return [Target(model_name(settings), None, roles)]
    active = open_space(connection, model_name(settings), dimensions, roles, settings.index_type)
    spaces = [space for space in (active, filling) if space is not None]
    for space in spaces:
        note_query_role(connection, space, roles_in_space(settings, space).query)
    return [Target.of(space) for space in spaces]
