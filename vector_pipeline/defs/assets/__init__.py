"""The seven assets, one module each. A body names its inputs, calls one function of `stages`, and reports metadata.

Dagster evaluates the annotations of an asset at once, so these modules have no postponed annotations.
"""
