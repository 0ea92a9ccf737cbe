"""The seven assets, one module each. Bodies name their inputs, call one function of `stages`, report metadata."""
