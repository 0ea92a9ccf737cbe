"""Add `path("", include("examples.django_search.urls"))` to the project's URLs."""

from django.urls import path

from examples.django_search.views import search

urlpatterns = [path("search", search)]
