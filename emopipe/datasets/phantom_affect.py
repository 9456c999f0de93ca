"""What a phantom subject feels, does and is given as labels: everything about a clip that is not a pixel or a sample.

The true state is a smooth random walk through the valence-arousal plane. The face shows it at once but noisily and in
its own dialect (gains and a resting expression of the subject); annotators see it 0.4 s late and a little wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emopipe.datasets.phantom_face import ACTIONS
from emopipe.typing import Array, Bools, Floats

LATENT_RATE_HZ = 100.0  # the state lives on its own clock: another frame rate samples the same performance
LABEL_LAG_S = 0.4  # annotators follow the face by this much
LABEL_NOISE = 0.08
INVALID_LABEL = -5.0  # Aff-Wild2's marker
_LEAD_S = 1.0  # the state before the first frame, which the first labels refer to
_EXPRESSION_NOISE = 0.30  # of valence and of arousal, as the face shows them
_EXPOSURE_DRIFT, _BALANCE_DRIFT = 0.14, 0.09  # a camera's automatic; else the mean colour of a face would tell a smile
_ACTION_NOISE = 0.10  # of each action by itself

Streams = dict[str, np.random.Generator]


@dataclass(frozen=True)
class Temperament:
    """What stays the same in all clips of a subject: name of an action -> gain, and -> resting activation."""

    gain: dict[str, float]
    rest: dict[str, float]

    @classmethod
    def draw(cls, identity: np.random.Generator) -> "Temperament":
        gains, rests = identity.lognormal(0, 0.15, len(ACTIONS)), identity.normal(0, 0.10, len(ACTIONS))
        return cls(dict(zip(ACTIONS, gains.tolist(), strict=True)), dict(zip(ACTIONS, rests.tolist(), strict=True)))


@dataclass(frozen=True)
class Performance:
    """One clip of one subject, T frames.

    Attributes:
        time_s: (T,) seconds.
        valence, arousal: (T,) the true state in [-1, 1].
        labels: (T, 2) valence and arousal as annotated: late, noisy, 3 decimals, -5 where not annotated.
        actions: name -> (T,) activation, see `phantom_face.ACTIONS`.
        motion: name -> (T,): head_x, head_y (eye distances), head_turn (radians), head_size, head_width,
            head_height (factors), body_x, body_y (eye distances), body_size (factor), leave (0 in place, 1 out of the
            picture), cover (0 to 1).
        light: (T, 3) overall gain and its slopes across and down the picture.
        balance: (T, 3) factors of red, green and blue: the camera's white balance, which wanders.
        speech: (N,) loudness envelope at 100 Hz, 0 in pauses.
        speech_state: (N, 2) valence and arousal at 100 Hz.
    """

    time_s: Floats
    valence: Floats
    arousal: Floats
    labels: Floats
    actions: dict[str, Floats]
    motion: dict[str, Floats]
    light: Floats
    balance: Floats
    speech: Floats
    speech_state: Floats


def smooth_noise(generator: np.random.Generator, num_steps: int, scale_s: float) -> Floats:
    """(num_steps,) stationary Gaussian noise of variance 1 at 100 Hz whose correlation is exp(-(t / 2 scale_s)^2)."""
    reach = int(np.ceil(4 * scale_s * LATENT_RATE_HZ)) + 1
    steps = np.arange(-reach, reach + 1) / LATENT_RATE_HZ
    kernel = np.exp(-0.5 * (steps / scale_s) ** 2)
    return np.convolve(generator.normal(size=num_steps + 2 * reach), kernel / np.sqrt(np.sum(kernel**2)), mode="valid")


def perform(
    streams: Streams,
    temperament: Temperament,
    seconds: float,
    frame_rate: float,
    level: tuple[float, float] = (0.0, 0.0),
) -> Performance:
    """Everything about one clip of one subject.

    Args:
        streams: independent generators "state", "face", "motion" and "labels".
        temperament: the subject's.
        seconds: length of the clip.
        frame_rate: frames per second.
        level: valence and arousal about which the state wanders, before it is squeezed into [-1, 1].
    """
    num_latent = int(round((seconds + _LEAD_S) * LATENT_RATE_HZ)) + 2
    latent_s = np.arange(num_latent) / LATENT_RATE_HZ - _LEAD_S
    time_s = np.arange(int(round(seconds * frame_rate))) / frame_rate
    state = _state(streams["state"], num_latent, level)

    def at_frames(values: Floats, delay_s: float = 0.0) -> Floats:
        return np.interp(time_s - delay_s, latent_s, values)

    speech = _speech(streams["face"], state[:, 1])
    actions = _actions(streams["face"], temperament, state, speech)
    motion = _motion(streams["motion"], state[:, 1])
    motion.update(zip(("leave", "cover"), _absences(streams["motion"], latent_s, seconds), strict=True))
    light = np.stack([smooth_noise(streams["motion"], num_latent, 3.0) for _ in range(3)], axis=1)
    light = light * [_EXPOSURE_DRIFT, 0.10, 0.06] + streams["motion"].normal(0, [0.08, 0.12, 0.05])
    balance = np.stack([smooth_noise(streams["motion"], num_latent, 2.0) for _ in range(3)], axis=1)
    seen = np.stack([at_frames(state[:, k], LABEL_LAG_S) for k in range(2)], axis=1)
    started = latent_s >= 0
    return Performance(
        time_s,
        at_frames(state[:, 0]),
        at_frames(state[:, 1]),
        _annotate(streams["labels"], seen, num_latent, at_frames),
        {name: at_frames(values) for name, values in actions.items()},
        {name: at_frames(values) for name, values in motion.items()},
        np.stack([at_frames(light[:, k]) for k in range(3)], axis=1),
        np.stack([np.exp(_BALANCE_DRIFT * at_frames(balance[:, k])) for k in range(3)], axis=1),
        speech[started],
        state[started],
    )


def _state(generator: np.random.Generator, num: int, level: tuple[float, float]) -> Floats:
    """(num, 2) valence and arousal: slow moods (seconds) with quicker reactions on them; arousal leans upward."""
    slow = np.stack([smooth_noise(generator, num, 2.0) for _ in range(2)], axis=1)
    quick = np.stack([smooth_noise(generator, num, 0.6) for _ in range(2)], axis=1)
    return np.asarray(np.tanh([level[0], 0.35 + level[1]] + 0.95 * (np.sqrt(0.65) * slow + np.sqrt(0.35) * quick)))


def _speech(generator: np.random.Generator, arousal: Floats) -> Floats:
    """Syllables while speaking, silence between; quicker and louder with arousal."""
    speaking = 1 / (1 + np.exp(-12 * (smooth_noise(generator, len(arousal), 0.7) + 0.35)))
    rate_hz = 3.6 + 1.5 * arousal + 0.4 * smooth_noise(generator, len(arousal), 0.5)
    phase = 2 * np.pi * np.cumsum(rate_hz) / LATENT_RATE_HZ
    stress: Floats = np.clip(1 + 0.35 * smooth_noise(generator, len(arousal), 0.2), 0.2, None)
    syllables: Floats = np.clip(0.5 - 0.5 * np.cos(phase), 0, 1) ** 1.3
    loudness: Floats = speaking * stress * syllables
    return loudness


def _above(value: Floats) -> Floats:
    """max(value, 0) with a rounded corner."""
    return 0.5 * (value + np.sqrt(value * value + 0.03))


def _actions(
    generator: np.random.Generator, temperament: Temperament, state: Floats, speech: Floats
) -> dict[str, Floats]:
    """Activations at 100 Hz: the state's own actions, then what faces do besides."""
    num = len(state)
    shown = state + _EXPRESSION_NOISE * np.stack([smooth_noise(generator, num, 0.12) for _ in range(2)], axis=1)
    valence, arousal = shown.T
    pleased, displeased, excited, calm = _above(valence), _above(-valence), _above(arousal), _above(-arousal)
    affect = {
        "smile": pleased * (0.75 + 0.3 * excited),
        "corner_down": displeased * (0.85 - 0.3 * excited),
        "cheek_raise": 0.9 * pleased**1.3,
        "brow_raise": 0.75 * excited * (1 - 0.35 * np.minimum(displeased, 1)) - 0.2 * calm,
        "brow_lower": 0.7 * displeased * (0.5 + 0.5 * excited) + 0.1 * calm,
        "upper_lip_raise": 0.5 * displeased * (1 - 0.5 * excited),
        "lip_stretch": 0.6 * displeased * excited,
        "jaw_drop": 0.55 * _above(arousal - 0.25),
        "lid_open": 0.85 * excited - 0.9 * calm,
    }
    other = _other_actions(generator, num, speech)
    actions = {}
    for name in ACTIONS:
        own_noise = _ACTION_NOISE * smooth_noise(generator, num, 0.12)
        driven = temperament.gain[name] * affect[name] + temperament.rest[name] + own_noise if name in affect else 0.0
        actions[name] = np.clip(driven + other.get(name, 0.0), -1.2, 1.15)
    return actions


