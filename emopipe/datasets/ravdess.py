"""RAVDESS (Livingstone and Russo, 2018): 24 actors say and sing two sentences in eight emotions.

    01-01-06-02-02-01-12.mp4    modality - channel - emotion - intensity - statement - repetition - actor

Everything is read off the file name, so any folders will do. An utterance is filmed with sound (modality 01), and given
out without its sound (02) and without its picture (03) too; it is one clip here, the fullest of the files that are
there. There is no official split; see `emopipe.datasets.splits.Folds`.
"""

import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from emopipe.datasets.adapter import Adapter, MediaKind
from emopipe.datasets.listing import clip_name, not_found, printable, require_folder
from emopipe.datasets.manifest import Manifest, Refusal
from emopipe.datasets.media_tree import MediaFile, choose, media_below
from emopipe.errors import ManifestError
from emopipe.records import Clip, Labels

TITLE = "RAVDESS corpus"
EXPECTED = "files named like 03-01-06-01-02-01-12.wav or 01-01-06-01-02-01-12.mp4, in any folders"
CLASSES = ("neutral", "calm", "happy", "sadness", "anger", "fear", "disgust", "surprise")  # by their codes, 01 to 08
TASKS = ("expr", "intensity")
NUM_ACTORS = 24
_NAME = re.compile(
    r"(?P<modality>0[1-3])-(?P<channel>0[12])-(?P<emotion>0[1-8])-(?P<intensity>0[12])"
    r"-(?P<statement>0[12])-(?P<repetition>0[12])-(?P<actor>0[1-9]|1\d|2[0-4])"
)
_WITH_SOUND, _WITHOUT_SOUND, _SOUND_ONLY = "01", "02", "03"  # modalities


class Ravdess(Adapter):
    """RAVDESS: an acted emotion and its intensity (0 normal, 1 strong) for each utterance as a whole.

    A clip's id is its file's name, its subject the actor's number, "01" to "24". A media file with another name is
    refused, because nothing else says what it shows.
    """

    name = "ravdess"
    tasks = TASKS

    def scan(self, root: Path, *, source: MediaKind | None = None) -> Manifest:
        require_folder(root, TITLE, EXPECTED)
        if source == "images":
            raise ManifestError(f"{printable(root)}: RAVDESS has no pictures. Expected videos or sound.", path=root)
        files, refused = media_below(root)
        utterances: dict[str, list[MediaFile]] = defaultdict(list)
        for file in files:
            if reason := _why_not(file):
                refused.append(Refusal(clip_name(file.path.name), reason))
            else:
                utterances[file.stem.partition("-")[2]].append(file)
        clips: list[Clip] = []
        used: list[list[MediaFile]] = []
        for utterance, candidates in utterances.items():
            chosen = choose(utterance, candidates, _modality)
            if isinstance(chosen, Refusal):
                refused.append(chosen)
                continue
            used.append(candidates)
            stem, path = chosen.stem, chosen.path
            annotations = dict.fromkeys(TASKS, path)
            clips.append(Clip(stem, path, chosen.kind, subject=stem[-2:], annotations=annotations))
        if not clips and not refused:
            raise not_found(root, TITLE, EXPECTED)
        clips.sort(key=lambda clip: clip.clip_id)
        return Manifest(self.name, root, tuple(clips), _notes(used), refused=tuple(refused))

    def read_labels(self, clip: Clip, task: str | None = None) -> Labels:
        """One row for the clip as a whole: the number of the emotion, or 0 or 1 for its intensity."""
        task, path = self.annotation(clip, task)
        match = _NAME.fullmatch(path.stem)
        if match is None:
            raise ManifestError(_unlike(path.name), path=path)
        if task == "intensity":
            return Labels(("intensity",), np.array([[float(match["intensity"]) - 1]]), np.array([True]))
        return Labels(("expression",), np.array([[float(match["emotion"]) - 1]]), np.array([True]), classes=CLASSES)


def _why_not(file: MediaFile) -> str | None:
    """Why a media file is not read as one of the corpus, or None."""
    match = _NAME.fullmatch(file.path.stem)
    if match is None:
        return _unlike(file.path.name)
    if (match["modality"] == _SOUND_ONLY) != (file.kind == "sound"):
        whose = "a sound file" if file.kind == "sound" else "a video"
        modality = _SOUND_ONLY if file.kind == "sound" else f"{_WITH_SOUND} or {_WITHOUT_SOUND}"
        return printable(f"{file.path.name}: expected modality {modality}, as {whose} has. Received: {file.stem[:2]}.")
    return None


def _unlike(name: str) -> str:
    expected = "a name like 01-01-06-01-02-01-12.mp4, seven codes in their ranges"
    return printable(f"{name}: expected {expected}; nothing else says what it shows.")


def _modality(file: MediaFile) -> int:
    return int(file.stem[:2])


def _notes(utterances: list[list[MediaFile]]) -> tuple[str, ...]:
    """What was left out beside the clip of an utterance."""
    modalities = [{file.stem[:2] for file in files} for files in utterances]
    counts = {
        "utterances with a video and a sound file, of which the video is the clip": sum(
            _SOUND_ONLY in found and len(found) > 1 for found in modalities
        ),
        "utterances with a video with and one without sound, of which the one with sound is the clip": sum(
            {_WITH_SOUND, _WITHOUT_SOUND} <= found for found in modalities
        ),
        "clips without sound, because the one video that is there has none (modality 02)": sum(
            _WITHOUT_SOUND in found and _WITH_SOUND not in found for found in modalities
        ),
        "files that are left out, because another one has their name": sum(
            len(files) - len({file.stem for file in files}) for files in utterances
        ),
    }
    return tuple(f"{what}: {count:,}." for what, count in counts.items() if count)
