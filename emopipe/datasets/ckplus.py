"""CK+ (Lucey et al., 2010): posed expressions from neutral to their peak, read picture by picture.

    cohn-kanade-images/S005/001/S005_001_00000001.png ... S005_001_00000011.png
    Emotion/S005/001/S005_001_00000011_emotion.txt          one code; an empty folder: the sequence has no label

Every picture is a clip. The first picture of a labelled sequence is neutral, the last three carry the sequence's label:
327 labelled sequences give 1,308 clips. The pictures between, and sequences without a label, are left out. There is no
official split; see `emopipe.datasets.splits.Folds`.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from emopipe.datasets.adapter import Adapter, MediaKind
from emopipe.datasets.annotations import frame_labels, line_error, read_text
from emopipe.datasets.listing import clip_name, entries, not_found, printable, require_folder, some, why_not_inside
from emopipe.datasets.manifest import Manifest, Refusal
from emopipe.errors import ManifestError
from emopipe.records import Clip, Labels

TITLE = "CK+ corpus"
EXPECTED = "cohn-kanade-images/S005/001/S005_001_00000001.png and Emotion/S005/001/S005_001_00000011_emotion.txt"
PICTURES_FOLDERS = ("cohn-kanade-images",)
LABELS_FOLDERS = ("emotion", "emotion_labels")  # named so inside the archive; the archive's own name
CLASSES = ("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")  # by their codes
TASK = "expr"
NUM_PEAKS = 3  # the last pictures of a sequence, which carry its label
_PICTURE = re.compile(r"(S\d+)_(\d+)_(\d+)\.(?:png|tif|tiff|jpg|jpeg)", re.IGNORECASE)
_EMOTION = re.compile(r"(S\d+)_(\d+)_(\d+)_emotion\.txt", re.IGNORECASE)


@dataclass
class _Found:
    """What a scan collects; `strange` are entries that are no part of the corpus."""

    clips: list[Clip] = field(default_factory=list)
    missing: list[Clip] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)


class CkPlus(Adapter):
    """CK+: one of eight classes for each picture; a clip's id is subject, sequence and the picture's name.

    A labelled sequence is refused as a whole when it has fewer than four pictures, two of one number, several emotion
    files, or a last picture that is not the peak its emotion file names: parts of it are not there.
    """

    name = "ckplus"
    tasks = (TASK,)

    def scan(self, root: Path, *, source: MediaKind | None = None) -> Manifest:
        require_folder(root, TITLE, EXPECTED)
        if source == "videos":
            raise ManifestError(f"{printable(root)}: CK+ has no videos. Expected pictures.", path=root)
        pictures_folder, labels_folder = _folder(root, PICTURES_FOLDERS), _folder(root, LABELS_FOLDERS)
        if pictures_folder is None or labels_folder is None:
            raise not_found(root, TITLE, EXPECTED)
        found = _Found()
        pictures = _sequences(root, pictures_folder, found)
        labels = _sequences(root, labels_folder, found)
        unlabelled = []
        for name in sorted(pictures.keys() | labels.keys()):
            try:
                emotions = _numbered(root, name, labels[name], _EMOTION, found) if name in labels else []
                if emotions:
                    _add_sequence(root, name, pictures.get(name), emotions, found)
                else:
                    unlabelled.append(name)
            except ManifestError as error:
                found.refused.append(Refusal(name, printable(error)))
        if not (found.clips or found.missing or found.refused):
            raise not_found(root, f"{TITLE} with a labelled sequence", EXPECTED)
        found.clips.sort(key=lambda clip: clip.clip_id)
        notes = _notes(unlabelled, found)
        return Manifest(self.name, root, tuple(found.clips), notes, tuple(found.missing), tuple(found.refused))

    def read_labels(self, clip: Clip, task: str | None = None) -> Labels:
        """One row: neutral for the first picture of its sequence, else the code in the sequence's emotion file."""
        _, path = self.annotation(clip, task)
        code = _read_code(path)
        label = 0 if _is_first(clip.media) else code
        return frame_labels(("expression",), np.array([[label]]), np.array([True]), CLASSES)


def _folder(root: Path, names: tuple[str, ...]) -> Path | None:
    """The folder of one of these names, without regard to case."""
    return next((Path(entry.path) for entry in entries(root) if entry.name.lower() in names and entry.is_dir()), None)


def _sequences(root: Path, folder: Path, found: _Found) -> dict[str, Path]:
    """ "S005/001" -> its folder."""
    return {
        f"{subject}/{sequence}": path
        for subject, subject_path in _folders(root, folder, "", found)
        for sequence, path in _folders(root, subject_path, f"{subject}/", found)
    }


