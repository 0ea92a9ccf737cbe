"""The embedding APIs that can be asked: one module for each, behind the protocol in `base`, by name in `registry`."""
