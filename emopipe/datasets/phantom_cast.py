"""Who plays in a phantom video: subjects made from seeds and portraits, placed in a scene.

Everything about subject k depends on (seed, k) and on its portrait only: more subjects, other workers or another order
change nothing.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from emopipe.datasets.phantom_affect import INVALID_LABEL, Performance, Temperament, perform
from emopipe.datasets.phantom_face import ACTIONS, Face
from emopipe.datasets.phantom_layouts import ClipPlan, PhantomSettings, VideoPlan
from emopipe.datasets.phantom_portrait import make_head
from emopipe.datasets.phantom_scene import Actor, Scene, visible_frames
from emopipe.datasets.phantom_voice import speak
from emopipe.typing import Bools, Floats, Image

CROP_SIZE_PX = 112  # of the official crops
# Where the official crops put eyes, nose and mouth corners, after ArcFace (Deng et al., CVPR 2019, reference code).
CROP_POINTS = np.array([(38.3, 51.7), (73.5, 51.5), (56.0, 71.7), (41.5, 92.4), (70.7, 92.2)])


@dataclass(frozen=True)
class Portrait:
    """A photograph to start from: (H, W, 3) uint8 RGB, its (68, 2) landmarks, and the name of its source."""

    image: Image
    landmarks: Floats
    source: str


def stream(settings: PhantomSettings, subject: int, take: int, purpose: str) -> np.random.Generator:
    """The generator for one purpose of one take of one subject, independent of all others."""
    key = (subject, take, zlib.crc32(purpose.encode()))
    return np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=key))


def performance_of(settings: PhantomSettings, clip: ClipPlan) -> Performance:
    """What the subject of a clip does in it."""
    temperament = Temperament.draw(stream(settings, clip.subject, 0, "temperament"))
    streams = {name: stream(settings, clip.subject, clip.take, name) for name in ("state", "face", "motion", "labels")}
    performance = perform(streams, temperament, clip.seconds_of(settings), settings.frame_rate, clip.level)
    if clip.is_away:
        performance.motion["leave"][:] = 1.0
    return performance


def cast(settings: PhantomSettings, video: VideoPlan, portraits: Sequence[Portrait]) -> tuple[Scene, list[Actor]]:
    """Scene and actors of a video, left to right.

    Args:
        portraits: one for each clip of the video, in its order.
    """
    first = video.clips[0]
    scene = Scene(settings.width, settings.height, stream(settings, first.subject, first.take, "scene"))
    actors = []
    for index, (clip, portrait) in enumerate(zip(video.clips, portraits, strict=True)):
        identity = stream(settings, clip.subject, 0, "identity")
        head = make_head(portrait.image, portrait.landmarks, identity)
        span = 1 / len(video.clips)
        exit_side = -1 if clip.side == "left" else 1
        performance = performance_of(settings, clip)
        face = Face(head, identity)
        actors.append(Actor(face, head.landmarks, performance, (index + 0.5) * span, span, exit_side))
    return scene, actors


def sound_of(settings: PhantomSettings, video: VideoPlan, actors: Sequence[Actor]) -> Floats:
    """(N,) float32 in [-1, 1] at `SAMPLE_RATE_HZ`: the voices of all who are seen."""
    voices = [
        speak(
            actor.performance,
            stream(settings, clip.subject, 0, "voice"),
            stream(settings, clip.subject, clip.take, "speech"),
        )
        for clip, actor in zip(video.clips, actors, strict=True)
    ]
    return np.asarray(np.sum(voices, axis=0) / np.float32(len(voices)))


def official_crop(frame: Image, points: Floats) -> Image:
    """(112, 112, 3) uint8 RGB: the frame turned, scaled and shifted so that the five points lie on `CROP_POINTS`."""
    # A similarity is one complex factor and one shift; least squares over the five points.
    source, target = points @ [1, 1j], CROP_POINTS @ [1, 1j]
    spread = source - source.mean()
    factor = np.vdot(spread, target - target.mean()) / np.vdot(spread, spread)
    shift = target.mean() - factor * source.mean()
    matrix = np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])
    crop = cv2.warpAffine(frame, matrix, (CROP_SIZE_PX, CROP_SIZE_PX), flags=cv2.INTER_LINEAR)
    return np.asarray(crop, np.uint8)


def truth_table(settings: PhantomSettings, actor: Actor) -> tuple[str, Bools]:
    """The truth about one clip as CSV text, and (T,) whether its face can be seen.

    Beside the true state stand the labels as annotators gave them, also of clips whose labels the layout holds back.
    """
    performance = actor.performance
    visible = visible_frames(actor, settings.width, settings.height)
    labels = [["" if value == INVALID_LABEL else f"{value:g}" for value in column] for column in performance.labels.T]
    header = ["frame", "time_s", "valence", "arousal", "valence_label", "arousal_label", "face_visible", *ACTIONS]
    columns: list[Iterable[str]] = [
        map(str, range(len(visible))),
        *(
            [f"{value:.6f}" for value in part]
            for part in (performance.time_s, performance.valence, performance.arousal)
        ),
        *labels,
        map(str, visible.astype(int)),
        *([f"{value:.4f}" for value in performance.actions[name]] for name in ACTIONS),
    ]
    rows = [",".join(row) for row in zip(*columns, strict=True)]
    return "\n".join([",".join(header), *rows]) + "\n", visible
