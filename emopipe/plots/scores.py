"""Figures of labels, predictions and training: confusion, agreement, valence-arousal histogram, trace, curves.

Each returns a matplotlib figure of its own, without the state of pyplot; `save_figure` writes it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emopipe.plots.pictures import save_png
from emopipe.records import VA_TARGETS
from emopipe.typing import Bools, Floats, Image, Ints

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart by every kind of colour vision.
_TRUTH, _PREDICTION = "#000000", "#D55E00"
_LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_INVALID = "#BDBDBD"
_EMPTY = "#F2F2F2"  # a cell without a count, which no colour of the scale means
_TICKS = (-1.0, -0.5, 0.0, 0.5, 1.0)
_MAP = "cividis"  # its lightness alone carries the order
_MANY_LINES = 12  # in one panel
_DPI = 120
_MANY_POINTS = 2000  # more are drawn as counts per cell
_FEW_POINTS = 100  # fewer are drawn larger
_CELLS = 50  # per axis
_PANELS = 4  # side by side
_HELD_OUT = ("val_", "dev_")  # what a curve of the held-out split is called


def confusion_figure(matrix: Ints, classes: Sequence[str], *, title: str = "Confusion matrix") -> "Figure":
    """Counts in cells coloured by the share of their true class; a class without a row stays empty.

    Args:
        matrix: (C, C) counts, row = true class, column = predicted class.
        classes: names of the C classes.
    """
    counts = np.asarray(matrix)
    num_rows = counts.sum(axis=1, keepdims=True)
    share = np.ma.masked_invalid(np.where(num_rows > 0, counts / np.maximum(num_rows, 1), np.nan))
    side = max(4.2, 0.62 * len(classes) + 1.8)
    figure = _figure(side + 0.9, side)
    axes = figure.subplots()
    image = axes.imshow(share, cmap=_colours(), vmin=0, vmax=1)
    for row, column in np.ndindex(counts.shape):
        ink = "black" if np.ma.is_masked(share[row, column]) or share[row, column] > 0.5 else "white"
        axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=ink, fontsize=9)
    ticks = np.arange(len(classes))
    axes.set_xticks(ticks, classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, [f"{name} ({count:,})" for name, count in zip(classes, num_rows[:, 0], strict=True)])
    axes.set(xlabel="predicted class", ylabel="true class (rows)", title=f"{title}, {counts.sum():,} rows")
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    return figure


def agreement_figure(truth: Floats, prediction: Floats, targets: Sequence[str], *, what: str = "rows") -> "Figure":
    """Prediction against truth, one panel per target, with the diagonal on which both are the same.

    Up to two thousand rows are points, more are counts per cell on one logarithmic scale for all panels.

    Args:
        truth, prediction: (N, K) finite numbers, N at least 1.
        targets: names of the K columns.
        what: a row, in the plural, for the titles.
    """
    from matplotlib.colors import LogNorm

    num_columns = min(len(targets), _PANELS)
    num_rows = -(-len(targets) // num_columns)
    figure = _figure(3.6 * num_columns + 1.0, 4.3 * num_rows + 0.2)
    all_axes = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    many = len(truth) > _MANY_POINTS
    panels = []
    for k, target in enumerate(targets):
        edges = np.linspace(*_span(np.concatenate([truth[:, k], prediction[:, k]]), target), _CELLS + 1)
        panels.append((edges, np.histogram2d(truth[:, k], prediction[:, k], [edges, edges])[0]))
    scale = LogNorm(1, max(2.0, *(float(cells.max()) for _, cells in panels)))
    for k, (axes, target, (edges, cells)) in enumerate(zip(all_axes, targets, panels, strict=False)):
        if many:  # histogram2d puts its first variable on the rows, pcolormesh on the columns
            mesh = axes.pcolormesh(edges, edges, np.ma.masked_equal(cells.T, 0), cmap=_colours(), norm=scale)
            axes.set_facecolor(_EMPTY)
        else:
            size = 36 if len(truth) < _FEW_POINTS else 14
            axes.scatter(truth[:, k], prediction[:, k], s=size, alpha=0.45, color=_LINES[0], linewidth=0)
        ends = edges[[0, -1]]
        axes.plot(ends, ends, color=_TRUTH, linewidth=1, linestyle="--")
        unit = _unit(target, truth[:, k])
        axes.set(xlim=ends, ylim=ends, aspect="equal", title=f"{target}, {len(truth):,} {what}")
        axes.set(xlabel=f"true {target}{unit}", ylabel=f"predicted {target}{unit}")
    for axes in all_axes[len(targets) :]:
        axes.remove()
    if many:
        figure.colorbar(mesh, ax=list(all_axes[: len(targets)]), label=f"{what} per cell", shrink=0.8)
    return figure


def histogram_figure(panels: Mapping[str, Floats], *, num_bins: int = 40) -> "Figure":
    """Where labels lie in the valence-arousal plane, as counts per cell on one logarithmic scale for all panels.

    Args:
        panels: title ("all frames", "subset 3") -> (N, 2) valence and arousal in [-1, 1]; rows outside are left out and
            counted in the title.
        num_bins: cells per axis.

    Source:
        Fig. 3 of Rangulov and Fahim, arXiv:2006.11168, 2020.
    """
    from matplotlib.colors import LogNorm

    edges = np.linspace(-1, 1, num_bins + 1)
    counts = [np.histogram2d(labels[:, 0], labels[:, 1], [edges, edges])[0] for labels in panels.values()]
    scale = LogNorm(1, max(2.0, *(float(cells.max()) for cells in counts)))
    figure = _figure(4.3 * len(panels) + 1.1, 4.8)
    all_axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (title, labels), cells in zip(all_axes, panels.items(), counts, strict=True):
        shown = int(cells.sum())
        outside = f", {len(labels) - shown:,} outside" if shown < len(labels) else ""
        # histogram2d puts its first variable on the rows, pcolormesh on the columns.
        mesh = axes.pcolormesh(edges, edges, np.ma.masked_equal(cells.T, 0), cmap=_colours(), norm=scale)
        axes.axhline(0, color="grey", linewidth=0.6)
        axes.axvline(0, color="grey", linewidth=0.6)
        axes.set(title=f"{title}\n{shown:,} frames{outside}", xlabel="valence (-1 to 1)", aspect="equal")
        axes.set(xticks=_TICKS, yticks=_TICKS)
        axes.set_facecolor(_EMPTY)
    all_axes[0].set_ylabel("arousal (-1 to 1)")
    figure.colorbar(mesh, ax=list(all_axes), label=f"frames per cell of {2 / num_bins:g} x {2 / num_bins:g}")
    return figure


def trace_figure(
    time_s: Floats,
    truth: Floats | None,
    prediction: Floats,
    valid: Bools,
    targets: Sequence[str],
    *,
    title: str | None = None,
) -> "Figure":
    """Truth and prediction over time, one panel per target; stretches without a valid prediction are shaded.

    Args:
        time_s: (T,) seconds, rising.
        truth: (T, K), NaN where there is no label; None when there are none at all.
        prediction: (T, K), NaN where there is none.
        valid: (T,) bool.
        targets: names of the K columns.
        title: None says what is drawn.
    """
    figure = _figure(10, 1.1 + 2.2 * len(targets))
    all_axes = figure.subplots(len(targets), 1, sharex=True, squeeze=False)[:, 0]
    stretches = _stretches(np.asarray(time_s), ~np.asarray(valid, bool))
    for k, (axes, target) in enumerate(zip(all_axes, targets, strict=True)):
        drawn = [prediction[:, k]] if truth is None else [prediction[:, k], truth[:, k]]
        for number, (start_s, end_s) in enumerate(stretches):
            axes.axvspan(start_s, end_s, color=_INVALID, alpha=0.6, linewidth=0, label=None if number else "not valid")
        axes.plot(time_s, prediction[:, k], color=_PREDICTION, linewidth=1.4, label="prediction")
        if truth is not None:  # on top: the smoother of the two
            axes.plot(time_s, truth[:, k], color=_TRUTH, linewidth=1.2, linestyle="--", label="truth")
        axes.axhline(0, color="grey", linewidth=0.6)
        axes.set_ylabel(f"{target}{_unit(target, None if truth is None else truth[:, k])}")
        if target in VA_TARGETS:
            largest = max(1.0, *(float(np.max(np.abs(line), initial=0, where=np.isfinite(line))) for line in drawn))
            axes.set_ylim(-1.05 * largest, 1.05 * largest)
    all_axes[0].set_title(title or ("Prediction" if truth is None else "Truth and prediction"))
    all_axes[0].legend(loc="upper right", bbox_to_anchor=(1, 1.18), ncols=3, frameon=False, fontsize=9)
    all_axes[-1].set_xlabel("time (s)")
    return figure


def curves_figure(
    history: Mapping[str, Sequence[float]], *, best_epoch: int | None = None, title: str = "Training"
) -> "Figure":
    """Losses and scores per epoch: training dashed, held-out split solid, one colour per quantity.

    Args:
        history: name -> one number per epoch, as Keras returns it; a name that begins with ``val_`` or ``dev_`` is of
            the held-out split, one with "loss" in it goes to the left panel.
        best_epoch: 1-based epoch to mark, the one that was kept.

    Of more than a dozen lines in a panel, those of single targets are left out where there is a mean of them.
    """
    from matplotlib.ticker import MaxNLocator

    groups = [[name for name in history if ("loss" in name) == is_loss] for is_loss in (True, False)]
    panels = [(label, names) for label, names in zip(("loss", "score"), groups, strict=True) if names]
    figure = _figure(5.6 * max(1, len(panels)), 3.9)
    figure.suptitle(title)
    for axes, (label, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        if len(names) > _MANY_LINES:
            names = [name for name in names if not any(name.startswith(f"{other}_") for other in names)]
        quantities = list(dict.fromkeys(_quantity(name) for name in names))
        for name in names:
            values = np.asarray(history[name], np.float64)
            axes.plot(
                np.arange(1, len(values) + 1),
                values,
                color=_LINES[quantities.index(_quantity(name)) % len(_LINES)],
                linestyle="-" if name.startswith(_HELD_OUT) else "--",
                marker="o" if len(values) < 30 else None,  # a single epoch shows as a point
                markersize=3,
                label=name,
            )
        if best_epoch is not None:
            axes.axvline(best_epoch, color="grey", linewidth=1, linestyle=":", label=f"epoch {best_epoch}, kept")
        axes.set_xlim(0.5, max(len(history[name]) for name in names) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8 if len(names) <= _MANY_LINES else 6, ncols=1 + len(names) // _MANY_LINES)
    return figure


def figure_image(figure: "Figure") -> Image:
    """The figure drawn, (H, W, 3) uint8 RGB."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)  # without annotations in matplotlib
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG; the name appears when it is complete.

    Raises:
        StorageError: it cannot be written.
    """
    save_png(figure_image(figure), path)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure((width, height), dpi=_DPI, layout="constrained")


def _colours() -> "Colormap":
    from matplotlib import colormaps

    return colormaps[_MAP].with_extremes(bad=_EMPTY)


def _quantity(name: str) -> str:
    for prefix in _HELD_OUT:
        name = name.removeprefix(prefix)
    return name


def _unit(target: str, truth: Floats | None) -> str:
    """The scale of valence and arousal, unless labels say that it is another."""
    is_other = truth is not None and bool((np.abs(truth[np.isfinite(truth)]) > 1).any())
    return " (-1 to 1)" if target in VA_TARGETS and not is_other else ""


def _span(values: Floats, target: str) -> tuple[float, float]:
    """Ends of an axis that holds all values, with a little room around them; of signed targets at least -1 to 1."""
    low, high = float(values.min()), float(values.max())
    if target in VA_TARGETS:
        low, high = min(low, -1.0), max(high, 1.0)
    room = 0.04 * (high - low) or 0.5
    return low - room, high + room


def _stretches(time_s: Floats, marked: Bools) -> list[tuple[float, float]]:
    """Start and end of each run of marked rows; a run ends where the next row begins."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    step_s = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.0
    ends_s = np.append(time_s, time_s[-1] + step_s if len(time_s) else 0.0)
    return [(float(ends_s[start]), float(ends_s[end])) for start, end in edges.reshape(-1, 2)]
