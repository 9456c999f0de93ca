"""CREMA-D (Cao et al., 2014): 91 actors say twelve sentences in six emotions, and thousands of people vote on them.

    VideoFlash/1001_IEO_HAP_LO.flv  AudioWAV/1001_IEO_HAP_LO.wav  AudioMP3/1001_IEO_HAP_LO.mp3
                                               actor _ sentence _ emotion _ level
    processedResults/tabulatedVotes.csv        the votes on the voice alone, the face alone, and both

The acted emotion is read off the file name. A clip is the video where it is there, else the wav, else the mp3; one file
is called `1040_ITH_SAD_X`, and is `1040_ITH_SAD_XX` here as everywhere else. The media are kept in Git LFS: a clone
without `git lfs pull` has stubs, which are named as such. There is no official split; an unofficial one is listed in
`data_manifests/cremad`.
"""

import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from emopipe.datasets.adapter import Adapter, MediaKind
from emopipe.datasets.cremad_votes import EMOTION_OF_LETTER, clip_id_of, read_votes
from emopipe.datasets.listing import clip_name, is_lfs_stub, not_found, printable, require_folder
from emopipe.datasets.manifest import Manifest, Refusal
from emopipe.datasets.media_tree import MediaFile, choose, media_below
from emopipe.errors import ManifestError
from emopipe.files import ensure_inside
from emopipe.records import Clip, Labels

TITLE = "CREMA-D corpus"
EXPECTED = "files named like AudioWAV/1001_IEO_HAP_LO.wav or VideoFlash/1001_IEO_HAP_LO.flv"
VOTES_FILES = ("processedResults/tabulatedVotes.csv", "tabulatedVotes.csv")
CLASSES = tuple(EMOTION_OF_LETTER.values())
CODES = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sadness"}
_NAME = re.compile(rf"(1\d{{3}})_([A-Z]{{3}})_({'|'.join(CODES)})_(XX?|LO|MD|HI)")


class Cremad(Adapter):
    """CREMA-D: the acted emotion, and the shares of six emotions in the votes, for each clip as a whole.

    The votes on a video are those of people who saw and heard it, the votes on a sound file of those who only heard it.
    A media file with another name is refused, because nothing else says what was acted.
    """

    name = "cremad"
    tasks = ("expr", "votes")

    def scan(self, root: Path, *, source: MediaKind | None = None) -> Manifest:
        require_folder(root, TITLE, EXPECTED)
        if source == "images":
            raise ManifestError(f"{printable(root)}: CREMA-D has no pictures. Expected videos or sound.", path=root)
        files, refused = media_below(root)
        named: dict[str, list[MediaFile]] = defaultdict(list)
        for file in files:
            if _NAME.fullmatch(file.stem):
                named[clip_id_of(file.stem)].append(file)
            else:
                refused.append(Refusal(clip_name(file.path.name), _unlike(file.path.name)))
        votes = next((path for name in VOTES_FILES if (path := root / name).is_file()), None)
        notes = [] if votes else [f"{VOTES_FILES[0]} is not there: the clips have no votes."]
        stubs: Counter[str] = Counter()
        clips: list[Clip] = []
        for clip_id, candidates in named.items():
            chosen = _choose(clip_id, candidates, stubs)
            if isinstance(chosen, Refusal):
                refused.append(chosen)
                continue
            annotations = {"expr": chosen.path} | ({"votes": ensure_inside(root, votes)} if votes else {})
            clips.append(Clip(clip_id, chosen.path, chosen.kind, subject=clip_id[:4], annotations=annotations))
        if not clips and not refused:
            raise not_found(root, TITLE, EXPECTED)
        if stubs:
            kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(stubs.items()))
            notes.append(f"Git LFS pointers beside a file that is there: {kinds}. To have these: git lfs pull")
        clips.sort(key=lambda clip: clip.clip_id)
        return Manifest(self.name, root, tuple(clips), tuple(notes), refused=tuple(refused))

    def read_labels(self, clip: Clip, task: str | None = None) -> Labels:
        """One row for the clip as a whole: the number of the acted emotion, or six vote shares, whose sum is 1."""
        task, path = self.annotation(clip, task)
        if task == "votes":
            shares = read_votes(path).shares(clip.clip_id, is_video=clip.kind == "video")
            return Labels(CLASSES, shares[None], np.array([True]))
        match = _NAME.fullmatch(path.stem)
        if match is None:
            raise ManifestError(_unlike(path.name), path=path)
        code = float(CLASSES.index(CODES[match[3]]))
        return Labels(("expression",), np.array([[code]]), np.array([True]), classes=CLASSES)


def _choose(clip_id: str, files: list[MediaFile], stubs: Counter[str]) -> MediaFile | Refusal:
    """The file that is the clip; the stubs of a clip that is there otherwise are counted in `stubs`."""
    pointers = [file for file in files if is_lfs_stub(file.path)]
    whole = [file for file in files if file not in pointers]
    if not whole:
        names = ", ".join(printable(file.path.name) for file in pointers)
        return Refusal(clip_id, f"{names}: a Git LFS pointer, not the file. Run: git lfs pull")
    stubs.update(file.path.suffix.lower() for file in pointers)
    return choose(clip_id, whole, _rank)


def _rank(file: MediaFile) -> int:
    """The picture before the sound, what was recorded before what was compressed."""
    return 0 if file.kind == "video" else 2 if file.path.suffix.lower() == ".mp3" else 1


def _unlike(name: str) -> str:
    expected = f"a name like 1001_IEO_HAP_LO.wav with one of {', '.join(CODES)}"
    return printable(f"{name}: expected {expected}; nothing else says what was acted.")