def _folders(root: Path, folder: Path, prefix: str, found: _Found) -> list[tuple[str, Path]]:
    kept = []
    for entry in entries(folder):
        name = clip_name(entry.name)
        if reason := why_not_inside(root, entry):
            found.refused.append(Refusal(prefix + name, reason))
        elif entry.is_dir():
            kept.append((name, Path(entry.path)))
        else:
            found.strange.append(f"{clip_name(folder.name)}/{name}")
    return kept


def _numbered(root: Path, name: str, folder: Path, form: re.Pattern[str], found: _Found) -> list[tuple[int, Path]]:
    """The files of a sequence that have the form of its official names, with their numbers, sorted by number.

    Raises:
        ManifestError: one of them leads out of the corpus, or to nothing.
    """
    files = []
    for entry in entries(folder):
        match = form.fullmatch(entry.name)
        if match is None or f"{match[1]}/{match[2]}".lower() != name.lower() or entry.is_dir():
            found.strange.append(f"{name}/{clip_name(entry.name)}")
        elif reason := why_not_inside(root, entry):
            raise ManifestError(reason, path=Path(entry.path))
        else:
            files.append((int(match[3]), Path(entry.path)))
    return sorted(files)


def _add_sequence(root: Path, name: str, folder: Path | None, emotions: list[tuple[int, Path]], found: _Found) -> None:
    """The clips of one labelled sequence.

    Raises:
        ManifestError: the sequence is not whole.
    """
    if len(emotions) > 1:
        listed = ", ".join(path.name for _, path in emotions)
        raise ManifestError(f"{emotions[0][1].parent}: expected one emotion file. Received: {listed}.")
    (peak, path), annotations = emotions[0], {TASK: emotions[0][1]}
    subject = name.split("/")[0]
    pictures = [] if folder is None else _numbered(root, name, folder, _PICTURE, found)
    if not pictures:
        stem = path.name.lower().removesuffix("_emotion.txt").upper()
        media = (folder or root / PICTURES_FOLDERS[0] / name) / f"{stem}.png"
        found.missing.append(Clip(f"{name}/{stem}", media, "picture", subject=subject, annotations=annotations))
        return
    numbers = [number for number, _ in pictures]
    if len(set(numbers)) < len(numbers):
        raise ManifestError(f"{folder}: two pictures have the same number. Expected one of each. Remove one.")
    if len(pictures) <= NUM_PEAKS:
        raise ManifestError(
            f"{folder}: expected at least {NUM_PEAKS + 1} pictures, one neutral and {NUM_PEAKS} at the peak. "
            f"Received: {len(pictures)}."
        )
    if numbers[-1] != peak:
        raise ManifestError(
            f"{folder}: expected the peak, picture {peak}, to be the last one, as {path.name} says. "
            f"Received: {numbers[-1]}. Extract the archive of pictures again."
        )
    for _, media in (pictures[0], *pictures[-NUM_PEAKS:]):
        clip_id = f"{name}/{clip_name(media.stem)}"
        found.clips.append(Clip(clip_id, media, "picture", subject=subject, annotations=annotations))


def _is_first(picture: Path) -> bool:
    """Whether no picture of the same sequence has a smaller number."""
    numbers = {path.name: match for path in picture.parent.iterdir() if (match := _PICTURE.fullmatch(path.name))}
    own = numbers[picture.name]
    return not any(match.group(1, 2) == own.group(1, 2) and int(match[3]) < int(own[3]) for match in numbers.values())


def _notes(unlabelled: list[str], found: _Found) -> tuple[str, ...]:
    notes = []
    if unlabelled:
        verb = "sequence without a label is" if len(unlabelled) == 1 else "sequences without a label are"
        notes.append(f"{len(unlabelled)} {verb} left out: {some(unlabelled)}.")
    if found.missing:
        what = "labelled sequence" if len(found.missing) == 1 else "labelled sequences"
        peaks = some([clip.clip_id for clip in found.missing])
        notes.append(f"{len(found.missing)} {what} without pictures; expected at the peak: {peaks}.")
    if found.strange:
        verb = "entry is" if len(found.strange) == 1 else "entries are"
        notes.append(f"{len(found.strange)} {verb} no part of the corpus: {some(found.strange)}.")
    return tuple(notes)


def _read_code(path: Path) -> int:
    """The code of an emotion file, 1 to 7.

    Raises:
        ManifestError: it holds anything else; code 0, neutral, is never given to a sequence.
    """
    text = read_text(path).strip()
    try:
        code = float(text)
    except ValueError:
        code = 0.0
    if code not in range(1, len(CLASSES)):
        raise line_error(path, 1, f"one code from 1 ({CLASSES[1]}) to {len(CLASSES) - 1} ({CLASSES[-1]})", text)
    return int(code)
