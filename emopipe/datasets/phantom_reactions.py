"""Phantom corpora in which face and voice are labelled together: reactions as in Hume-Reaction, speech as in RAVDESS.

In both, face and voice each say something that the other does not: a person's voice is more or less aroused than the
face (Hume-Reaction), or several emotions sound alike and look different (RAVDESS).
"""

import io
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from emopipe.datasets import hume_table, ravdess
from emopipe.datasets.phantom import TRUTH_FOLDER
from emopipe.datasets.phantom_affect import INVALID_LABEL, LATENT_RATE_HZ, Performance, Temperament, smooth_noise
from emopipe.datasets.phantom_canvas import smooth_step
from emopipe.datasets.phantom_cast import performance_of, stream
from emopipe.datasets.phantom_face import ACTIONS
from emopipe.datasets.phantom_layouts import ClipPlan, Layout, PhantomSettings, VideoPlan, split_of
from emopipe.datasets.phantom_stills import POSES
from emopipe.datasets.phantom_utterances import durations
from emopipe.datasets.phantom_voice import SAMPLE_RATE_HZ
from emopipe.errors import ConfigError
from emopipe.files import write_whole
from emopipe.records import Split
from emopipe.typing import Floats

_LEVEL = 1.0  # of reactions, before tanh; as that of the phantom's utterances
_VOICE_SHIFT: Final = np.array(
    [0.5, 1.2]
)  # at most: how much more or less pleasant and aroused a voice is than its face
_VOICE_MOST = 1.5  # voices are exaggerated: their valence and arousal go beyond 1
# Of what is felt in a reaction: how much of its valence and of its arousal the voice has; the face has the rest.
_VOICE_SHARE: Final = np.array([0.25, 0.6])
# Where each intensity is largest, valence and arousal. The places are ours; they make labels, not a theory of emotion.
REACTION_PLACES: Final[Mapping[str, tuple[float, float]]] = {
    "adoration": (0.7, -0.2), "amusement": (0.7, 0.6), "anxiety": (-0.4, 0.5), "disgust": (-0.7, 0.0),
    "empathic_pain": (-0.5, -0.5), "fear": (-0.6, 0.9), "surprise": (0.1, 0.8),
}  # fmt: skip
_REACH = 0.6  # distance from its place at which an intensity is e^-0.5 of its largest
_UNSEEN_SUBJECT = 1  # the dev subject that every corpus has: one reaction more is listed, whose media are gone
_FOLDERS: Final[Mapping[Split, str]] = {"train": "train", "dev": "val", "test": "test"}
_OFFICIAL_SPLITS: Final[Mapping[Split, str]] = {"train": "Train", "dev": "Val", "test": "Test"}
_INFO_COLUMNS: Final = (hume_table.KEY, hume_table.SPLIT, *hume_table.COLUMN_OF.values(), "Age", "Country")

# How each emotion of RAVDESS sounds, valence and arousal; its face is the pose of that name.
EMOTION_PLACES: Final[Mapping[str, tuple[float, float]]] = {
    "neutral": (0.0, -0.1), "calm": (0.3, -0.7), "happy": (0.7, 0.5), "sadness": (-0.6, -0.6), "anger": (-0.6, 0.9),
    "fear": (-0.7, 0.5), "disgust": (-0.8, 0.0), "surprise": (0.3, 0.8),
}  # fmt: skip
_CALM_POSE: Final = {"smile": 0.25, "lid_open": -0.5, "brow_raise": 0.1}  # CK+ and JAFFE do not have it
_STRENGTHS: Final = (0.55, 1.0)  # normal and strong
_RISE_S = 0.5  # from rest to the emotion
_TAKE_NOISE, _FRAME_NOISE = 0.2, 0.1  # of each action: from take to take, and in the course of one
_JAW_OF_SPEECH = 0.38  # as in all phantom videos


class ReactionLayout(Layout, Protocol):
    """A layout that also says what people do in its clips, and whether its corpus has splits."""

    has_splits: bool

    def act(self, settings: PhantomSettings, clip: ClipPlan, performance: Performance) -> Performance:
        """What the person does, made from what a phantom person does anyway."""
        ...

    def write_sound(self, root: Path, clip: ClipPlan, sound: Floats) -> None:
        """Files of the sound alone; `sound` is (N,) float32 in [-1, 1] at `SAMPLE_RATE_HZ`."""
        ...


@dataclass(frozen=True)
class ReactionPlan:
    """One row of `data_info.csv`: the clip, and whether its media are still there."""

    clip: ClipPlan
    has_media: bool = True


