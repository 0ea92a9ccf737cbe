"""The kinds of files, and the readers that need a library and a process of their own.

`vector_pipeline.text.readers` reads text in the calling process. A PDF, an Office document or an archive is read in a
child process (`pool`, `child`), because the libraries that parse them may crash, hang or fill the memory.
"""
