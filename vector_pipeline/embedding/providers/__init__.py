"""Providers of embeddings, one file each."""
