"""Two corpora in one code location: other sources, models and chunking, one database, one account's limits.

OPENAI_API_KEY=… LAW=s3://texts/law NEWS=/srv/news dagster dev -f examples/two_corpora.py
"""

import os

import dagster as dg

from vector_pipeline import Settings, build_definitions


@dg.definitions
def defs() -> dg.Definitions:
    """Settings that are not given here come from the environment, for both corpora."""
    law = Settings.from_environment(
        name="law",
        db_schema="law",
        source=os.environ["LAW"],
        model="text-embedding-3-large",
        dimensions=1_024,
        chunk_tokens=800,
    )
    news = Settings.from_environment(
        name="news", db_schema="news", source=os.environ["NEWS"], chunk_tokens=200, chunk_strategy="paragraph"
    )
    return dg.Definitions.merge(build_definitions(law), build_definitions(news))
