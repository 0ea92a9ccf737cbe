"""One way of reading a folder of documents, in the environment of its library: prints JSON of the texts by file.

python run.py llama_index|langchain FOLDER OUTPUT
"""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings
from pathlib import Path

warnings.simplefilter("ignore")


def llama_index(folder: Path) -> dict[str, str]:
    """SimpleDirectoryReader with the readers that `llama-index-readers-file` brings, errors passed over."""
    from llama_index.core import SimpleDirectoryReader

    texts: dict[str, str] = {}
    for document in SimpleDirectoryReader(str(folder), recursive=True, raise_on_error=False).load_data():
        name = Path(document.metadata["file_path"]).name
        texts[name] = texts.get(name, "") + "\n" + document.text
    return texts


def langchain(folder: Path) -> dict[str, str]:
    """The loaders of langchain-community that need no engine of their own, one by suffix, errors passed over."""
    from langchain_community import document_loaders as loaders

    by_suffix = {
        ".pdf": lambda path: loaders.PyPDFLoader(path),
        ".docx": lambda path: loaders.Docx2txtLoader(path),
        ".ipynb": lambda path: loaders.NotebookLoader(path),
        ".html": lambda path: loaders.BSHTMLLoader(path),
        ".md": lambda path: loaders.TextLoader(path),
        ".txt": lambda path: loaders.TextLoader(path),
    }
    texts: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        load = by_suffix.get(path.suffix)
        if load is None:
            continue
        try:
            texts[path.name] = "\n".join(document.page_content for document in load(str(path)).load())
        except Exception as error:  # noqa: BLE001 - whatever a loader raises is a file lost
            print(f"{path.name}: {type(error).__name__}", file=sys.stderr)
    return texts


def main() -> None:
    """Read, and write what was found."""
    way, folder, output = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    began = time.monotonic()
    texts = {"llama_index": llama_index, "langchain": langchain}[way](folder)
    seconds = time.monotonic() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    output.write_text(json.dumps({"seconds": seconds, "memory": memory, "texts": texts}))


if __name__ == "__main__":
    main()
