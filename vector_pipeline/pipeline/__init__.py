"""Composition: the one place that turns Settings into values."""