def _other_actions(generator: np.random.Generator, num: int, speech: Floats) -> dict[str, Floats]:
    """Speaking, blinking, looking about, brow flashes and head turns, none of which depends on the state."""
    wander = smooth_noise(generator, num, 0.6)
    return {
        "jaw_drop": 0.38 * speech,
        "lip_stretch": 0.5 * np.minimum(speech, 1) * smooth_noise(generator, num, 0.15),
        "blink": np.minimum(_pulses(generator, num, every_s=3.2, width_s=0.07), 1),
        "brow_raise": 0.5 * _pulses(generator, num, every_s=7.0, width_s=0.22),
        "gaze": np.clip(1.2 * np.round(wander * 1.5) / 1.5, -1.2, 1.2),  # eyes jump and rest
        "yaw": 0.45 * smooth_noise(generator, num, 0.7) + 0.2 * generator.normal(),
        "pitch": 0.40 * smooth_noise(generator, num, 0.7) + 0.2 * generator.normal(),
    }


def _pulses(generator: np.random.Generator, num: int, every_s: float, width_s: float) -> Floats:
    """Events of height 1 at random moments."""
    steps = np.arange(num) / LATENT_RATE_HZ
    count = generator.poisson(steps[-1] / every_s)
    moments = generator.uniform(0, steps[-1], count)
    return np.asarray(np.exp(-(((steps[:, None] - moments[None]) / width_s) ** 4)).sum(axis=1))


