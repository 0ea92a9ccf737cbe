"""A server process: what it is to be comes in on stdin, its URL goes out on stdout."""

from vector_pipeline_tests.support.openai_server.server import main

main()
