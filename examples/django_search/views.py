"""A search as JSON: GET /search?q=how+many+days+of+leave."""

from django.apps import apps
from django.http import HttpRequest, JsonResponse

from vector_pipeline.errors import ConfigurationError, PipelineError


def search(request: HttpRequest) -> JsonResponse:
    """The five best chunks, with the text around them. A wrong question is 400, a failure 503, with one line each."""
    corpus = apps.get_app_config("django_search").corpus
    try:
        results = corpus.search(request.GET.get("q", ""), k=5, context=1)
    except PipelineError as error:
        return JsonResponse({"error": str(error)}, status=400 if isinstance(error, ConfigurationError) else 503)
    return JsonResponse({"results": [{"source": r.source, "text": r.context, "score": r.score} for r in results]})
