"""An OpenAI-compatible server over real HTTP: the published limits to the letter, and faults on demand."""

from vector_pipeline_tests.support.openai_server.config import Fault, ServerConfig
from vector_pipeline_tests.support.openai_server.server import RunningServer, serve, serve_in_process

__all__ = ["Fault", "RunningServer", "ServerConfig", "serve", "serve_in_process"]
