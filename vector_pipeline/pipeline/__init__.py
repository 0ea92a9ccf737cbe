"""Composition: the one place that turns Settings into the values that other rooms take."""
