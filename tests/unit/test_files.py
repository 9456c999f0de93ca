"""Whole files, and files known by their content."""

import hashlib
import json
import os
import resource
import socket
import subprocess
import sys

import pytest

from emopipe.errors import ManifestError, StorageError
from emopipe.files import (
    MEBIBYTE,
    ensure_inside,
    is_abandoned,
    media_identity,
    partial_path,
    sha256_of_file,
    write_json,
    write_whole,
)


def test_a_file_is_written_whole_and_replaced_whole(tmp_path):
    path = tmp_path / "deep" / "a.bin"
    for content in (b"first", b"second", b""):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["a.bin"]


def test_partial_files_are_hidden_and_one_per_process_of_a_machine(tmp_path):
    path = partial_path(tmp_path / "a.h5")
    assert path.name.startswith(".a.h5.")
    assert path.name.endswith(f"{socket.gethostname().replace('.', '_')}-{os.getpid()}.partial")
    assert not is_abandoned(path)


FULL = """
import resource, sys
from pathlib import Path
from emopipe.errors import StorageError
from emopipe.files import write_whole
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_whole(Path(sys.argv[1]), bytes(5000))
except StorageError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_old_file_and_no_partial_one(tmp_path):
    path = tmp_path / "a.bin"
    write_whole(path, b"old")
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{path}: cannot be written (File too large).")
    assert "choose another folder" in done.stdout
    assert len(done.stdout.splitlines()) <= 3
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(StorageError, match=r"x/a\.bin: cannot be written"):
        write_whole(tmp_path / "x" / "a.bin", b"")


def test_json_is_the_same_bytes_for_the_same_content(tmp_path):
    write_json(tmp_path / "a", {"b": 1, "a": [2]})
    write_json(tmp_path / "b", {"a": [2], "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads((tmp_path / "a").read_text()) == {"a": [2], "b": 1}


def test_sha256_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert sha256_of_file(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()


# --- identities


@pytest.mark.parametrize("size", [0, 1, MEBIBYTE - 1, 3 * MEBIBYTE, 10 * MEBIBYTE])
def test_identity_is_size_and_content_and_not_name_or_time(tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "a.mp4").write_bytes(content)
    (tmp_path / "b.mp4").write_bytes(content)
    os.utime(tmp_path / "b.mp4", (1, 1))
    first = media_identity(tmp_path / "a.mp4")
    assert first == media_identity(tmp_path / "b.mp4")
    assert first.startswith(f"{size}-")
    (tmp_path / "b.mp4").write_bytes(content + b"x")
    assert media_identity(tmp_path / "b.mp4") != first


@pytest.mark.parametrize("place", [0, 5 * MEBIBYTE, 10 * MEBIBYTE - 1])
def test_a_change_at_the_beginning_the_middle_or_the_end_is_seen(tmp_path, place):
    path = tmp_path / "a.mp4"
    path.write_bytes(bytes(10 * MEBIBYTE))
    before = media_identity(path)
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"x")
    assert media_identity(path) != before


def test_identity_of_a_large_file_costs_three_reads(tmp_path):
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.truncate(200 << 30)  # sparse; reading it all would take minutes
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    assert media_identity(path).startswith(f"{200 << 30}-")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 2


def test_a_folder_of_images_is_its_names_and_sizes(tmp_path):
    def folder(name, **files):
        (tmp_path / name).mkdir()
        for stem, content in files.items():
            (tmp_path / name / f"{stem}.jpg").write_bytes(content)
        return media_identity(tmp_path / name)

    first = folder("a", x=b"11", y=b"2")
    assert first.startswith("2-")
    assert folder("b", y=b"9", x=b"99") == first
    assert len({first, folder("c", x=b"11"), folder("d", x=b"1", y=b"22"), folder("e", x=b"11", z=b"2")}) == 4
    (tmp_path / "a" / "below").mkdir()
    assert media_identity(tmp_path / "a") == first, "folders in it are not pictures"


def test_names_that_are_not_utf8_have_an_identity(tmp_path):
    os.mkdir(os.fsencode(tmp_path) + b"/f")  # noqa: PTH102  bytes
    with open(os.fsencode(tmp_path) + b"/f/caf\xe9.jpg", "wb") as file:  # noqa: PTH123  bytes
        file.write(b"1")
    assert media_identity(tmp_path / "f").startswith("1-")


# --- inside


def test_only_paths_below_the_root_pass(tmp_path):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "secret").write_text("")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "inner").symlink_to(root / "sub")
    (tmp_path / "root-twin").mkdir()
    assert ensure_inside(root, root / "sub" / "new.txt") == root / "sub" / "new.txt"
    assert ensure_inside(root, root / "inner" / "x") == root / "inner" / "x"
    for path in (root / ".." / "secret", root / "link", tmp_path / "root-twin", root / "sub" / ".." / ".." / "x"):
        with pytest.raises(ManifestError, match="leads outside the corpus root") as caught:
            ensure_inside(root, path)
        assert caught.value.path == path