def _motion(generator: np.random.Generator, arousal: Floats) -> dict[str, Floats]:
    """Head and body; the head moves more when aroused, so position says nothing and motion a little."""
    num = len(arousal)
    liveliness = 0.75 + 0.4 * arousal

    def noise(scale_s: float, amount: float, offset: float = 0.0) -> Floats:
        return amount * smooth_noise(generator, num, scale_s) + offset * generator.normal()

    return {
        "head_x": liveliness * noise(0.45, 0.06),
        "head_y": liveliness * noise(0.40, 0.05),
        "head_turn": liveliness * noise(0.50, 0.055) + noise(2.5, 0.05),
        "head_size": 1 + noise(1.0, 0.02),
        # Turning and nodding foreshorten the head; without this the shape of the box would tell a smile.
        "head_width": 1 + noise(0.7, 0.05, 0.03),
        "head_height": 1 + noise(0.7, 0.05, 0.03),
        "body_x": noise(2.5, 0.25, 0.25),
        "body_y": noise(2.5, 0.12, 0.10),
        "body_size": np.exp(noise(3.0, 0.05, 0.06)),
    }


def _absences(generator: np.random.Generator, latent_s: Floats, seconds: float) -> tuple[Floats, Floats]:
    """Stretches without a face: the person walks out, or something passes before the camera. 4 to 7 % of the clip."""
    leave, cover = np.zeros_like(latent_s), np.zeros_like(latent_s)
    count = max(1, int(round(seconds / 12)))
    total_s = generator.uniform(0.04, 0.07) * seconds
    first_is_leave = generator.random() < 0.5
    for index in range(count):
        slot_s = seconds / count
        middle = (index + generator.uniform(0.3, 0.7)) * slot_s
        half = total_s / count / 2
        walks = (index % 2 == 0) == first_is_leave
        edge_s = 0.16 if walks else 0.08  # from in place to gone
        # The face counts as gone from the middle of the edge on.
        away = np.clip((half + edge_s / 2 - np.abs(latent_s - middle)) / edge_s, 0, 1)
        (leave if walks else cover)[:] += away
    return np.minimum(leave, 1), np.minimum(cover, 1)


def _annotate(
    generator: np.random.Generator, seen: Floats, num_latent: int, at_frames: Callable[[Floats], Floats]
) -> Floats:
    noise = np.stack([at_frames(smooth_noise(generator, num_latent, 0.5)) for _ in range(2)], axis=1)
    labels = np.round(np.clip(seen + LABEL_NOISE * noise, -1, 1), 3) + 0.0
    if generator.random() < 0.4 and len(labels) > 20:  # annotators skip stretches of some videos
        length = max(2, int(len(labels) * generator.uniform(0.03, 0.08)))
        first = int(generator.integers(0, len(labels) - length))
        labels[first : first + length] = INVALID_LABEL
    return labels


def expression_classes(valence: Floats, arousal: Floats) -> Array:
    """(T,) class numbers of Aff-Wild2's eight, read off the state by region of the plane.

    Order: neutral, anger, disgust, fear, happiness, sadness, surprise, other. The regions are ours; they make files
    of the right form, not a theory of emotion.
    """
    regions = [
        (np.hypot(valence, arousal) < 0.3, 0),
        ((arousal > 0.55) & (np.abs(valence) < 0.35), 6),
        (valence > 0.25, 4),
        ((valence < -0.25) & (arousal > 0.6), 1),
        ((valence < -0.25) & (arousal > 0.3), 3),
        ((valence < -0.25) & (arousal > 0.0), 2),
        (valence < -0.25, 5),
    ]
    return np.select([where for where, _ in regions], [number for _, number in regions], default=7).astype(np.int64)


def action_units(actions: dict[str, Floats]) -> dict[str, Bools]:
    """Aff-Wild2's twelve action units, on where the action is clearly visible."""
    on = {name: values > 0.35 for name, values in actions.items()}
    pursed = actions["lip_stretch"] < -0.25
    return {
        "AU1": on["brow_raise"],
        "AU2": actions["brow_raise"] > 0.5,
        "AU4": on["brow_lower"],
        "AU6": on["cheek_raise"],
        "AU7": actions["lid_open"] < -0.3,
        "AU10": on["upper_lip_raise"],
        "AU12": on["smile"],
        "AU15": on["corner_down"],
        "AU23": pursed,
        "AU24": pursed & (actions["jaw_drop"] < 0.1),
        "AU25": actions["jaw_drop"] > 0.12,
        "AU26": on["jaw_drop"],
    }
