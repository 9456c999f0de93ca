"""What sound and picture share: a file that FFmpeg cannot open, and what it turns out to be."""

from pathlib import Path

_HEAD_BYTES = 64  # enough to tell text from a container


def what_is_there(path: Path, error: Exception) -> str:
    """What a file that FFmpeg cannot open turns out to be, and the cure."""
    if not path.exists():
        return "There is no such file."
    if path.is_dir():
        return "It is a folder."
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as reason:
        return f"It cannot be read: {reason.strerror}."
    if not head:
        return "The file is empty (0 bytes). Copy or download it again."
    if head.startswith(b"version https://git-lfs"):
        return "It is a Git LFS pointer, not the recording itself. Run: git lfs pull"
    if head[4:8] in (b"ftyp", b"wide", b"free", b"mdat"):
        return (
            f"It begins like an MP4 of {path.stat().st_size} bytes, but its index (moov) is missing or broken: "
            "recording, copying or downloading broke off. Copy or download it again."
        )
    text = head.decode("utf-8", "replace")
    if all(character.isprintable() or character.isspace() for character in text.rstrip("\ufffd")):
        return f"It is text that begins with {text[:32]!r}. Expected a media container."
    return f"No known container begins with the bytes {head[:8].hex(' ')} ({getattr(error, 'strerror', error)})."