class HumeLayout:
    """Hume-Reaction as of ABAW-5: seven intensities for each clip, a wav beside each mp4; test labels are held back.

    The labels of all clips are in `truth/reactions.csv`. One clip of the first dev person is listed without media.
    """

    has_crops = False
    has_splits = True

    def plan(self, settings: PhantomSettings) -> list[VideoPlan]:
        return [VideoPlan(self._path(row.clip, "mp4"), (row.clip,)) for row in reactions(settings) if row.has_media]

    def act(self, settings: PhantomSettings, clip: ClipPlan, performance: Performance) -> Performance:
        shift = stream(settings, clip.subject, clip.take, "hume voice").uniform(-_VOICE_SHIFT, _VOICE_SHIFT, 2)
        voiced = np.clip(performance.speech_state + shift, -_VOICE_MOST, _VOICE_MOST)
        return replace(performance, speech_state=voiced, labels=np.full_like(performance.labels, INVALID_LABEL))

    def write_annotations(self, root: Path, clip: ClipPlan, performance: Performance) -> None:
        """All labels stand in the list."""

    def write_sound(self, root: Path, clip: ClipPlan, sound: Floats) -> None:
        write_whole(root / self._path(clip, "wav"), _wav(sound))

    def write_lists(self, root: Path, settings: PhantomSettings, videos: Sequence[VideoPlan]) -> None:
        listed, true = [_INFO_COLUMNS], [(hume_table.KEY, *hume_table.COLUMN_OF.values())]
        for row in reactions(settings):
            clip = row.clip
            values = intensities(self.act(settings, clip, performance_of(settings, clip)))
            cells = [f"{value:.6f}" for value in values]
            age = stream(settings, clip.subject, 0, "hume age").uniform(18.5, 49.5)
            country = ("United States", "South Africa")[clip.subject % 2]
            file_id, held_back = f"[{clip.name}]", [""] * len(cells)
            given = held_back if clip.split == "test" else cells
            listed.append((file_id, _OFFICIAL_SPLITS[clip.split], *given, f"{age:.1f}", country))
            true.append((file_id, *cells))
        for path, rows in ((root / hume_table.INFO_FILE, listed), (root / TRUTH_FOLDER / "reactions.csv", true)):
            write_whole(path, "".join(",".join(row) + "\n" for row in rows).encode())

    def _path(self, clip: ClipPlan, kind: str) -> str:
        return f"{_FOLDERS[clip.split]}/{kind}/{clip.name}.{kind}"


class RavdessLayout:
    """RAVDESS: 15 videos of speech for each actor, neutral once and seven emotions in two intensities; no splits."""

    has_crops = False
    has_splits = False

    def plan(self, settings: PhantomSettings) -> list[VideoPlan]:
        if settings.num_subjects > ravdess.NUM_ACTORS:
            raise ConfigError(
                f"phantom: layout 'ravdess' has up to {ravdess.NUM_ACTORS} subjects. Received: {settings.num_subjects}."
            )
        return [video for subject in range(settings.num_subjects) for video in self._sentences(subject)]

    def _sentences(self, subject: int) -> list[VideoPlan]:
        videos = []
        kinds = [(1, 1), *((emotion, strength) for emotion in range(2, 9) for strength in (1, 2))]
        for take, (emotion, strength) in enumerate(kinds):
            statement = 1 + (subject + take) % 2
            name = f"01-01-{emotion:02d}-{strength:02d}-{statement:02d}-01-{subject + 1:02d}"
            valence, arousal = _sounding(emotion, strength)
            level = (1.5 * valence, 1.5 * arousal - 0.35)  # the state leans upward by this much anyway
            clip = ClipPlan(name, subject, take, split_of(subject), level=level)
            videos.append(VideoPlan(f"Actor_{subject + 1:02d}/{name}.mp4", (clip,)))
        return videos

    def act(self, settings: PhantomSettings, clip: ClipPlan, performance: Performance) -> Performance:
        emotion, strength = (int(code) for code in clip.name.split("-")[2:4])
        time_s = performance.time_s
        course = smooth_step(time_s / min(_RISE_S, settings.seconds / 3))
        valence, arousal = _sounding(emotion, strength)
        temperament = Temperament.draw(stream(settings, clip.subject, 0, "temperament"))
        generator = stream(settings, clip.subject, clip.take, "ravdess take")
        actions = _acted(emotion, strength, course, performance, temperament, generator)
        nothing = np.zeros_like(time_s)  # actors stay before the camera
        return replace(
            performance,
            valence=valence * course,
            arousal=arousal * course,
            labels=np.full_like(performance.labels, INVALID_LABEL),
            actions=actions,
            motion={**performance.motion, "leave": nothing, "cover": nothing},
            speech_state=_VOICE_MOST * (0.85 * np.array([valence, arousal]) + 0.15 * performance.speech_state),
        )

    def write_annotations(self, root: Path, clip: ClipPlan, performance: Performance) -> None:
        """Names are the labels."""

    def write_sound(self, root: Path, clip: ClipPlan, sound: Floats) -> None:
        """The sound is in the video."""

    def write_lists(self, root: Path, settings: PhantomSettings, videos: Sequence[VideoPlan]) -> None:
        """RAVDESS has none."""


