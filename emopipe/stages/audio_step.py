"""Sound: windows of many recordings in, full batches of pictures through the network, rows of the audio shards out."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from emopipe.errors import EmptyMediaError
from emopipe.media.audio import Sound, read_sound
from emopipe.models.spectrogram_cnn import LOG_MEL, AudioPlan, PictureNetwork, build_picture_network
from emopipe.records import CROP_SIZE_PX, Clip
from emopipe.spectrograms import SpectrogramConfig, log_mel_rows, pictures, window_axis
from emopipe.stages.features_step import Crops, FeatureRows, compute, tap_sizes
from emopipe.stages.pipeline import Prefetch, StepClock
from emopipe.stages.spec import PlannedClip
from emopipe.typing import Array, Bools, Floats, Ints

BATCH_SIZE = 16  # VGG16 holds 51 MB of activations per picture of 224 pixels, and two cores gain nothing beyond it
GPU_BATCH_SIZE = 128
_SOUNDS_AHEAD = 1  # each is held whole: 0.7 GB per hour at 48 kHz
_BLOCKS_AHEAD = 2


@dataclass(frozen=True)
class Windows:
    """A sound and the axis of its windows.

    Attributes:
        sound: the sound.
        time_s: (T,) float64, centres of the windows on the container's clock.
        valid: (T,) bool, whether there is enough sound in the window.
    """

    sound: Sound
    time_s: Floats
    valid: Bools

    @property
    def axis(self) -> dict[str, Array]:
        """`frame_index`, `time_s` and `valid`, as the rows of a shard begin."""
        return {"frame_index": np.arange(len(self.valid)), "time_s": self.time_s, "valid": self.valid}


@dataclass(frozen=True)
class AudioRows:
    """The audio features of one recording.

    Attributes:
        frame_index: (T,) int64, number of the window.
        time_s: (T,) float64, its centre on the container's clock.
        valid: (T,) bool, whether there is enough sound in it.
        taps: tap -> (T, D) float32, NaN where invalid.
        notes: what was noticed.
    """

    frame_index: Ints
    time_s: Floats
    valid: Bools
    taps: dict[str, Floats]
    notes: tuple[str, ...]


class AudioEngine:
    """Turns recordings into audio features; the network is built once.

    Args:
        plan: what was settled.
        network: the built backbone; None for log-mel.
        batch_size: pictures per forward pass.

    Attributes:
        device: "cpu" or "gpu", where it runs.
    """

    def __init__(self, plan: AudioPlan, network: PictureNetwork | None, batch_size: int):
        self._spectrogram, self._network, self._batch_size = plan.spectrogram, network, batch_size
        self._sizes = {} if network is None else tap_sizes(network)
        self.device = "cpu" if network is None else network.device

    @property
    def tap_sizes(self) -> dict[str, int]:
        """Tap -> numbers per window."""
        return self._sizes or {LOG_MEL: self._spectrogram.num_bands}

    def open(self, media: Path) -> Windows:
        """Decode a recording's sound and place its windows.

        Raises:
            MediaError: it has no sound track, cannot be decoded, or holds a sample that is not finite.
        """
        return open_windows(media, self._spectrogram)

    def compute(
        self, clips: Iterable[tuple[PlannedClip, Windows | Exception]], clock: StepClock
    ) -> Iterator[FeatureRows]:
        """Finished rows of all clips in order, in pieces; batches do not stop at a clip's border.

        Args:
            clips: each with its windows, or with why it has none; that comes out as the error of its last rows.
            clock: counts the seconds of the steps "spectrogram" and "audio".
        """
        opened = Prefetch(clips, _SOUNDS_AHEAD, "sound")
        if self._network is None:
            try:
                yield from clock.step("audio", self._log_mel, opened)
            finally:
                opened.close()
            return
        pieces = Prefetch(clock.step("spectrogram", self._pieces, opened), _BLOCKS_AHEAD, "spectrogram")
        run = partial(compute, network=self._network, sizes=self._sizes, batch_size=self._batch_size)
        try:
            yield from clock.step("audio", run, pieces)
        finally:
            pieces.close()
            opened.close()

    def rows(self, media: Path) -> AudioRows:
        """The audio features of one recording.

        Args:
            media: a video or a sound file.

        Raises:
            MediaError: as `open`.
            FaceError: the network gives a number that is not finite.
        """
        windows = self.open(media)
        planned = PlannedClip(Clip(media.stem, media, "sound"), None, None)
        parts = []
        for piece in self.compute([(planned, windows)], StepClock()):
            if piece.error is not None:
                raise piece.error
            parts.append(piece.rows)
        taps = {
            name.removeprefix("taps/"): np.concatenate([part[name] for part in parts])
            for name in parts[0]
            if name.startswith("taps/")
        }
        axis = windows.axis
        return AudioRows(axis["frame_index"], windows.time_s, windows.valid, taps, windows.sound.notes)

    def _log_mel(self, clips: Iterable[tuple[PlannedClip, Windows | Exception]]) -> Iterator[FeatureRows]:
        for planned, windows in clips:
            if isinstance(windows, Exception):
                yield _failed(planned, windows)
                continue
            try:
                values = log_mel_rows(windows.sound.samples, windows.sound.rate_hz, self._spectrogram)
            except Exception as error:  # noqa: BLE001  one bad clip never stops the rest: it becomes a ledger row
                yield _failed(planned, error)
                continue
            values = np.where(windows.valid[:, None], values, np.float32(np.nan))
            yield FeatureRows(planned, {**windows.axis, f"taps/{LOG_MEL}": values}, is_last=True)

    def _pieces(self, clips: Iterable[tuple[PlannedClip, Windows | Exception]]) -> Iterator[Crops]:
        for planned, windows in clips:
            if isinstance(windows, Exception):
                yield end_of(planned, windows)
                continue
            start = 0
            try:
                for block in pictures(windows.sound.samples, windows.sound.rate_hz, self._spectrogram):
                    rows = {name: array[start : start + len(block)] for name, array in windows.axis.items()}
                    yield Crops(planned, rows, block)
                    start += len(block)
            except Exception as error:  # noqa: BLE001  one bad clip never stops the rest: it becomes a ledger row
                yield end_of(planned, error)
                continue
            yield end_of(planned)


def load_audio_engine(plan: AudioPlan, *, num_threads: int) -> AudioEngine:
    """Build what a plan needs; the network is kept beside the features on the way.

    Args:
        plan: from `emopipe.models.spectrogram_cnn.resolve_audio` or `carried_audio`.
        num_threads: threads of the network.

    Raises:
        WeightsError: the weights do not fit, or the exported graph gives other numbers than Keras.
        DeviceError: a GPU is asked for and not there.
        ConfigError: a tap names a layer that is not there.
        StorageError: the weights folder cannot be written.
    """
    if plan.network is None:
        return AudioEngine(plan, None, BATCH_SIZE)
    batch_size = GPU_BATCH_SIZE if plan.network.device == "gpu" else BATCH_SIZE
    return AudioEngine(plan, build_picture_network(plan, batch_size=batch_size, num_threads=num_threads), batch_size)


def open_windows(media: Path, config: SpectrogramConfig) -> Windows:
    """Decode a recording's sound and place its windows; those that lie in a gap for more than half are invalid.

    Raises:
        MediaError: it has no sound track, cannot be decoded, or holds a sample that is not finite.
    """
    sound = read_sound(media, config.rate_hz)
    time_s, valid = window_axis(len(sound.samples), sound.rate_hz, sound.start_s, config)
    return Windows(sound, time_s, valid & ~lie_in_gaps(sound, len(valid), config))


def lie_in_gaps(sound: Sound, num_windows: int, config: SpectrogramConfig) -> Bools:
    """Which windows lie for more than half of their length where the track has nothing; (T,) bool.

    Examples:
        >>> sound = Sound(np.zeros(300, np.float32), 100, 0.0, 100, 1, gaps=((0.9, 1.6),))
        >>> lie_in_gaps(sound, 6, SpectrogramConfig(window_s=1.0, hop_s=0.5)).tolist()
        [False, True, True, False, False, False]
    """
    starts = sound.start_s + config.hop_s * np.arange(num_windows)
    stops = np.minimum(starts + config.window_s, sound.end_s)
    empty_s = np.zeros(num_windows)
    for gap_start, gap_stop in sound.gaps:
        empty_s += np.clip(np.minimum(stops, gap_stop) - np.maximum(starts, gap_start), 0, None)
    return np.asarray(empty_s > (stops - starts) / 2)


def check_windows(media: Path, windows: Windows) -> None:
    """Refuse a recording of which nothing can be used.

    Raises:
        EmptyMediaError: none of its windows is valid.
    """
    if windows.valid.any():
        return
    sound = windows.sound
    raise EmptyMediaError(
        f"{media}: none of its {len(windows.valid)} windows has enough sound; it has {len(sound.samples)} samples at "
        f"{sound.rate_hz} Hz.\nLook at the recording; if it is whole, try a shorter --audio-window.",
        path=media,
    )


def sound_info(sound: Sound) -> Mapping[str, Any]:
    """What the cache says about a clip's sound as a whole."""
    return {
        "rate_hz": sound.rate_hz,
        "native_rate_hz": sound.native_rate_hz,
        "num_channels": sound.num_channels,
        "start_s": sound.start_s,
        "end_s": sound.end_s,
    }


def end_of(planned: PlannedClip, error: Exception | None = None) -> Crops:
    """The piece without rows that ends a clip."""
    crop = np.empty((0, CROP_SIZE_PX, CROP_SIZE_PX, 3), np.uint8)
    return Crops(planned, _no_rows(), crop, is_last=True, error=error)


def _failed(planned: PlannedClip, error: Exception) -> FeatureRows:
    return FeatureRows(planned, _no_rows(), is_last=True, error=error, failed_upstream=True)


def _no_rows() -> dict[str, Array]:
    return {"frame_index": np.empty(0, np.int64), "time_s": np.empty(0), "valid": np.empty(0, bool)}
