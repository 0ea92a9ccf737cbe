"""The embedding APIs: one module for each, with the protocol in `base` and the list of names in `registry`."""
