"""Phantom corpora of still pictures: expressions posed by phantom people, in the layouts of CK+ and JAFFE.

A layout is a class with `plan` and `write_labels` and one line in `STILL_LAYOUTS`.
"""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

import cv2
import numpy as np
from PIL import Image as PillowImage

from emopipe.datasets import ckplus, jaffe
from emopipe.datasets.phantom import TRUTH_FOLDER
from emopipe.datasets.phantom_affect import Performance, Temperament
from emopipe.datasets.phantom_canvas import smooth_step
from emopipe.datasets.phantom_cast import Portrait, stream
from emopipe.datasets.phantom_face import ACTIONS, Face
from emopipe.datasets.phantom_layouts import PhantomSettings
from emopipe.datasets.phantom_portrait import make_head
from emopipe.datasets.phantom_scene import Actor, Scene
from emopipe.files import write_whole
from emopipe.typing import Floats

# What each expression looks like at its peak, after the action units that CK+'s authors ask of it (Lucey et al. 2010,
# table 1). Contempt is one-sided in life; this face moves both sides alike, so it is a tight, tired half-smile here.
POSES: Final[Mapping[str, Mapping[str, float]]] = {
    "neutral": {},
    "anger": {"brow_lower": 1.1, "lip_stretch": -0.8, "lid_open": 0.4, "corner_down": 0.2},
    "contempt": {"smile": 0.6, "lip_stretch": -0.9, "lid_open": -0.7, "brow_raise": 0.3, "pitch": -0.6},
    "disgust": {"upper_lip_raise": 1.1, "brow_lower": 0.8, "cheek_raise": 0.9, "lid_open": -0.7, "corner_down": 0.3},
    "fear": {"brow_raise": 0.7, "brow_lower": 0.3, "lid_open": 1.0, "lip_stretch": 1.1, "jaw_drop": 0.4},
    "happy": {"smile": 1.05, "cheek_raise": 0.9, "lip_stretch": 0.3, "jaw_drop": 0.2},
    "sadness": {"corner_down": 1.05, "brow_raise": 0.35, "brow_lower": 0.3, "lid_open": -0.6, "pitch": 0.4},
    "surprise": {"brow_raise": 0.85, "lid_open": 0.9, "jaw_drop": 1.0, "lip_stretch": -0.2},
}
_NUM_PICTURES = (5, 9)  # of a sequence, the end excluded; most official ones have 10 to 30
_SHOWN_PER_SUBJECT = 6  # of the seven expressions: each subject lacks one, two subjects in a row show all of them
_TAKE_NOISE, _PICTURE_NOISE = 0.08, 0.03  # of each action: from take to take, and from picture to picture
_PEAK = 0.8  # share of a sequence after which the expression stands at its peak


@dataclass(frozen=True)
class StillTake:
    """One expression of one subject: pictures from rest to its peak, or one picture of the peak.

    Attributes:
        number: of the take among the subject's.
        expression: a name of `POSES`.
        pictures: paths below the corpus root, in order.
        clips: those of them that have a label.
        label: path of the label file, or of its empty folder when the take has no label; "" where names are labels.
    """

    number: int
    expression: str
    pictures: tuple[str, ...]
    clips: tuple[str, ...]
    label: str = ""


@dataclass(frozen=True)
class Sitting:
    """All takes of one subject: its number from 0, its official name, whether the pictures have colour."""

    subject: int
    name: str
    takes: tuple[StillTake, ...]
    in_colour: bool = False


class StillLayout(Protocol):
    """What a layout of stills offers: the file format, where pictures lie, which there are, and their label files."""

    picture_format: str
    pictures_folder: str

    def plan(self, settings: PhantomSettings) -> list[Sitting]:
        """All pictures of the corpus, subject by subject."""
        ...

    def write_labels(self, root: Path, sitting: Sitting) -> None:
        """What belongs to a subject's pictures."""
        ...


