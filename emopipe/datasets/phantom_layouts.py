"""Which files a phantom corpus consists of: the official layouts, quirks included.

A layout is a class with `plan` and `write_annotations` and one line in `LAYOUTS`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from emopipe.datasets.phantom_affect import INVALID_LABEL, Performance, action_units, expression_classes
from emopipe.errors import ConfigError, UnknownNameError
from emopipe.files import write_whole
from emopipe.records import Side, Split

# Of five subjects three train, one is dev, one is test; in this order, so that two subjects already fill train and dev
# and a subject's split does not depend on how many follow.
SPLIT_CYCLE: Final[tuple[Split, ...]] = ("train", "dev", "train", "test", "train")
PAIR: Final = (0, 2)  # two train subjects who are also filmed together
EXPRESSIONS: Final = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"


@dataclass(frozen=True)
class PhantomSettings:
    """What determines every byte of labels and every pixel of a phantom corpus, portraits apart.

    Attributes:
        layout: a name of `LAYOUTS`, `UTTERANCES`, `REACTIONS` or `STILLS`.
        num_subjects: how many people.
        seconds: length of each clip; of all clips of a person together for "omg" and "hume"; stills have none.
        seed: of all randomness.
        width, height: of the picture, px; even, because H.264 halves them.
        frame_rate: frames per second, a whole number; stills have none.
    """

    layout: str
    num_subjects: int
    seconds: float = 10.0
    seed: int = 0
    width: int = 320
    height: int = 240
    frame_rate: int = 25

    def __post_init__(self) -> None:
        if self.layout not in (*STILLS, *UTTERANCES, *REACTIONS):
            find_layout(self.layout)
        if self.num_subjects < 2:
            raise ConfigError(f"phantom: expected at least 2 subjects, train and dev. Received: {self.num_subjects}.")
        if self.seed < 0:
            raise ConfigError(f"phantom: expected a seed of 0 or more. Received: {self.seed}.")
        if not 5 <= self.frame_rate <= 120 or not 1 <= self.seconds <= 3600:
            raise ConfigError(
                "phantom: expected 5 to 120 frames per second and 1 to 3600 seconds. "
                f"Received: {self.frame_rate} and {self.seconds}."
            )
        if self.width % 2 or self.height % 2 or min(self.width, self.height) < 96:
            raise ConfigError(f"phantom: expected an even size of 96 px or more. Received: {self.width}x{self.height}.")


@dataclass(frozen=True)
class ClipPlan:
    """One person in one video.

    Attributes:
        name: official name, with `_left` or `_right` where two are seen.
        subject: number of the subject, from 0.
        take: 0 for the subject's own video, 1 for the one with company; another take is another performance.
        split: of the subject.
        side: "" for one person.
        extra_rows: annotation rows beyond the last frame.
        seconds: length of this clip; None for that of the settings.
        level: valence and arousal about which the person's state wanders in it, see `phantom_affect.perform`.
        is_away: whether the person is out of the picture throughout.
    """

    name: str
    subject: int
    take: int
    split: Split
    side: Side = ""
    extra_rows: int = 0
    seconds: float | None = None
    level: tuple[float, float] = (0.0, 0.0)
    is_away: bool = False

    def seconds_of(self, settings: PhantomSettings) -> float:
        """How long it is."""
        return settings.seconds if self.seconds is None else self.seconds


@dataclass(frozen=True)
class VideoPlan:
    """One video file: its path below the corpus root, and who is in it, left to right."""

    path: str
    clips: tuple[ClipPlan, ...]

    @property
    def name(self) -> str:
        """The clip's name where one person is seen, else the file's without its extension."""
        return self.clips[0].name if len(self.clips) == 1 else Path(self.path).stem


class Layout(Protocol):
    """What a layout offers: whether it has official crops, which videos, and its annotation files."""

    has_crops: bool

    def plan(self, settings: PhantomSettings) -> list[VideoPlan]:
        """All videos of the corpus."""
        ...

    def write_annotations(self, root: Path, clip: ClipPlan, performance: Performance) -> None:
        """The annotation files of one clip."""
        ...

    def write_lists(self, root: Path, settings: PhantomSettings, videos: Sequence[VideoPlan]) -> None:
        """What the corpus says about itself as a whole."""
        ...


class AffWild2Layout:
    """Aff-Wild2 as of the second ABAW competition, with the class Other of the third; test labels are held back."""

    has_crops = True
    folders: Mapping[Split, str] = {"train": "Train_Set", "dev": "Validation_Set"}

    def plan(self, settings: PhantomSettings) -> list[VideoPlan]:
        size = f"{settings.width}x{settings.height}"
        videos = []
        for subject in range(settings.num_subjects):
            # The corpus mixes three manners of naming, and `_2` belongs to the name.
            manners = f"{subject + 2}-{settings.frame_rate}-{size}", f"video{subject + 2}_2", str(subject + 100)
            name = manners[subject % 3]
            clip = ClipPlan(name, subject, 0, split_of(subject), extra_rows=1 if subject == 0 else 0)
            videos.append(VideoPlan(f"batch{1 + subject % 2}/{name}.mp4", (clip,)))
        if settings.num_subjects >= 4:
            sides: tuple[tuple[int, Side], ...] = ((PAIR[0], "left"), (PAIR[1], "right"))
            pair = tuple(ClipPlan(f"video1_{side}", who, 1, split_of(who), side) for who, side in sides)
            videos.append(VideoPlan("batch2/video1.mp4", pair))
        return videos

    def write_annotations(self, root: Path, clip: ClipPlan, performance: Performance) -> None:
        if clip.split == "test":
            return
        folder, file = self.folders[clip.split], f"{clip.name}.txt"
        annotated = performance.labels[:, 0] != INVALID_LABEL
        rows = [f"{valence:g},{arousal:g}" for valence, arousal in performance.labels]
        _write_rows(root / "annotations" / "VA_Set" / folder / file, "valence,arousal", rows, clip.extra_rows)
        classes = expression_classes(performance.valence, performance.arousal)
        rows = [str(number) for number in np.where(annotated, classes, -1)]
        _write_rows(root / "annotations" / "EXPR_Set" / folder / file, EXPRESSIONS, rows, clip.extra_rows)
        units = action_units(performance.actions)
        matrix = np.where(annotated[:, None], np.stack(list(units.values()), axis=1), -1)
        rows = [",".join(map(str, row)) for row in matrix.astype(int)]
        _write_rows(root / "annotations" / "AU_Set" / folder / file, ",".join(units), rows, clip.extra_rows)

    def write_lists(self, root: Path, settings: PhantomSettings, videos: Sequence[VideoPlan]) -> None:
        names = sorted(clip.name for video in videos for clip in video.clips if clip.split == "test")
        for task in ("Valence_Arousal_Estimation", "Expression_Recognition", "Action_Unit_Detection"):
            path = root / "annotations" / f"{task}_Challenge_test_set_release.txt"
            write_whole(path, "".join(f"{name}\n" for name in names).encode())


class AffWildLayout:
    """Aff-Wild of 2017: numbered videos, two files of one number per line; dev subjects go to its test part."""

    has_crops = False

    def plan(self, settings: PhantomSettings) -> list[VideoPlan]:
        videos = []
        for subject in range(settings.num_subjects):
            split: Split = "train" if split_of(subject) == "train" else "test"
            clip = ClipPlan(str(105 + 3 * subject), subject, 0, split)
            videos.append(VideoPlan(f"videos/{split}/{clip.name}.mp4", (clip,)))
        return videos

    def write_annotations(self, root: Path, clip: ClipPlan, performance: Performance) -> None:
        # Aff-Wild has no marker for frames without a label: where the annotator was away the last value stays.
        labels = performance.labels.copy()
        annotated = labels[:, 0] != INVALID_LABEL
        last = np.maximum.accumulate(np.where(annotated, np.arange(len(labels)), np.argmax(annotated)))
        for column, target in enumerate(("valence", "arousal")):
            text = "".join(f"{value:g}\n" for value in labels[last, column])
            write_whole(root / "annotations" / clip.split / target / f"{clip.name}.txt", text.encode())

    def write_lists(self, root: Path, settings: PhantomSettings, videos: Sequence[VideoPlan]) -> None:
        """Aff-Wild has none."""


STILLS: Final = ("ckplus", "jaffe")  # the layouts without a video; see phantom_stills
UTTERANCES: Final = ("omg",)  # the layouts with one label for each utterance; see phantom_utterances
REACTIONS: Final = (
    "hume",
    "ravdess",
)  # the layouts in which face and voice are labelled together; see phantom_reactions
LAYOUTS: Final[Mapping[str, Layout]] = {"affwild2": AffWild2Layout(), "affwild": AffWildLayout()}


def find_layout(name: str) -> Layout:
    """The layout of videos of that name.

    Raises:
        UnknownNameError: there is none; the message lists the known ones.
    """
    if name not in LAYOUTS:
        known = ", ".join((*LAYOUTS, *STILLS, *UTTERANCES, *REACTIONS))
        raise UnknownNameError(f"Unknown phantom layout '{name}'. Known: {known}.")
    return LAYOUTS[name]


def split_of(subject: int) -> Split:
    """The split of a subject, which does not depend on how many there are."""
    return SPLIT_CYCLE[subject % len(SPLIT_CYCLE)]


def _write_rows(path: Path, header: str, rows: Sequence[str], extra_rows: int) -> None:
    """Header and rows; the last row is repeated where the official files have more rows than frames."""
    lines = [header, *rows, *[rows[-1]] * extra_rows]
    write_whole(path, ("\n".join(lines) + "\n").encode())
