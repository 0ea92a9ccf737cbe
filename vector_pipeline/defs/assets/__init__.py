"""The seven assets, one module each. Bodies name their inputs, call one function of `stages`, report metadata.

Dagster looks at the annotations of an asset as they are, so these modules do without postponed ones.
"""