class CkPlusLayout:
    """CK+: sequences that begin neutral and end at the peak; some have no label; a Mac has left its files in it."""

    picture_format = "PNG"
    pictures_folder = ckplus.PICTURES_FOLDERS[0]

    def plan(self, settings: PhantomSettings) -> list[Sitting]:
        return [self._sitting(settings, subject) for subject in range(settings.num_subjects)]

    def _sitting(self, settings: PhantomSettings, subject: int) -> Sitting:
        name, posed = f"S{subject + 10:03d}", ckplus.CLASSES[1:]
        lengths = stream(settings, subject, 0, "ckplus lengths").integers(*_NUM_PICTURES, size=_SHOWN_PER_SUBJECT + 1)
        takes = []
        for number, length in enumerate(lengths.tolist()):
            is_labelled = number < _SHOWN_PER_SUBJECT
            if not is_labelled and subject % 2:
                continue
            folder, stem = f"{name}/{number + 1:03d}", f"{name}_{number + 1:03d}"
            pictures = tuple(f"{self.pictures_folder}/{folder}/{stem}_{k + 1:08d}.png" for k in range(length))
            clips = (pictures[0], *pictures[-ckplus.NUM_PEAKS :]) if is_labelled else ()
            label = f"Emotion/{folder}" + (f"/{stem}_{length:08d}_emotion.txt" if is_labelled else "")
            takes.append(StillTake(number, posed[(subject + number) % len(posed)], pictures, clips, label))
        return Sitting(subject, name, tuple(takes), in_colour=subject % 7 == 6)

    def write_labels(self, root: Path, sitting: Sitting) -> None:
        for take in sitting.takes:
            if take.clips:
                code = ckplus.CLASSES.index(take.expression)
                write_whole(root / take.label, f"   {code:.7e}\n".encode())
            else:
                (root / take.label).mkdir(parents=True)
        for folder in (root / self.pictures_folder / sitting.name, root / "Emotion" / sitting.name):
            write_whole(folder / ".DS_Store", b"\0\0\0\1Bud1")


class JaffeLayout:
    """JAFFE: a flat folder, every expression three times, neutral among them; the names are the labels."""

    picture_format = "TIFF"
    pictures_folder = ""
    repetitions = 3
    names = ("KA", "KL", "KM", "KR", "MK", "NA", "NM", "TM", "UY", "YM")

    def plan(self, settings: PhantomSettings) -> list[Sitting]:
        letters = [chr(65 + k) for k in range(26)]
        more = [first + second for first in letters for second in letters if first + second not in self.names]
        return [self._sitting(subject, [*self.names, *more][subject]) for subject in range(settings.num_subjects)]

    def _sitting(self, subject: int, name: str) -> Sitting:
        kinds = [(code, repetition) for code in jaffe.CODES for repetition in range(1, self.repetitions + 1)]
        takes = []
        for number, (code, repetition) in enumerate(kinds):
            path = f"{name}.{code}{repetition}.{subject * len(kinds) + number + 1}.tiff"
            takes.append(StillTake(number, jaffe.CODES[code], (path,), (path,)))
        return Sitting(subject, name, tuple(takes))

    def write_labels(self, root: Path, sitting: Sitting) -> None:
        """JAFFE has no label files."""


STILL_LAYOUTS: Final[Mapping[str, StillLayout]] = {"ckplus": CkPlusLayout(), "jaffe": JaffeLayout()}


def clip_id_of(layout: StillLayout, picture: str) -> str:
    """The id that the corpus's adapter gives to a picture."""
    return str(PurePosixPath(picture).relative_to(layout.pictures_folder).with_suffix(""))


