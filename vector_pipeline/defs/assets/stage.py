"""What the five assets of an arrival share: partitions, prefix, group, I/O manager and resources."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from vector_pipeline.defs.lineage import column_lineage
from vector_pipeline.defs.opening import Opening
from vector_pipeline.defs.pictures import column_schema
from vector_pipeline.pipeline.model import model_name
from vector_pipeline.pipeline.pipeline import fingerprints_of


def stage_asset(
    opening: Opening,
    name: str,
    *,
    columns: Mapping[str, tuple[str, str]],
    kinds: set[str],
    description: str,
    reads: str | None = None,
    after: Sequence[str] = (),
    needs: Sequence[str] = ("postgres",),
    pool: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """A decorator that turns a function into the asset of one stage.

    `columns` maps each column to its type and its description. `reads` is the stage whose stream is the argument of the
    function. `after` are other assets that must come before it. `needs` are the resources that it uses.
    """
    names, options = opening.names, opening.options
    return dg.asset(
        name=name,
        key_prefix=names.key_prefix,
        group_name=options.group_name or names.group,
        owners=list(options.owners),
        tags={**options.tags},
        kinds=kinds,
        code_version=_code_version(opening, name),
        partitions_def=names.arrivals,
        ins={reads: dg.AssetIn(key=names.asset(reads))} if reads else {},
        deps=[names.asset(asset) for asset in after],
        io_manager_key=names.of("stages"),
        required_resource_keys={names.of(resource) for resource in needs},
        pool=pool,
        metadata={
            "dagster/column_schema": column_schema(columns),
            "dagster/column_lineage": column_lineage(names, name),
            **options.metadata,
            **(metadata or {}),
        },
        description=description,
    )


def _code_version(opening: Opening, name: str) -> str:
    """A stage's output depends on this beside its input: readers and chunking, or for vectors the model."""
    settings = opening.settings
    if name in ("token_batches", "embeddings"):
        return f"{model_name(settings)}/{settings.dimensions or 'default'}"
    kinds = ",".join(fingerprints_of(settings).current)
    return hashlib.blake2b(kinds.encode(), digest_size=8).hexdigest()
