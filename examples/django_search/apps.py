"""The app's one open corpus, which all requests share."""

import functools

from django.apps import AppConfig

from vector_pipeline import Corpus


class DjangoSearchConfig(AppConfig):
    """The app. The corpus is opened by the first search, so that `manage.py` commands connect to nothing."""

    name = "examples.django_search"

    @functools.cached_property
    def corpus(self) -> Corpus:
        """The corpus of the environment's settings. Its pool of connections is shared by all threads."""
        return Corpus.open()
