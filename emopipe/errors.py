"""Every error that emopipe raises on purpose.

    EmopipeError
      RecordError, ConfigError, UnknownNameError      also ValueError
      ManifestError                                   also ValueError; carries path, row, column
      MediaError -> DecodeError, EmptyMediaError      carries path, frame_index
      FaceError -> LandmarkError                      carries clip_id, frame_index
      ShardError -> ShardVersionError, ShardMismatchError, CorruptShardError    carries path, clip_id
      StorageError                                    the disk is full or not writable; carries path
      WeightsError, DeviceError, RunError, MetricError  also ValueError
      MissingDependencyError                          also ImportError; names the extra

A message says where, what was expected, what was received and how to fix it, in at most three lines.
"""

from pathlib import Path


class EmopipeError(Exception):
    """Root of all errors of this package; the command line prints its message and exits with 1.

    Examples:
        >>> from emopipe import EmopipeError, load_adapter
        >>> try:
        ...     load_adapter("afwild2")
        ... except EmopipeError as error:
        ...     print(error)  # doctest: +ELLIPSIS
        Unknown dataset 'afwild2'. Did you mean 'affwild2'? Known: affwild, affwild2, ...
    """


class RecordError(EmopipeError, ValueError):
    """A record was built with arrays whose shapes or types do not fit together."""


class ConfigError(EmopipeError, ValueError):
    """A setting is unknown or out of range."""


class UnknownNameError(EmopipeError, ValueError):
    """A name is not in its registry; the message lists the known ones."""


class WeightsError(EmopipeError, ValueError):
    """Weights are missing, do not fit the network, or are not the bytes that were asked for."""


class RunError(EmopipeError, ValueError):
    """A run folder is missing, broken, or of another version."""


class DeviceError(EmopipeError, ValueError):
    """A device was asked for and is not there."""


class MetricError(EmopipeError, ValueError):
    """Truth and prediction from which no score can be computed."""


class MissingDependencyError(EmopipeError, ImportError):
    """An optional package is not installed; the message holds the pip line that cures it."""


class ManifestError(EmopipeError, ValueError):
    """A corpus file does not hold what its format promises."""

    def __init__(self, message: str, *, path: Path | None = None, row: int | None = None, column: str | None = None):
        super().__init__(message)
        self.path, self.row, self.column = path, row, column


class MediaError(EmopipeError):
    """A media file cannot be used."""

    def __init__(self, message: str, *, path: Path | None = None, frame_index: int | None = None):
        super().__init__(message)
        self.path, self.frame_index = path, frame_index


class DecodeError(MediaError):
    """A media file cannot be opened, or breaks off while it is decoded."""


class EmptyMediaError(MediaError):
    """A media file opens but holds no picture, or no sound where sound is wanted."""


class FaceError(EmopipeError):
    """A face step failed for a reason other than there being no face."""

    def __init__(self, message: str, *, clip_id: str | None = None, frame_index: int | None = None):
        super().__init__(message)
        self.clip_id, self.frame_index = clip_id, frame_index


class LandmarkError(FaceError, ValueError):
    """Landmarks from which no alignment can be computed."""


class ShardError(EmopipeError):
    """A shard cannot be used."""

    def __init__(self, message: str, *, path: Path | None = None, clip_id: str | None = None):
        super().__init__(message)
        self.path, self.clip_id = path, clip_id


class ShardVersionError(ShardError):
    """A shard was written by a version of the format that this program does not read."""


class ShardMismatchError(ShardError):
    """A shard was made with other settings than the ones asked for."""


class CorruptShardError(ShardError):
    """A shard's bytes are not the ones that were written."""


class StorageError(EmopipeError):
    """The cache cannot be written: the disk is full, the quota is used up, or permission is missing."""

    def __init__(self, message: str, *, path: Path | None = None):
        super().__init__(message)
        self.path = path
