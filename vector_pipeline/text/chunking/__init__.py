"""Text to chunks by exact token counts."""
