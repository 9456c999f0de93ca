"""A phantom corpus of utterances: monologues of phantom people, cut and labelled as OMG-Emotion is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Final

import numpy as np

from emopipe.datasets.omg_table import EMOTIONS, LABEL_COLUMNS, LABELLED, UNLABELLED
from emopipe.datasets.phantom_affect import Performance, expression_classes
from emopipe.datasets.phantom_cast import performance_of, stream
from emopipe.datasets.phantom_layouts import ClipPlan, Layout, PhantomSettings, VideoPlan, split_of
from emopipe.files import write_whole
from emopipe.records import Split

COLUMNS: Final = ("link", "start", "end", "video", "utterance", *LABEL_COLUMNS)
_SHORTEST_S, _LONGEST_S = 1.0, 6.0  # at 25 frames per second some are shorter than the paper's 80 frames
_PAUSE_S = (0.2, 1.5)  # between utterances
# Before tanh. Labels then have a standard deviation of 0.57 (valence) and 0.30 (arousal, from 0 to 1), nearly as much
# within one person; those of OMG's train part have 0.37 and 0.22.
_LEVEL = 1.0
_SPECIAL_S = 2.0  # length of the two utterances that are out of the ordinary
_SPECIAL_SUBJECT = 1  # has them; the dev subject that every corpus has
# Of the classes of `expression_classes`: neutral, anger, disgust, fear, happiness, sadness, surprise, other.
_EMOTION_OF_EXPRESSION: Final = (4, 0, 1, 2, 3, 5, 6, 4)
_FOLDERS: Final[Mapping[Split, str]] = {"train": "Train", "dev": "Validation", "test": "Test"}


@dataclass(frozen=True)
class UtterancePlan:
    """One row of a list: the clip, its source, when it begins and ends there, and whether its media are still there."""

    clip: ClipPlan
    link: str
    start_s: float
    end_s: float
    has_media: bool = True

    @property
    def utterance(self) -> str:
        """The name that the official lists have: with an extension."""
        return f"{self.clip.name.rpartition('/')[2]}.mp4"

    @property
    def video(self) -> str:
        """The folder of the utterance."""
        return self.clip.name.rpartition("/")[0]


class OmgLayout:
    """OMG-Emotion: one label for each utterance, arousal from 0 to 1; the numbers of utterances have gaps.

    Every third person's source has two parts. Beside them, one utterance of the first dev person shows nobody, and one
    is listed whose media are gone. The labels are the means of the true state; test has a list without labels too.
    """

    has_crops = False

    def plan(self, settings: PhantomSettings) -> list[VideoPlan]:
        return [
            VideoPlan(f"Videos/{_FOLDERS[row.clip.split]}/{row.clip.name}.mp4", (row.clip,))
            for row in utterances(settings)
            if row.has_media
        ]

    def write_annotations(self, root: Path, clip: ClipPlan, performance: Performance) -> None:
        """All labels stand in the lists."""

    def write_lists(self, root: Path, settings: PhantomSettings, videos: Sequence[VideoPlan]) -> None:
        rows = [(row, _cells(settings, row)) for row in utterances(settings)]
        for name, split in LABELLED.items():
            _write_list(root / name, COLUMNS, [cells for row, cells in rows if row.clip.split == split])
        unlabelled = COLUMNS[: -len(LABEL_COLUMNS)]
        test = [cells[: len(unlabelled)] for row, cells in rows if row.clip.split == "test"]
        _write_list(root / UNLABELLED, unlabelled, test)


UTTERANCE_LAYOUTS: Final[Mapping[str, Layout]] = {"omg": OmgLayout()}


def utterances(settings: PhantomSettings) -> list[UtterancePlan]:
    """All utterances, person by person, in the order in which they are spoken."""
    return [row for subject in range(settings.num_subjects) for row in _monologue(settings, subject)]


def durations(generator: np.random.Generator, seconds: float, frame_rate: int) -> list[float]:
    """Lengths of the utterances that so many seconds are cut into: whole frames, 1 to 6 s each, the last up to 7 s."""
    left = int(round(seconds * frame_rate))
    shortest = int(np.ceil(_SHORTEST_S * frame_rate))
    # a short monologue is cut in two at least, so that its person has more than one label
    longest = max(shortest, int(np.clip(seconds / 2, _SHORTEST_S, _LONGEST_S) * frame_rate))
    lengths = []
    while left:
        length = int(generator.integers(shortest, longest + 1))
        if left - length < shortest:
            length = left
        lengths.append(length / frame_rate)
        left -= length
    return lengths


def _monologue(settings: PhantomSettings, subject: int) -> list[UtterancePlan]:
    generator = stream(settings, subject, 0, "omg monologue")
    source = f"{generator.integers(16**9):09x}"
    lengths = durations(generator, settings.seconds, settings.frame_rate)
    num_ordinary = len(lengths)
    if subject == _SPECIAL_SUBJECT:
        lengths += [_SPECIAL_S, _SPECIAL_S]
    count = len(lengths)
    numbers = np.cumsum(generator.integers(1, 3, count)).tolist()  # one in two is followed by a gap
    pauses = generator.uniform(*_PAUSE_S, count)
    levels = generator.uniform(-_LEVEL, _LEVEL, (count, 2)).tolist()
    starts = [0.0, *accumulate(length + float(pause) for length, pause in zip(lengths, pauses, strict=True))]
    rows = []
    for take, length in enumerate(lengths):
        video = _video_name(source, subject, is_second_half=take >= (num_ordinary + 1) // 2)
        valence, arousal = levels[take]
        clip = ClipPlan(
            f"{video}/utterance_{numbers[take]}",
            subject,
            take,
            split_of(subject),
            seconds=length,
            level=(valence, arousal),
            is_away=take == num_ordinary,
        )
        link = f"https://www.youtube.com/watch?v=phantom{subject:04d}"
        rows.append(UtterancePlan(clip, link, starts[take], starts[take] + length, has_media=take <= num_ordinary))
    return rows


def _video_name(source: str, subject: int, is_second_half: bool) -> str:
    """The source, with the number of its part: none, the only one, or one of two."""
    if subject % 3 == 0:
        return f"{source}_{1 + is_second_half}"
    return f"{source}_1" if subject % 3 == 1 else source


def _cells(settings: PhantomSettings, row: UtterancePlan) -> list[str]:
    performance = performance_of(settings, row.clip)
    valence, arousal = performance.valence, performance.arousal
    votes = np.array(_EMOTION_OF_EXPRESSION)[expression_classes(valence, arousal)]
    emotion = int(np.bincount(votes, minlength=len(EMOTIONS)).argmax())
    labels = [f"{(arousal.mean() + 1) / 2:.6f}", f"{valence.mean():.6f}", str(emotion)]
    return [row.link, f"{row.start_s:.3f}", f"{row.end_s:.3f}", row.video, row.utterance, *labels]


def _write_list(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A list of a split that has anybody in it."""
    if rows:
        lines = [",".join(cells) for cells in (columns, *rows)]
        write_whole(path, ("\n".join(lines) + "\n").encode())
