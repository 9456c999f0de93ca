"""How test files call `extract`: videos of a real face, options that come up again, and what a cache holds after it."""

import numpy as np

NUM_FRAMES = 25  # of every tiny video: two chunks of face rows, the second one not full
PROGRAM = ("-c", "from emopipe_cli.main import main; main()")
KHORRAMI = ("--backbone", "khorrami", "--weights", "none")
TWO_TAPS = ("dense:flat", "pool2:gap")
FACES = ("--only", "faces")


def face_frames(num_frames: int, start: int = 0, size: tuple[int, int] = (160, 120)) -> list[np.ndarray]:
    """A real face that drifts over a real background; another `start` gives other pictures."""
    import cv2
    from skimage.data import astronaut

    portrait = astronaut()
    frames = []
    for index in range(start, start + num_frames):
        x, y = 70 + 2 * (index % 20), 4 + index % 9
        frames.append(cv2.resize(portrait[y : y + 240, x : x + 320], size, interpolation=cv2.INTER_AREA))
    return frames


def where(root, cache):
    return ("--dataset", "folder", "--root", root, "--cache", cache)


def counts(report):
    return tuple(report["clips"][name] for name in ("done", "reused", "failed"))


def stored(cache, kind="faces"):
    """Clip id -> its arrays, over all shards of a kind; the settings must be the same in all of them."""
    from emopipe.store.cache import Cache
    from emopipe.store.reader import ShardReader

    found, prints = {}, set()
    for record in Cache(cache).records(kind):
        prints.add(record.header.fingerprint)
        with ShardReader(record.path) as reader:
            for entry in record.entries:
                assert entry.clip_id not in found
                found[entry.clip_id] = reader.rows(entry.clip_id)
    assert len(prints) <= 1
    return found


def files_of(folder):
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
