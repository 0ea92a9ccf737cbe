"""`python -m vector_pipeline.cli`."""

from vector_pipeline.cli import main

main()
