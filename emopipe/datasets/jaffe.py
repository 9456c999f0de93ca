"""JAFFE (Lyons et al., 1998): posed expressions of ten women, one flat folder of pictures.

    KA.AN1.39.tiff      subject . expression and repetition . running number

Every picture is a clip, and its name is its label. The classes are those of CK+, so that a model of one can be scored
on the other; contempt has no picture here. There is no official split; see `emopipe.datasets.splits.Folds`.
"""

import os
import re
from pathlib import Path

import numpy as np

from emopipe.datasets.adapter import Adapter, MediaKind
from emopipe.datasets.annotations import frame_labels
from emopipe.datasets.ckplus import CLASSES, TASK
from emopipe.datasets.listing import clip_name, entries, not_found, printable, require_folder, some, why_not_inside
from emopipe.datasets.manifest import Manifest, Refusal
from emopipe.errors import ManifestError
from emopipe.records import Clip, Labels

TITLE = "JAFFE corpus"
EXPECTED = "pictures named like KA.AN1.39.tiff, directly in it"
CODES = {
    "NE": "neutral",
    "AN": "anger",
    "DI": "disgust",
    "FE": "fear",
    "HA": "happy",
    "SA": "sadness",
    "SU": "surprise",
}
_NAME = re.compile(r"([a-z]{2})\.([a-z]{2})\d+\.\d+\.tiff?", re.IGNORECASE)
_PICTURE_EXTENSIONS = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")


class Jaffe(Adapter):
    """JAFFE: one of seven classes of CK+'s eight for each picture; a clip's id is the picture's name.

    A picture with another name is refused, because nothing else says what it shows; other files are noted.
    """

    name = "jaffe"
    tasks = (TASK,)

    def scan(self, root: Path, *, source: MediaKind | None = None) -> Manifest:
        require_folder(root, TITLE, EXPECTED)
        if source == "videos":
            raise ManifestError(f"{printable(root)}: JAFFE has no videos. Expected pictures.", path=root)
        clips: list[Clip] = []
        refused: list[Refusal] = []
        others: list[str] = []
        for entry in entries(root):
            if not entry.name.lower().endswith(_PICTURE_EXTENSIONS):
                others.append(clip_name(entry.name))
            elif reason := _why_not(root, entry):
                refused.append(Refusal(clip_name(entry.name), reason))
            else:
                path = Path(entry.path)
                subject = entry.name[:2].upper()
                clips.append(Clip(path.stem, path, "picture", subject=subject, annotations={TASK: path}))
        if not clips:
            raise not_found(root, TITLE, EXPECTED)
        verb = "entry is no picture and is" if len(others) == 1 else "entries are no pictures and are"
        notes = [f"{len(others)} {verb} left out: {some(others)}."] if others else []
        clips.sort(key=lambda clip: clip.clip_id)
        return Manifest(self.name, root, tuple(clips), tuple(notes), refused=tuple(refused))

    def read_labels(self, clip: Clip, task: str | None = None) -> Labels:
        """One row: the class that the picture's name says."""
        _, path = self.annotation(clip, task)
        match = _NAME.fullmatch(path.name)
        if match is None or match[2].upper() not in CODES:
            raise ManifestError(_unlike(path.name), path=path)
        code = CLASSES.index(CODES[match[2].upper()])
        return frame_labels(("expression",), np.array([[code]]), np.array([True]), CLASSES)


def _why_not(root: Path, entry: "os.DirEntry[str]") -> str | None:
    """Why an entry that is named like a picture is not read as one of the corpus, or None."""
    if reason := why_not_inside(root, entry):
        return reason
    match = _NAME.fullmatch(entry.name)
    if match is None or match[2].upper() not in CODES:
        return _unlike(entry.name)
    return None if entry.is_file() else printable(f"{entry.path}: expected a picture. Received: a folder.")


def _unlike(name: str) -> str:
    expected = f"a name like KA.AN1.39.tiff with one of {', '.join(CODES)}"
    return printable(f"{name}: expected {expected}; nothing else says what the picture shows.")
