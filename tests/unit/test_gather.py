"""Batches of windows: the same numbers from memory, from a file and from the device; on this backend and another."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emopipe.models.gather import (
    batches,
    epoch_order,
    gather_ops,
    head_inputs,
    predict_windows,
    resident_model,
    step_targets,
)
from emopipe.models.heads import HEADS, MeanHeadConfig, RnnHeadConfig, build_head, save_head
from emopipe.models.multimodal import MultimodalHeadConfig
from emopipe.models.rows import Rows
from emopipe.models.spectrogram_head import SpectrogramHeadConfig
from emopipe.models.tap_heads import TapHeadConfig
from emopipe.models.windows import SparsePlan, WindowConfig, plan_windows, prediction_plan

NUM_FEATURES = 6
SAME = 1e-5  # a masked and an unmasked kernel add in another order
# A head that is not named here is tried as its configuration is by default.
HEAD_CONFIGS = {
    "rnn": RnnHeadConfig(),
    "mean": MeanHeadConfig(),
    "multimodal": MultimodalHeadConfig(units=(5,), columns=(("a", 2), ("audio:b", NUM_FEATURES - 2)), num_outputs=2),
    "spectrogram-cnn": SpectrogramHeadConfig((4, 6)),
    "taps": TapHeadConfig(("a", "b"), units=(5, 4), columns=(("a", 2), ("b", NUM_FEATURES - 2))),
}


def table(lengths=(40, 7, 60), seed=0, dtype=np.float16, num_features=NUM_FEATURES) -> Rows:
    """Clips with invalid rows, whose features are NaN."""
    random = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    num_rows = int(starts[-1])
    valid = random.random(num_rows) < 0.9
    features = random.standard_normal((num_rows, num_features)).astype(dtype)
    features[~valid] = np.nan
    labels = random.uniform(-1, 1, (num_rows, 2)).astype(np.float32)
    frames = np.concatenate([np.arange(length) for length in lengths])
    names = tuple(map(str, range(len(lengths))))
    return Rows(features, valid, labels, np.ones(num_rows, bool), starts, frames, names)


def plans_of(rows: Rows):
    """A plan of every kind."""
    hold = plan_windows(rows, WindowConfig(8, gaps="hold"))
    sparse = SparsePlan(np.array([[3, 1, 2, 2], [5, 9, -1, -1], [45, -1, -1, -1]], np.int32), np.array([2, 9, 45]))
    return {
        "drop": plan_windows(rows, WindowConfig(8)),
        "hold": hold,
        "predict drop": prediction_plan(rows, WindowConfig(8, target="next")).plan,
        "predict hold": prediction_plan(rows, WindowConfig(8, gaps="hold")).plan,
        "every drop": plan_windows(rows, WindowConfig(8, target="every")),
        "every hold": plan_windows(rows, WindowConfig(8, gaps="hold", target="every")),
        "sparse": SparsePlan(sparse.table, sparse.target_rows, hold.hold_index),
    }


def on_host(features, plan, numbers):
    """(B, L, D) float32 as a head sees them."""
    return head_inputs(features, plan, numbers)["features"].astype(np.float32)


def small_head(units=(5, 4), num_features=NUM_FEATURES):
    return build_head("rnn", RnnHeadConfig(units=units), num_features)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_batch_is_the_rows_of_its_windows(dtype):
    rows = table(dtype=dtype)
    for name, plan in plans_of(rows).items():
        order = np.random.default_rng(1).permutation(len(plan))
        batch = on_host(rows.features, plan, order)
        assert batch.dtype == np.float32
        for window, steps in zip(batch, plan.rows(order), strict=True):
            for values, row in zip(window, steps, strict=True):
                expected = np.zeros(NUM_FEATURES) if row < 0 else rows.features[row]
                np.testing.assert_array_equal(values, expected, err_msg=name)


def test_a_file_gives_what_memory_gives(tmp_path):
    rows = table()
    np.save(tmp_path / "features.npy", rows.features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    for plan in plans_of(rows).values():
        numbers = np.arange(len(plan))
        np.testing.assert_array_equal(on_host(mapped, plan, numbers), on_host(rows.features, plan, numbers))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_device_gathers_the_same_bits(dtype):
    from keras import ops

    rows = table(dtype=dtype)
    matrix = ops.convert_to_tensor(rows.features)
    for name, plan in plans_of(rows).items():
        numbers = np.arange(len(plan))
        device = ops.convert_to_numpy(gather_ops(matrix, ops.convert_to_tensor(plan.rows(numbers))))
        host = on_host(rows.features, plan, numbers)
        assert device.dtype == host.dtype
        assert device.tobytes() == host.tobytes(), name


@pytest.mark.parametrize("gaps", ["drop", "hold"])
def test_what_an_invalid_row_holds_changes_no_bit(gaps):
    rows, head = table(), small_head()
    for plan in (
        plan_windows(rows, WindowConfig(8, gaps=gaps)),
        prediction_plan(rows, WindowConfig(8, gaps=gaps)).plan,
    ):
        rows.features[~rows.valid] = np.nan
        with_nan = predict_windows(head, rows.features, plan)
        rows.features[~rows.valid] = 7
        assert predict_windows(head, rows.features, plan).tobytes() == with_nan.tobytes()
        assert np.isfinite(with_nan).all()
        assert len(with_nan) > 20


def test_epochs_are_shuffled_by_seed_and_number():
    order = epoch_order(1000, seed=1, epoch=2)
    np.testing.assert_array_equal(order, epoch_order(1000, seed=1, epoch=2))
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    for other in (epoch_order(1000, 1, 3), epoch_order(1000, 2, 2), epoch_order(1000, 2, 1), np.arange(1000)):
        assert (order == other).mean() < 0.05


def test_the_last_batch_is_what_is_left():
    parts = list(batches(np.arange(10), 4))
    assert [part.tolist() for part in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert list(batches(np.arange(0), 4)) == []


@pytest.mark.parametrize("name", sorted(HEADS))
def test_predictions_stand_in_the_plans_order(name):
    """Against windows cut to their real steps, without a mask."""
    head = build_head(name, HEAD_CONFIGS.get(name) or HEADS.load(name).config(), NUM_FEATURES)
    rows = table(lengths=(12, 3, 30))
    plan = prediction_plan(rows, WindowConfig(8)).plan
    together = predict_windows(head, rows.features, plan, batch_size=16)
    every_step = name == "taps"
    assert together.shape == (len(plan), *((8,) if every_step else ()), 2)
    for num_steps in range(1, 9):
        (numbers,) = np.nonzero(plan.num_steps == num_steps)
        cut = rows.features[plan.own_rows(numbers)[:, :num_steps]].astype(np.float32)
        expected = np.asarray(head.predict_on_batch({"features": cut, "mask": None}))
        found = together[numbers, :num_steps] if every_step else together[numbers]
        np.testing.assert_allclose(found, expected, atol=SAME)
    assert np.ptp(together, axis=0).min() > 0.01


@pytest.mark.parametrize("gaps", ["drop", "hold"])
def test_labels_of_steps_are_those_of_their_rows(gaps):
    rows = table(lengths=(20, 3, 30))
    rows.label_valid[[4, 5, 22]] = False
    rows.labels[~rows.label_valid] = np.nan
    plan = plan_windows(rows, WindowConfig(8, gaps=gaps, target="every"))
    order = np.random.default_rng(3).permutation(len(plan))
    labels, weights = step_targets(rows, plan, order)
    assert (labels.dtype, weights.dtype, labels.shape) == (np.float32, np.float32, (len(plan), 8, 2))
    for window, given, counted in zip(plan.own_rows(order), labels, weights, strict=True):
        for row, label, weight in zip(window, given, counted, strict=True):
            counts = row >= 0 and rows.valid[row] and rows.label_valid[row]
            assert weight == counts
            np.testing.assert_array_equal(label, rows.labels[row] if counts else 0)
    assert weights.sum() == (rows.valid & rows.label_valid).sum()
    assert (weights == 0).any()


def test_what_an_invalid_row_holds_changes_no_bit_of_any_step():
    rows, head = table(), build_head("taps", HEAD_CONFIGS["taps"], NUM_FEATURES)
    plan = prediction_plan(rows, WindowConfig(8, gaps="hold", target="every")).plan
    with_nan = predict_windows(head, rows.features, plan)
    rows.features[~rows.valid] = 7
    assert predict_windows(head, rows.features, plan).tobytes() == with_nan.tobytes()
    assert np.isfinite(with_nan).all()


def test_wide_windows_are_predicted_few_at_a_time(monkeypatch):
    from emopipe.models import gather as module

    rows, head = table(), small_head()
    plan = plan_windows(rows, WindowConfig(8))
    expected = predict_windows(head, rows.features, plan)
    sizes = []

    def noted(features, plan, indices):
        sizes.append(len(indices))
        return head_inputs(features, plan, indices)

    monkeypatch.setattr(module, "head_inputs", noted)
    monkeypatch.setattr(module, "_BATCH_BYTES", 3 * 4 * 8 * NUM_FEATURES)
    np.testing.assert_allclose(predict_windows(head, rows.features, plan), expected, atol=SAME)
    assert set(sizes) == {3}
    monkeypatch.setattr(module, "_BATCH_BYTES", 1)
    assert len(predict_windows(head, rows.features, plan)) == len(plan)
    assert sizes[-1] == 1


def test_an_empty_plan_gives_no_predictions():
    rows = table(lengths=(3,))
    assert predict_windows(small_head(), rows.features, plan_windows(rows, WindowConfig(8))).shape == (0, 2)


def test_a_head_is_told_of_padding_only_where_there_is_some():
    rows = table()
    plans = plans_of(rows)
    told = {name: head_inputs(rows.features, plan, np.arange(2))["mask"] is not None for name, plan in plans.items()}
    assert told == {name: name not in ("drop", "hold") for name in plans}


def test_resident_training_is_host_training():
    import keras

    rows = table(lengths=(80, 80))
    plan = plan_windows(rows, WindowConfig(8))
    labels = rows.labels[plan.target_rows]
    heads = [small_head(), small_head()]
    resident = resident_model(heads[1], rows.features)
    for model in (heads[0], resident):
        model.compile(keras.optimizers.SGD(0.05), "mse")
    seen = keras.Model(heads[0].input, heads[0].get_layer("features").output)
    gathered = keras.Model(resident.input, resident.get_layer("gather").output)
    for part in batches(epoch_order(len(plan), 0, 0), 16):
        inputs = {"rows": plan.rows(part), "mask": None}
        device = keras.ops.convert_to_numpy(gathered(inputs))
        host = head_inputs(rows.features, plan, part)
        assert host["features"].dtype == np.float16
        in_head = keras.ops.convert_to_numpy(seen.predict_on_batch(host))
        assert device.tobytes() == in_head.tobytes() == on_host(rows.features, plan, part).tobytes()
        host_loss = heads[0].train_on_batch(host, labels[part])
        assert resident.train_on_batch(inputs, labels[part]) == pytest.approx(host_loss, rel=1e-4)
    for one, other in zip(heads[0].get_weights(), heads[1].get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert not np.array_equal(heads[1].get_weights()[0], small_head().get_weights()[0])


def test_both_ways_train_through_fit_with_and_without_padding():
    rows = table(lengths=(80, 7))
    for name in ("drop", "predict drop"):
        plan = plans_of(rows)[name]
        labels = np.zeros((len(plan), 2), np.float32)
        for resident in (False, True):
            head = small_head(units=(4,))
            model = resident_model(head, rows.features) if resident else head
            model.compile("sgd", "mse")

            def pieces(plan=plan, labels=labels, resident=resident):
                for part in batches(np.arange(16), 8):
                    inputs = head_inputs(rows.features, plan, part)
                    yield {"rows": plan.rows(part), "mask": inputs["mask"]} if resident else inputs, labels[part]

            model.fit(pieces(), epochs=1, verbose=0, shuffle=False)
            assert not np.array_equal(head.get_weights()[0], small_head(units=(4,)).get_weights()[0])


def test_the_matrix_is_not_learned_not_widened_and_not_saved(tmp_path):
    rows = table(lengths=(4000,), num_features=300)
    head = build_head("rnn", RnnHeadConfig(), 300)
    resident = resident_model(head, rows.features)
    resident.compile("sgd", "mse")
    assert resident.count_params() == head.count_params() + rows.features.size
    assert [variable.path for variable in resident.trainable_variables] == [each.path for each in head.weights]
    (matrix,) = resident.non_trainable_weights
    assert (matrix.dtype, tuple(matrix.shape)) == ("float16", (4000, 300))
    plan = plan_windows(rows, WindowConfig(100, gaps="hold"))
    inputs = {"rows": plan.rows(np.arange(8)), "mask": None}
    resident.train_on_batch(inputs, np.zeros((8, 2), np.float32))
    assert np.asarray(matrix).tobytes() == rows.features.tobytes()
    save_head(head, tmp_path / "head.keras")
    assert (tmp_path / "head.keras").stat().st_size < 4 * head.count_params() + 200_000
    assert [entry.name for entry in tmp_path.iterdir()] == ["head.keras"]


def test_a_step_does_not_widen_the_matrix(monkeypatch):
    """The batch becomes float32, not the gigabyte that it is taken from."""
    import keras
    from keras import ops

    from emopipe.models import gather as module

    seen = []

    def looked_at(matrix, rows):
        seen.append(ops.convert_to_tensor(matrix).dtype)
        return gather_ops(matrix, rows)

    monkeypatch.setattr(module, "gather_ops", looked_at)
    resident = resident_model(small_head(), np.ones((9, NUM_FEATURES), np.float16))
    resident({"rows": np.zeros((2, 3), np.int32), "mask": None})
    assert [keras.backend.standardize_dtype(dtype) for dtype in seen] == ["float16"]


@pytest.mark.slow
def test_another_backend_does_the_same():
    import keras

    other = "jax" if keras.backend.backend() != "jax" else "tensorflow"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__)), "-k", "not another"]
    environment = {**os.environ, "KERAS_BACKEND": other}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
