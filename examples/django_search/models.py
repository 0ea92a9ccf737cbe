"""The chunks of the pipeline as an unmanaged model over the view `document_chunks`."""

from django.apps import apps
from django.db import models
from pgvector.django import CosineDistance, VectorField


class ChunkQuerySet(models.QuerySet):
    """Searches, beside what Django's query sets can do: `Chunk.objects.filter(source__startswith="hr/")`."""

    def search(self, question: str, k: int = 10) -> "models.RawQuerySet":
        """The k chunks that answer a question best, by words and meaning, in one statement of SQL.

        Each has a `score` and a `distance`, and is deferred: its other fields are loaded on use.
        """
        vector = apps.get_app_config("django_search").corpus.embed(question, purpose="query")
        return self.raw(
            "SELECT id, source, document_id, chunk_index, page_content, metadata, score, distance "
            "FROM search_chunks(%s, %s::vector, %s)",
            [question, str(vector.tolist()), k],
        )

    def nearest(self, question: str) -> "ChunkQuerySet":
        """The chunks of the query set by their meaning alone, nearest first. It can be filtered and sliced."""
        vector = apps.get_app_config("django_search").corpus.embed(question, purpose="query")
        return self.annotate(distance=CosineDistance("embedding", vector.tolist())).order_by("distance")


class Chunk(models.Model):
    """A chunk with its vector. It is read-only: the pipeline keeps it in step with the files."""

    id = models.UUIDField(primary_key=True)
    root = models.TextField()
    source = models.TextField()
    document_id = models.TextField()
    chunk_index = models.IntegerField()
    start_char = models.IntegerField()
    end_char = models.IntegerField()
    page_content = models.TextField()
    metadata = models.JSONField()
    embedding = VectorField()

    objects = ChunkQuerySet.as_manager()

    class Meta:
        """Django neither creates nor alters the view."""

        managed = False
        db_table = "document_chunks"