REACTION_LAYOUTS: Final[Mapping[str, ReactionLayout]] = {"hume": HumeLayout(), "ravdess": RavdessLayout()}


def reactions(settings: PhantomSettings) -> list[ReactionPlan]:
    """All reactions of the layout "hume", person by person; they are numbered in this order."""
    rows: list[ReactionPlan] = []
    for subject in range(settings.num_subjects):
        generator = stream(settings, subject, 0, "hume reactions")
        lengths = durations(generator, settings.seconds, settings.frame_rate)
        num_media = len(lengths)
        if subject == _UNSEEN_SUBJECT:
            lengths.append(1.0)
        for take, length in enumerate(lengths):
            valence, arousal = generator.uniform(-_LEVEL, _LEVEL, 2).tolist()
            name, split = f"{len(rows):05d}", split_of(subject)
            clip = ClipPlan(name, subject, take, split, seconds=length, level=(valence, arousal))
            rows.append(ReactionPlan(clip, has_media=take < num_media))
    return rows


def intensities(performance: Performance) -> Floats:
    """(7,) float64 in [0, 1], the largest 1: what a person felt in a clip, in the order of `hume_table.TARGETS`.

    Felt valence and arousal are weighted means of what face and voice show in the clip; an intensity falls with their
    distance from its place in the plane.
    """
    shown = np.array([performance.valence.mean(), performance.arousal.mean()])
    felt = (1 - _VOICE_SHARE) * shown + _VOICE_SHARE * performance.speech_state.mean(axis=0)
    places = np.array([REACTION_PLACES[target] for target in hume_table.TARGETS])
    closeness = np.exp(-np.sum((places - felt) ** 2, axis=1) / (2 * _REACH**2))
    return np.asarray(closeness / closeness.max())


def _sounding(emotion: int, strength: int) -> tuple[float, float]:
    """Valence and arousal of an acted voice, from the codes in a file's name."""
    valence, arousal = EMOTION_PLACES[ravdess.CLASSES[emotion - 1]]
    return _STRENGTHS[strength - 1] * valence, _STRENGTHS[strength - 1] * arousal


def _acted(
    emotion: int,
    strength: int,
    course: Floats,
    performance: Performance,
    temperament: Temperament,
    generator: np.random.Generator,
) -> dict[str, Floats]:
    """Name of an action -> (T,): an emotion's pose as far as `course` goes, with speech, blinks and glances on it."""
    name_of = ravdess.CLASSES[emotion - 1]
    pose = _CALM_POSE if name_of == "calm" else POSES[name_of]
    latent_s = np.arange(len(performance.speech)) / LATENT_RATE_HZ
    speech = np.interp(performance.time_s, latent_s, performance.speech)
    actions: dict[str, Floats] = {}
    for name in ACTIONS:
        wander = np.interp(performance.time_s, latent_s, smooth_noise(generator, len(latent_s), 0.12))
        noise = generator.normal(0, _TAKE_NOISE) + _FRAME_NOISE * wander
        peak = _STRENGTHS[strength - 1] * temperament.gain[name] * pose.get(name, 0.0)
        if name in ("blink", "gaze", "yaw", "pitch"):
            actions[name] = performance.actions[name] + course * peak
        else:
            spoken = _JAW_OF_SPEECH * speech if name == "jaw_drop" else 0.0
            actions[name] = np.clip(temperament.rest[name] + course * peak + spoken + noise, -1.2, 1.15)
    return actions


def _wav(sound: Floats) -> bytes:
    """A file of 16-bit samples, one channel."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(np.round(sound * 32767).astype("<i2").tobytes())
    return buffer.getvalue()
