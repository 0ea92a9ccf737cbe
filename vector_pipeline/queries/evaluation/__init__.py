"""Measure how well searches answer a golden set of questions."""
