"""Cut documents into chunks by exact token counts."""
