"""Balancing frames by how crowded their place in the valence-arousal plane is."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from emopipe.errors import ConfigError
from emopipe.typing import Bools, Floats, Ints

NUM_BINS = 40  # per axis; Rangulov and Fahim, arXiv:2006.11168, sec. III
# Of both axes: the annotations' own range. A quotient is the double next to 0.05; linspace misses it by rounding.
EDGES = np.arange(-NUM_BINS // 2, NUM_BINS // 2 + 1) / (NUM_BINS // 2)

Ceiling = Literal["max", "mean", "midpoint"]
Balance = Literal["none", "max", "mean", "midpoint"]
CEILINGS: tuple[Ceiling, ...] = ("max", "mean", "midpoint")


@dataclass(frozen=True)
class Balanced:
    """Which frames are kept.

    Attributes:
        keep: (N,) bool.
        ceiling: k_max, frames.
    """

    keep: Bools
    ceiling: float


def density(valence: Floats, arousal: Floats) -> Ints:
    """Frames per cell of the 40 x 40 cells of [-1, 1]^2, the picture of the paper's Fig. 3.

    Args:
        valence, arousal: (N,) in [-1, 1].

    Returns:
        (40, 40) int64, valence along the first axis.
    """
    counts = np.zeros((NUM_BINS, NUM_BINS), np.int64)
    np.add.at(counts, (_cell(valence), _cell(arousal)), 1)
    return counts


def check_balance(chosen: str) -> None:
    """Refuse a way of balancing that there is not.

    Raises:
        ConfigError: it is neither "none" nor a ceiling.
    """
    if chosen not in ("none", *CEILINGS):
        raise ConfigError(f"balance: expected none, {', '.join(CEILINGS)}. Received: {chosen!r}.")


def balance(
    valence: Floats, arousal: Floats, ceiling: Ceiling, generator: np.random.Generator, *, literal: bool = False
) -> Balanced:
    """Draw once which frames are kept, so that crowded cells weigh less.

    Frames labelled exactly (0, 0), which annotators leave where nothing happens, go first. Of the others, a frame whose
    cell holds k frames is kept with probability 1 - k / k_max, never where k >= k_max. The paper prints k / k_max as
    the probability of being selected, which would keep the crowd; its code drops with that probability.

    Args:
        valence, arousal: (N,) labels of the training frames, in [-1, 1].
        ceiling: k_max is the largest cell ("max", the paper's subset 1), the mean over all 1,600 cells ("mean",
            subset 2) or the middle between the two ("midpoint", subset 3).
        generator: of the draws, one per frame.
        literal: keep with k / k_max, as Eq. 1 is printed.

    Raises:
        ConfigError: a label is outside [-1, 1], or nothing is left.

    Source:
        Rangulov and Fahim, arXiv:2006.11168, 2020, Eq. 1, and the code published with it. That code counts the (0, 0)
        frames into the density and looks both axes up on the valence axis' edges; here they are dropped first and each
        axis has its own.

    Examples:
        >>> crowd, lonely = np.full(90, 0.51), np.array([-0.7])
        >>> labels = np.concatenate([crowd, lonely])
        >>> balance(labels, labels, "max", np.random.default_rng(0)).keep[-1]
        np.True_
    """
    if ceiling not in CEILINGS:
        raise ConfigError(f"balance: expected one of {', '.join(CEILINGS)}. Received: '{ceiling}'.")
    is_neutral = (valence == 0) & (arousal == 0)
    counts = density(valence[~is_neutral], arousal[~is_neutral])
    largest, mean = float(counts.max()), float(counts.mean())
    k_max = {"max": largest, "mean": mean, "midpoint": (largest + mean) / 2}[ceiling]
    ratio = counts[_cell(valence), _cell(arousal)] / max(k_max, 1e-9)
    draws = generator.random(len(valence))
    keep = ~is_neutral & (draws < (ratio if literal else 1 - ratio))
    if not keep.any():
        raise ConfigError(
            f"--balance {ceiling}: of {len(valence)} frames none is left ({int(is_neutral.sum())} are labelled (0, 0), "
            f"k_max is {k_max:.1f}).\nExpected labels spread over several cells. Use --balance none."
        )
    return Balanced(keep, k_max)


def _cell(values: Floats) -> Ints:
    """Number of the cell along one axis; 1 belongs to the last cell."""
    if len(values) and not np.all(np.abs(values) <= 1):
        worst = values[np.argmax(~(np.abs(values) <= 1))]
        raise ConfigError(f"balance: expected labels in [-1, 1]. Received: {worst}.")
    return np.minimum(np.searchsorted(EDGES, values, side="right") - 1, NUM_BINS - 1)
