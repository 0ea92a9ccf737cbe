from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import unicodedata
from contextlib import suppress
from pathlib import Path

import pytest

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.sources.base import ListedFile, PassedOver
from vector_pipeline.sources.opening import open_source
from vector_pipeline.sources.selection import Selection
from vector_pipeline.text.readers import readable


def _listed(root: Path) -> tuple[list[str], dict[str, PassedOver]]:
    found = list(open_source(str(root)).walk(readable))
    passed = {item.path: item for item in found if isinstance(item, PassedOver)}
    return [item.path for item in found if isinstance(item, ListedFile)], passed


@pytest.mark.parametrize(
    "location", ["", " \n", "file://", "x" * 5_000, "~no-such-user/x", "a\0b", "s3://", "memory:///"]
)
def test_a_source_that_names_nothing_is_one_line(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="give a") as refusal:
        open_source(location)
    assert len(str(refusal.value)) < 600


def test_files_come_in_the_order_of_their_code_points(tmp_path: Path) -> None:
    names = ["a/b.txt", "a.txt", "a-b.txt", "a/c/d.txt", "B.txt", "가.txt", "z.md"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert _listed(tmp_path)[0] == sorted(names)


def test_odd_names_are_listed_as_they_are(tmp_path: Path) -> None:
    names = [
        "with space.txt",
        "quote'\".txt",
        "line\nend.txt",
        unicodedata.normalize("NFD", "한글") + ".txt",
        "한글.txt",
    ]
    names.append("l" * 200 + ".txt")
    for name in names:
        (tmp_path / name).write_text("x")
    assert _listed(tmp_path)[0] == sorted(names)


def test_hidden_files_and_other_suffixes_are_left_out(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    for name in (".git/config.txt", ".hidden.txt", "picture.png", "README", "kept.txt"):
        (tmp_path / name).write_text("x")
    assert _listed(tmp_path)[0] == ["kept.txt"]


def test_links_are_followed_to_files_inside_and_nowhere_else(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "secret.txt").write_text("x")
    (root / "real.txt").write_text("x")
    (root / "inside.txt").symlink_to(root / "real.txt")
    (root / "out.txt").symlink_to(outside / "secret.txt")
    (root / "folder").symlink_to(outside)
    (root / "loop").symlink_to(root)
    (root / "broken.txt").symlink_to(root / "nothing.txt")
    paths, passed = _listed(root)
    assert paths == ["inside.txt", "real.txt"]
    assert set(passed) == {"out.txt", "folder", "loop", "broken.txt"}
    for path in ("out.txt", "folder/secret.txt", "../outside/secret.txt"):
        with pytest.raises(OSError, match=r"leads out of the source|no path below its source"):
            open_source(str(root)).open(path)
    with open_source(str(root)).open("inside.txt") as opened:
        assert opened.read() == b"x"


def test_names_that_are_not_utf8_are_passed_over_and_can_be_shown(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("x")
    folder, link = (tmp_path / os.fsdecode(name) for name in (b"dir\xfe", b"lo\xfdop"))
    folder.mkdir()
    link.symlink_to("..")
    for path in (tmp_path / os.fsdecode(b"bad\xff.txt"), folder / "inside.txt"):
        path.write_text("x")
    paths, passed = _listed(tmp_path)
    assert paths == ["good.txt"]
    assert sorted(passed) == ["bad\\xff.txt", "dir\\xfe/inside.txt", "lo\\xfdop"]


def test_what_vanishes_during_the_walk_is_left_out(tmp_path: Path) -> None:
    for name in ("a.txt", "b/c.txt", "d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    walk = open_source(str(tmp_path)).walk(readable)
    assert next(walk).path == "a.txt"
    (tmp_path / "d.txt").unlink()
    shutil.rmtree(tmp_path / "b")
    (hidden,) = walk
    assert isinstance(hidden, PassedOver)
    assert (hidden.path, hidden.hides_files) == ("b", True)


def test_the_fingerprint_changes_with_the_file_and_not_without(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    source = open_source(str(tmp_path))
    with source.open("a.txt") as opened:
        before = source.fingerprint("a.txt", opened)
        assert before == source.fingerprint("a.txt", opened)
        path.write_text("two")
        assert source.fingerprint("a.txt", opened) != before


@pytest.mark.parametrize("name", ["missing", "file.txt"])
def test_a_source_that_is_no_folder_is_one_clear_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(ConfigurationError, match=name):
        open_source(str(tmp_path / name))


def test_a_url_of_an_unknown_protocol_or_with_credentials_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        open_source("nonsense://bucket/folder")
    with pytest.raises(ConfigurationError) as caught:
        open_source("s3://key:verysecret@bucket/folder")
    assert "verysecret" not in str(caught.value)


def test_what_takes_the_place_of_a_listed_file_is_neither_waited_for_nor_read(tmp_path: Path) -> None:
    source = open_source(str(tmp_path))
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "zero.txt").symlink_to("/dev/zero")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket.txt"))
    assert _listed(tmp_path)[0] == []
    for name in ("pipe.txt", "folder.txt", "zero.txt", "socket.txt"):
        with pytest.raises(OSError, match=r"no file any more|leads out of the source"):
            source.open(name)
    server.close()


@pytest.mark.slow
def test_no_link_that_comes_and_goes_leads_out(tmp_path: Path) -> None:
    """A process exchanges a folder of the source with a link to one outside, as fast as it can."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder, text in ((root / "d", "mine"), (outside, "secret")):
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text(text)
    (tmp_path / "link").symlink_to(outside)
    exchange = (
        "import os, sys\n"
        "while True:\n"
        "    os.rename('root/d', 'kept'); os.rename('link', 'root/d')\n"
        "    os.rename('root/d', 'link'); os.rename('kept', 'root/d')\n"
    )
    exchanging = subprocess.Popen([sys.executable, "-c", exchange], cwd=tmp_path)
    try:
        source = open_source(str(root))
        read: set[bytes] = set()
        for _ in range(20_000):
            with suppress(OSError), source.open("d/a.txt") as opened:
                read.add(opened.read())
            listed = [item.path for item in source.walk(readable) if isinstance(item, ListedFile)]
            assert listed in ([], ["d/a.txt"])
    finally:
        exchanging.kill()
        exchanging.wait()
    assert read == {b"mine"}


def test_folders_nest_deeper_than_descriptors_and_the_stack(tmp_path: Path) -> None:
    depth = 1_500
    folder = os.open(tmp_path, os.O_RDONLY)
    for level in range(depth):
        os.mkdir("d", dir_fd=folder)
        if level % 100 == 0:
            os.close(os.open(f"e{level}.txt", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    try:
        paths, passed = _listed(tmp_path)
        assert Selection(open_source(str(tmp_path))).wants(paths[-1])
    finally:
        # Python's own removal is recursive, and this is deeper than its stack.
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)
    assert paths == sorted("d/" * level + f"e{level}.txt" for level in range(0, depth, 100))
    assert not passed


def test_a_link_whose_target_cannot_be_read_now_hides_its_file() -> None:
    """Else what was loaded through it would be deleted, though the folder of the target is only closed for a while."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)
        (folder / "d").mkdir()
        (folder / "d/t.txt").write_text("text")
        (folder / "a.txt").symlink_to("d/t.txt")
        (folder / "b.txt").symlink_to("nowhere.txt")
        (folder / "d").chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # root may read everything
        try:
            found = [item for item in open_source(place).walk(readable) if isinstance(item, PassedOver)]
        finally:
            os.seteuid(user)
            (folder / "d").chmod(0o700)
    assert [(item.path, item.hides_files) for item in found] == [("a.txt", True), ("b.txt", False), ("d", True)]
