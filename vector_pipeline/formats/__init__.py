"""The kinds of file that are read, and the readers of those which need a library and a process of its own.

Text is read by `vector_pipeline.text.readers` in the process that asks. A PDF, an Office document or an archive is read
in a child process (`pool`, `child`), since the libraries that parse them may crash, hang or fill the memory.
"""