def render_sitting(folder: Path, settings: PhantomSettings, sitting: Sitting, portrait: Portrait) -> str:
    """Write all pictures of one subject, their labels and the truth about them.

    Returns:
        SHA-256 of the pixels, hex.
    """
    layout = STILL_LAYOUTS[settings.layout]
    identity = _stream(settings, sitting, 0, "identity")  # another layout has other people
    head = make_head(portrait.image, portrait.landmarks, identity)
    face = Face(head, identity)
    temperament = Temperament.draw(_stream(settings, sitting, 0, "temperament"))
    digest = hashlib.sha256()
    rows = [",".join(["picture", "expression", "intensity", *ACTIONS])]
    for take in sitting.takes:
        generator = _stream(settings, sitting, take.number, "take")
        intensity = intensities(len(take.pictures))
        performance = pose(take.expression, intensity, temperament, generator)
        scene = Scene(settings.width, settings.height, generator)
        film = scene.film([Actor(face, head.landmarks, performance)])
        for index, (path, frame) in enumerate(zip(take.pictures, film, strict=True)):
            picture = frame if sitting.in_colour else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
            digest.update(picture.tobytes())
            buffer = io.BytesIO()
            PillowImage.fromarray(picture).save(buffer, layout.picture_format)
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(buffer.getvalue())
            actions = [f"{performance.actions[name][index]:.4f}" for name in ACTIONS]
            rows.append(",".join([path, take.expression, f"{intensity[index]:.4f}", *actions]))
    write_whole(folder / TRUTH_FOLDER / f"{sitting.name}.csv", ("\n".join(rows) + "\n").encode())
    layout.write_labels(folder, sitting)
    return digest.hexdigest()


def intensities(num_pictures: int) -> Floats:
    """(T,) how much of an expression each picture shows: from 0 to 1; a single picture shows all of it.

    Examples:
        >>> intensities(6).round(2).tolist(), intensities(1).tolist()
        ([0.0, 0.16, 0.5, 0.84, 1.0, 1.0], [1.0])
    """
    if num_pictures == 1:
        return np.ones(1)
    return smooth_step(np.linspace(0, 1 / _PEAK, num_pictures))


def pose(expression: str, intensity: Floats, temperament: Temperament, generator: np.random.Generator) -> Performance:
    """A subject who poses an expression, looking into the camera.

    Args:
        expression: a name of `POSES`.
        intensity: (T,) how much of it each picture shows, 0 to 1.
        temperament: the subject's gains and resting expression.
        generator: of everything that differs from take to take.
    """
    num = len(intensity)
    strength = generator.uniform(0.8, 1.05)
    actions: dict[str, Floats] = {}
    for name in ACTIONS:
        noise = generator.normal(0, _TAKE_NOISE) + generator.normal(0, _PICTURE_NOISE, num)
        peak = strength * temperament.gain[name] * POSES[expression].get(name, 0.0)
        rest = 0.0 if name in ("blink", "gaze", "yaw", "pitch") else temperament.rest[name]
        actions[name] = np.zeros(num) if name == "blink" else np.clip(rest + intensity * peak + noise, -1.2, 1.15)
    still = {"head_x": 0.03, "head_y": 0.03, "head_turn": 0.03, "body_x": 0.3, "body_y": 0.12}
    motion: dict[str, Floats] = {name: np.full(num, generator.normal(0, scale)) for name, scale in still.items()}
    for name, scale in {"head_size": 0.02, "head_width": 0.02, "head_height": 0.02, "body_size": 0.06}.items():
        motion[name] = np.full(num, np.exp(generator.normal(0, scale)))
    motion |= {"leave": np.zeros(num), "cover": np.zeros(num)}
    light = np.tile(generator.normal(0, [0.08, 0.12, 0.05]), (num, 1))
    nothing = np.zeros(num)
    labels = np.zeros((num, 2))
    return Performance(
        np.arange(float(num)),
        nothing,
        nothing,
        labels,
        actions,
        motion,
        light,
        np.ones((num, 3)),
        np.zeros(0),
        np.zeros((0, 2)),
    )


def _stream(settings: PhantomSettings, sitting: Sitting, take: int, purpose: str) -> np.random.Generator:
    return stream(settings, sitting.subject, take, f"{settings.layout} {purpose}")
