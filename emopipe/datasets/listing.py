"""Listing corpus folders: sorted, without opening a file, and never outside the root."""

import os
import unicodedata
from pathlib import Path

from emopipe.datasets.manifest import Refusal
from emopipe.errors import ManifestError
from emopipe.files import ensure_inside

VIDEO_EXTENSIONS = frozenset(
    (".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v", ".wmv", ".flv", ".3gp", ".ts", ".mts")
)
SOUND_EXTENSIONS = frozenset((".wav", ".mp3", ".flac", ".m4a", ".ogg"))
LFS_STUB_MAX_BYTES = 200  # a Git LFS pointer file has about 130
LFS_STUB_START = b"version https://git-lfs"


def entries(folder: Path) -> list["os.DirEntry[str]"]:
    """What a folder holds, sorted by name, hidden files left out (among them the `._` files that macOS leaves)."""
    with os.scandir(folder) as listing:
        return sorted((entry for entry in listing if not entry.name.startswith(".")), key=lambda entry: entry.name)


def printable(text: object) -> str:
    r"""Text that can be printed and stored as UTF-8: bytes of a name that are not UTF-8 become ``%XX``.

    Examples:
        >>> printable("caf\udce9")
        'caf%E9'
    """
    characters = str(text)
    if characters.isprintable():
        return characters
    return "".join(f"%{ord(char) - 0xDC00:02X}" if 0xDC80 <= ord(char) <= 0xDCFF else char for char in characters)


def clip_name(name: str) -> str:
    """A file's name as part of a clip id: printable, and composed, so that macOS and Linux give the same id."""
    return name if name.isascii() and name.isprintable() else unicodedata.normalize("NFC", printable(name))


def video_stem(name: str) -> str | None:
    """The name without its extension if it is that of a video, else None.

    Examples:
        >>> video_stem("4-30-1920x1080.MP4"), video_stem("notes.txt")
        ('4-30-1920x1080', None)
    """
    return _stem(name, VIDEO_EXTENSIONS)


def sound_stem(name: str) -> str | None:
    """The name without its extension if it is that of a sound file, else None.

    Examples:
        >>> sound_stem("03-01-05-02-01-01-07.wav"), sound_stem("01-01-05-02-01-01-07.mp4")
        ('03-01-05-02-01-01-07', None)
    """
    return _stem(name, SOUND_EXTENSIONS)


def _stem(name: str, extensions: frozenset[str]) -> str | None:
    stem, dot, extension = name.rpartition(".")
    return stem if dot and stem and f".{extension.lower()}" in extensions else None


def why_not_inside(root: Path, entry: "os.DirEntry[str]") -> str | None:
    """Why a listed entry must not be read, or None. Only links can lead outside, so only links are resolved."""
    if not entry.is_symlink():
        return None
    path = Path(entry.path)
    try:
        ensure_inside(root, path)
    except (ManifestError, RuntimeError, OSError) as error:  # RuntimeError: a link that leads to itself
        return printable(error)
    if not path.exists():
        return printable(f"{path}: a link that leads to no file. Expected the file itself; was it downloaded?")
    return None


def why_not_video(root: Path, entry: "os.DirEntry[str]", kind: str = "video") -> str | None:
    """Why an entry that is named like a video, or a file of another kind, cannot be read as one, or None."""
    if reason := why_not_inside(root, entry):
        return reason
    if not entry.is_file():
        return printable(f"{entry.path}: named like a {kind}. Expected a file. Received: a folder.")
    return None


def videos_in(root: Path, folder: Path) -> tuple[list[tuple[str, Path]], list[Refusal]]:
    """(clip name, path) of the videos that lie directly in a folder, and what only looks like one."""
    found, refused = [], []
    for entry in entries(folder):
        if (stem := video_stem(entry.name)) is None:
            continue
        if reason := why_not_video(root, entry):
            refused.append(Refusal(clip_name(stem), reason))
        else:
            found.append((clip_name(stem), Path(entry.path)))
    return found, refused


def require_folder(root: Path, title: str, expected: str) -> None:
    """Raise unless `root` is a folder that holds something.

    Raises:
        ManifestError: names what was looked for and the two ways to say where it is.
    """
    if root.is_dir() and entries(root):
        return
    received = "an empty folder" if root.is_dir() else "a file" if root.exists() else "nothing there"
    raise not_found(root, title, expected, received)


def not_found(root: Path, title: str, expected: str, received: str | None = None) -> ManifestError:
    """The ManifestError for a folder that does not hold the corpus."""
    if received is None:
        names = [printable(entry.name) for entry in entries(root)]
        received = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return ManifestError(
        f"{printable(root)}: no {title} here. Expected {expected}.\nReceived: {received}.\n"
        "Give the corpus folder with --root, or put it below the folder that $EMOPIPE_DATA names.",
        path=root,
    )


def is_lfs_stub(path: Path) -> bool:
    """Whether a file is a Git LFS pointer, left by a clone without `git lfs pull`, and not the content."""
    if not path.is_file() or path.stat().st_size >= LFS_STUB_MAX_BYTES:
        return False
    with path.open("rb") as file:
        return file.read(len(LFS_STUB_START)) == LFS_STUB_START


def some(names: list[str], most: int = 5) -> str:
    """The first few names of a list, for a sentence."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def cell_error(path: Path, line: int, column: str, expected: str, received: str) -> ManifestError:
    """The error for one cell of a table; the cure is to mend the cell that it names."""
    return ManifestError(
        f"{printable(path)}, line {line}, column '{column}': expected {expected}. Received: '{printable(received)}'.",
        path=path,
        row=line,
        column=column,
    )
