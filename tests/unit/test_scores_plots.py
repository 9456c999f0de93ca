"""What the figures of scores show, read from their artists; and that drawing them leaves no state behind."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import LogNorm, to_hex
from PIL import Image as PillowImage

from emopipe.errors import StorageError
from emopipe.plots.scores import (
    agreement_figure,
    confusion_figure,
    curves_figure,
    figure_image,
    histogram_figure,
    save_figure,
    trace_figure,
)

TARGETS = ("valence", "arousal")


def lines(axes) -> dict:
    """Label -> line, of the lines that stand in the legend."""
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def shaded(axes) -> list[tuple[float, float]]:
    """Start and end of each shaded stretch."""
    return [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]


def test_confusion_shows_counts_and_shares():
    matrix = np.array([[3, 1, 0], [2, 1230, 8], [0, 0, 0]])
    axes, colour_bar = confusion_figure(matrix, ("neutral", "anger", "fear"), title="CK+").axes
    share = axes.images[0].get_array()
    np.testing.assert_allclose(share[0], [0.75, 0.25, 0])
    np.testing.assert_allclose(share[1], np.array([2, 1230, 8]) / 1240)
    assert share.mask[2].all()  # no row of this class: not a share of 0
    assert axes.images[0].get_clim() == (0, 1)
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written[1, 1] == "1,230"
    assert (written[1, 0], written[0, 1]) == ("1", "2")  # at (column, row): row 0 of the truth holds 3, 1, 0
    assert [label.get_text() for label in axes.get_xticklabels()] == ["neutral", "anger", "fear"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["neutral (4)", "anger (1,240)", "fear (0)"]
    assert axes.get_title() == "CK+, 1,244 rows"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class (rows)")
    assert colour_bar.get_ylabel() == "share of the true class"


def test_confusion_ink_stands_out():
    matrix = np.array([[90, 10], [0, 0]])
    figure = confusion_figure(matrix, ("a", "b"))
    ink = {text.get_position(): text.get_color() for text in figure.axes[0].texts}
    assert ink == {(0, 0): "black", (1, 0): "white", (0, 1): "black", (1, 1): "black"}


def test_agreement_shows_few_rows_as_points_around_the_diagonal():
    truth = np.array([[0.1, 2.0], [0.5, 4.0], [-0.9, 6.0]])
    prediction = np.array([[0.2, 3.0], [0.4, 9.0], [-1.4, 5.0]])
    figure = agreement_figure(truth, prediction, ("valence", "intensity"), what="clips")
    signed, free = figure.axes
    np.testing.assert_allclose(signed.collections[0].get_offsets(), np.stack([truth[:, 0], prediction[:, 0]], axis=1))
    assert signed.get_xlim() == signed.get_ylim() == pytest.approx((-1.4 - 0.096, 1 + 0.096))
    assert free.get_xlim() == free.get_ylim() == pytest.approx((2 - 0.28, 9 + 0.28))
    (diagonal,) = signed.lines
    assert diagonal.get_xdata().tolist() == diagonal.get_ydata().tolist() == list(signed.get_xlim())
    assert signed.get_xlabel() == "true valence (-1 to 1)"
    assert (free.get_xlabel(), free.get_ylabel()) == ("true intensity", "predicted intensity")
    assert signed.get_title() == "valence, 3 clips"


def test_agreement_counts_many_rows_with_the_truth_across():
    truth = np.full((3000, 1), -0.5)
    prediction = np.full((3000, 1), 0.5)
    panel, colour_bar = agreement_figure(truth, prediction, ("arousal",), what="frames").axes
    cells = panel.collections[0].get_array()
    ((row, column),) = np.argwhere(cells.filled(0))
    assert cells[row, column] == 3000
    assert (row, column) == (36, 13)  # of 50 cells from -1.08 to 1.08: high prediction, low truth
    assert colour_bar.get_ylabel() == "frames per cell"


def test_agreement_of_many_targets_takes_two_rows_of_panels():
    numbers = np.random.default_rng(0).random((20, 7))
    figure = agreement_figure(numbers, numbers, [f"reaction {k}" for k in range(7)])
    assert len(figure.axes) == 7
    assert figure_image(figure).std() > 0


def test_histogram_counts_valence_across_and_arousal_up():
    before = np.array([[-0.99, 0.99]] * 7 + [[0.51, -0.24]] * 3)
    figure = histogram_figure({"all frames": before, "subset 3": before[5:]}, num_bins=40)
    left, right, colour_bar = figure.axes
    cells = left.collections[0].get_array()
    assert cells[39, 0] == 7  # lowest valence, highest arousal
    assert cells[15, 30] == 3
    assert cells.sum() == 10
    assert cells.mask.sum() == 40 * 40 - 2  # an empty cell has no logarithm
    assert right.collections[0].get_array()[39, 0] == 2
    norms = [axes.collections[0].norm for axes in (left, right)]
    assert isinstance(norms[0], LogNorm)
    assert [(norm.vmin, norm.vmax) for norm in norms] == [(1, 7), (1, 7)]
    assert left.get_title() == "all frames\n10 frames"
    assert left.get_xlabel() == right.get_xlabel() == "valence (-1 to 1)"
    assert left.get_ylabel() == "arousal (-1 to 1)"
    assert colour_bar.get_ylabel() == "frames per cell of 0.05 x 0.05"


def test_histogram_says_what_lies_outside_and_survives_nothing():
    figure = histogram_figure({"labels": np.array([[0.0, 0.0], [1.0, -1.0], [1.2, 0.0]])})
    assert figure.axes[0].get_title() == "labels\n2 frames, 1 outside"
    empty = histogram_figure({"labels": np.empty((0, 2))})
    assert empty.axes[0].get_title() == "labels\n0 frames"
    assert figure_image(empty).shape[2] == 3


def test_trace_draws_both_and_shades_what_is_not_valid():
    time_s = np.arange(50) / 10
    truth = np.column_stack([np.sin(time_s), np.cos(time_s)])
    truth[20:25] = np.nan
    prediction = 0.5 * truth
    valid = np.ones(50, bool)
    valid[:10] = valid[30] = valid[48:] = False
    figure = trace_figure(time_s, truth, prediction, valid, TARGETS, title="clip 3")
    assert len(figure.axes) == 2
    for k, axes in enumerate(figure.axes):
        drawn = lines(axes)
        np.testing.assert_array_equal(drawn["truth"].get_ydata(), truth[:, k])  # NaN breaks the line
        np.testing.assert_array_equal(drawn["prediction"].get_ydata(), prediction[:, k])
        np.testing.assert_array_equal(drawn["prediction"].get_xdata(), time_s)
        assert to_hex(drawn["truth"].get_color()) != to_hex(drawn["prediction"].get_color())
        assert drawn["truth"].get_linestyle() == "--"  # told apart without colour too
        np.testing.assert_allclose(shaded(axes), [(0, 1), (3, 3.1), (4.8, 5.0)], atol=1e-9)
        assert axes.get_ylabel() == f"{TARGETS[k]} (-1 to 1)"
        assert axes.get_ylim() == (-1.05, 1.05)
    assert figure.axes[0].get_title() == "clip 3"
    assert figure.axes[1].get_xlabel() == "time (s)"
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert sorted(legend) == ["not valid", "prediction", "truth"]


def test_trace_without_truth_or_anything_valid():
    time_s = np.arange(5) / 25
    prediction = np.full((5, 1), np.nan)
    figure = trace_figure(time_s, None, prediction, np.zeros(5, bool), ("valence",))
    assert list(lines(figure.axes[0])) == ["prediction"]
    assert figure.axes[0].get_title() == "Prediction"
    np.testing.assert_allclose(shaded(figure.axes[0]), [(0, 0.2)])
    figure_image(figure)


def test_trace_keeps_a_prediction_beyond_the_range_in_sight():
    prediction = np.array([[0.0, 3.0], [-2.0, 1.0]])
    figure = trace_figure(np.arange(2.0), None, prediction, np.ones(2, bool), ("valence", "amusement"))
    assert figure.axes[0].get_ylim() == pytest.approx((-2.1, 2.1))
    assert figure.axes[1].get_ylabel() == "amusement"  # its range is not known here
    assert figure.axes[1].get_ylim()[1] > 3


def test_curves_pair_training_and_held_out():
    history = {
        "loss": [0.9, 0.5, 0.3],
        "val_loss": [0.8, 0.6, 0.7],
        "ccc_valence": [0.1, 0.5, 0.7],
        "dev_ccc_valence": [0.2, 0.4, 0.3],
        "dev_ccc_arousal": [0.1, 0.3, 0.2],
    }
    figure = curves_figure(history, best_epoch=2, title="GRU-3")
    loss, score = figure.axes
    assert set(lines(loss)) == {"loss", "val_loss", "epoch 2, kept"}
    assert set(lines(score)) == {"ccc_valence", "dev_ccc_valence", "dev_ccc_arousal", "epoch 2, kept"}
    drawn = lines(loss) | lines(score)
    for name, values in history.items():
        np.testing.assert_array_equal(drawn[name].get_ydata(), values)
        np.testing.assert_array_equal(drawn[name].get_xdata(), [1, 2, 3])  # epochs are counted from 1
        assert drawn[name].get_linestyle() == ("-" if name.startswith(("val_", "dev_")) else "--")
    assert drawn["ccc_valence"].get_color() == drawn["dev_ccc_valence"].get_color()
    assert drawn["dev_ccc_arousal"].get_color() != drawn["dev_ccc_valence"].get_color()
    assert list(lines(loss)["epoch 2, kept"].get_xdata()) == [2, 2]
    assert (loss.get_ylabel(), score.get_ylabel(), loss.get_xlabel()) == ("loss", "score", "epoch")
    assert figure.get_suptitle() == "GRU-3"


def test_curves_of_one_epoch_show_a_point():
    figure = curves_figure({"loss": [0.5]})
    assert len(figure.axes) == 1
    assert lines(figure.axes[0])["loss"].get_marker() == "o"
    assert figure.axes[0].get_xlim() == (0.5, 1.5)


def test_a_figure_is_written_whole(tmp_path):
    figure, same = (confusion_figure(np.eye(2, dtype=int), ("a", "b")) for _ in range(2))
    save_figure(figure, tmp_path / "figures" / "confusion.png")
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["confusion.png"]
    with PillowImage.open(tmp_path / "figures" / "confusion.png") as picture:
        pixels = np.asarray(picture)
    np.testing.assert_array_equal(pixels, figure_image(same))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        save_figure(figure, tmp_path / "file" / "confusion.png")


def test_no_state_of_pyplot_and_no_matplotlib_until_a_figure_is_drawn():
    code = (
        "import sys, numpy as np, emopipe.plots.scores as scores\n"
        "assert 'matplotlib' not in sys.modules\n"
        "scores.figure_image(scores.confusion_figure(np.eye(2, dtype=int), ('a', 'b')))\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
