"""The losses against the metrics and finite differences, on this backend and on another one in a second process."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.metrics import log_loss

from emopipe.errors import UnknownNameError
from emopipe.metrics import concordance
from emopipe.models.losses import LOSSES, ccc_loss, crossentropy_loss, get_loss, mse_loss

FLOAT32 = 2e-6  # sums of some ten float32 terms of order 1
STEP = 1e-5  # of the finite differences, in float64

# Prints value and gradient of the loss of one fixed batch, as `step_of` finds them.
OTHER_BACKEND = """
import json, sys, numpy as np
sys.path.insert(0, sys.argv[1])
import test_losses as here
print(json.dumps({"backend": here.keras.backend.backend(),
                  "steps": [[loss.tolist() for loss in here.step_of(name, *here.batch_for(name))]
                            for name in here.LOSSES]}))
"""


def batch(seed: int = 0, num_rows: int = 12, num_targets: int = 2):
    """truth (N, K), prediction (N, K), weight (N,) with zeros among them."""
    generator = np.random.default_rng(seed)
    truth = generator.uniform(-1, 1, (num_rows, num_targets)).astype(np.float32)
    prediction = (0.5 * truth + generator.normal(0, 0.3, truth.shape)).astype(np.float32)
    return truth, prediction, np.where(np.arange(num_rows) % 4 == 1, 0, 1).astype(np.float32)


def batch_for(name: str):
    """A batch of what the loss of this name takes."""
    if name != "crossentropy":
        return batch(3)
    generator = np.random.default_rng(3)
    truth = np.eye(4, dtype=np.float32)[generator.integers(4, size=12)]
    prediction = generator.dirichlet(np.ones(4), 12).astype(np.float32)
    return truth, prediction, batch(3)[2]


def step_of(loss, truth, prediction, weight=None):
    """Value and gradient (N, K) of a loss: one training step of a network whose weights are the predictions."""
    num_rows, num_targets = prediction.shape
    layer = keras.layers.Dense(num_targets, use_bias=False)
    model = keras.Sequential([keras.Input((num_rows,)), layer])
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=get_loss(loss))
    layer.set_weights([prediction])
    value = model.train_on_batch(np.eye(num_rows, dtype=np.float32), truth, sample_weight=weight)
    return np.asarray(value), prediction - layer.get_weights()[0]


def expected_ccc(truth, prediction, weight=None) -> float:
    """The loss in float64, by numpy's own weighted moments."""
    weight = np.ones(len(truth)) if weight is None else weight
    values = []
    for x, y in zip(np.float64(truth).T, np.float64(prediction).T, strict=True):
        (var_x, cov), (_, var_y) = np.cov(x, y, aweights=weight, ddof=0)
        gap = np.average(x, weights=weight) - np.average(y, weights=weight)
        values.append(2 * cov / (var_x + var_y + gap**2 + 1e-8))
    return 1 - float(np.mean(values))


def differences(function, truth, prediction, weight):
    """Gradient of a float64 function by central differences."""
    gradient = np.zeros(prediction.shape)
    for place in np.ndindex(prediction.shape):
        up, down = np.float64(prediction), np.float64(prediction)
        up[place] += STEP
        down[place] -= STEP
        gradient[place] = (function(truth, up, weight) - function(truth, down, weight)) / (2 * STEP)
    return gradient


@pytest.mark.parametrize("seed", range(3))
def test_is_one_minus_the_mean_metric(seed):
    truth, prediction, weight = batch(seed)
    parts = [concordance(truth[:, k], prediction[:, k]) for k in range(2)]
    assert float(ccc_loss(truth, prediction)) == pytest.approx(1 - np.mean(parts), abs=FLOAT32)
    kept = weight > 0
    parts = [concordance(truth[kept, k], prediction[kept, k]) for k in range(2)]
    assert float(ccc_loss(truth, prediction, weight)) == pytest.approx(1 - np.mean(parts), abs=FLOAT32)


def test_weights_are_moments_and_only_their_ratios_matter():
    truth, prediction, _ = batch()
    weight = np.random.default_rng(1).uniform(0.1, 3, len(truth)).astype(np.float32)
    value = float(ccc_loss(truth, prediction, weight))
    assert value == pytest.approx(expected_ccc(truth, prediction, weight), abs=FLOAT32)
    assert float(ccc_loss(truth, prediction, 100 * weight)) == pytest.approx(value, abs=FLOAT32)
    assert abs(value - float(ccc_loss(truth, prediction))) > 1e-3
    repeats = np.arange(len(truth)) % 3
    repeated = float(ccc_loss(np.repeat(truth, repeats, axis=0), np.repeat(prediction, repeats, axis=0)))
    assert float(ccc_loss(truth, prediction, repeats)) == pytest.approx(repeated, abs=FLOAT32)


def test_perfect_and_opposite():
    truth = batch()[0] - batch()[0].mean(axis=0)
    assert float(ccc_loss(truth, truth)) == pytest.approx(0, abs=FLOAT32)
    assert float(ccc_loss(truth, -truth)) == pytest.approx(2, abs=FLOAT32)


def test_rows_of_sequences_are_rows():
    truth, prediction, weight = batch(num_rows=12)
    for name in LOSSES:
        function = LOSSES.load(name)
        x, y, w = batch_for(name)
        folded = function(x.reshape(3, 4, -1), y.reshape(3, 4, -1), w.reshape(3, 4))
        assert float(folded) == pytest.approx(float(function(x, y, w)), abs=FLOAT32)
    one = float(ccc_loss(truth[:, 0], prediction[:, :1], weight))  # a single target may come without its axis
    assert one == pytest.approx(float(ccc_loss(truth[:, :1], prediction[:, :1], weight)))


@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_of_the_concordance(weighted):
    truth, prediction, weight = batch()
    weight = np.linspace(0, 2, len(truth), dtype=np.float32) if weighted else None
    value, gradient = step_of("ccc", truth, prediction, weight)
    assert value == pytest.approx(expected_ccc(truth, prediction, weight), abs=FLOAT32)
    np.testing.assert_allclose(gradient, differences(expected_ccc, truth, prediction, weight), atol=1e-6)
    assert np.abs(gradient).max() > 1e-2


def test_squared_error_and_its_gradient():
    truth, prediction, weight = batch()
    value, gradient = step_of("mse", truth, prediction, weight)
    kept = weight > 0
    assert value == pytest.approx(np.mean((truth[kept] - prediction[kept]) ** 2), abs=FLOAT32)
    expected = kept[:, None] * 2 * (prediction - truth) / (kept.sum() * 2)
    np.testing.assert_allclose(gradient, expected, atol=FLOAT32)
    assert float(mse_loss(truth, prediction)) == pytest.approx(np.mean((truth - prediction) ** 2), abs=FLOAT32)


def test_crossentropy():
    truth, prediction, weight = batch_for("crossentropy")
    classes = truth.argmax(axis=1)
    probability = prediction / np.float64(prediction).sum(axis=1, keepdims=True)
    for weights in (None, weight):
        expected = log_loss(classes, probability, labels=range(4), sample_weight=weights)
        assert float(crossentropy_loss(truth, prediction, weights)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("truth_value", [0.0, 0.3, -1.0])
@pytest.mark.parametrize("prediction_value", [0.0, 0.3, 0.7])
def test_a_constant_batch_is_finite(truth_value, prediction_value):
    truth = np.full((8, 2), truth_value, np.float32)
    value, gradient = step_of("ccc", truth, np.full((8, 2), prediction_value, np.float32))
    assert value == pytest.approx(1, abs=1e-4)
    assert np.isfinite(gradient).all()
    varied = batch(num_rows=8)
    for pair in ((truth, varied[1]), (varied[0], np.full((8, 2), prediction_value, np.float32))):
        value, gradient = step_of("ccc", *pair)
        assert value == pytest.approx(1, abs=1e-4)
        assert np.isfinite(gradient).all()


def test_a_constant_prediction_is_drawn_to_the_truth():
    truth = batch()[0]
    _, gradient = step_of("ccc", truth, np.full(truth.shape, 0.1, np.float32))
    for k in range(2):
        assert np.corrcoef(truth[:, k], -gradient[:, k])[0, 1] == pytest.approx(1, abs=1e-4)


def test_one_row_is_finite():
    value, gradient = step_of("ccc", np.ones((1, 2), np.float32), np.zeros((1, 2), np.float32))
    assert value == pytest.approx(1)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_row_without_weight_poisons_nothing(name):
    truth, prediction, weight = batch_for(name)
    clean_value, clean_gradient = step_of(name, truth, prediction, weight)
    out = weight == 0
    assert out.any()
    assert (clean_gradient[out] == 0).all()
    poisoned_truth, poisoned = truth.copy(), prediction.copy()
    poisoned_truth[out] = np.nan
    poisoned[out] = 1e30  # a NaN here would spread through the identity matrix of `step_of`
    value, gradient = step_of(name, poisoned_truth, prediction, weight)
    assert value == clean_value
    np.testing.assert_array_equal(gradient, clean_gradient)
    assert float(LOSSES.load(name)(poisoned_truth, np.where(out[:, None], np.nan, prediction), weight)) == clean_value
    assert float(LOSSES.load(name)(truth, poisoned, weight)) == clean_value


@pytest.mark.parametrize(("name", "nothing"), [("ccc", 1.0), ("mse", 0.0), ("crossentropy", 0.0)])
def test_a_batch_without_weight_moves_nothing(name, nothing):
    truth, prediction, weight = batch_for(name)
    value, gradient = step_of(name, np.full_like(truth, np.nan), prediction, 0 * weight)
    assert value == nothing
    assert (gradient == 0).all()


def test_half_precision_outputs_are_summed_in_single():
    truth, prediction, _ = batch(num_rows=4096)
    value = float(ccc_loss(truth, prediction.astype(np.float16)))
    assert value == pytest.approx(expected_ccc(truth, prediction), abs=1e-3)  # float16 keeps three digits


def test_a_compiled_model_comes_back_in_a_process_that_asked_for_a_loss(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(optimizer="sgd", loss=get_loss("ccc"))
    features, (truth, _, weight) = np.ones((12, 3), np.float32), batch()
    features[::2] = 0.5
    value = model.evaluate(features, truth, sample_weight=weight, batch_size=12, verbose=0)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "rows.npz", features=features, truth=truth, weight=weight)
    code = (
        "import sys, numpy as np, keras\n"
        "from emopipe.models.losses import get_loss\n"
        "get_loss('mse')\n"
        "rows = np.load(sys.argv[1] + '/rows.npz')\n"
        "model = keras.models.load_model(sys.argv[1] + '/model.keras')\n"
        "assert model.loss.get_config() == {'loss': 'ccc', 'name': 'ccc_loss'}, model.loss\n"
        "print(model.evaluate(rows['features'], rows['truth'], sample_weight=rows['weight'], batch_size=12, verbose=0))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(value, abs=FLOAT32)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="Unknown loss 'cc'. Did you mean 'ccc'"):
        get_loss("cc")
    assert get_loss("ccc").name == "ccc_loss"


def test_the_module_loads_without_keras():
    code = "import sys, emopipe.models.losses as m; assert 'keras' not in sys.modules; print(sorted(m.LOSSES))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "['ccc', 'crossentropy', 'mse']", done.stderr


def test_another_backend_finds_the_same_values_and_gradients():
    other = "jax" if keras.backend.backend() != "jax" else "tensorflow"
    assert importlib.util.find_spec(other), f"the tests of this floor need {other}"
    command = [sys.executable, "-c", OTHER_BACKEND, str(Path(__file__).parent)]
    environment = {**os.environ, "KERAS_BACKEND": other}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["backend"] == other
    for name, (value, gradient) in zip(LOSSES, answer["steps"], strict=True):
        here_value, here_gradient = step_of(name, *batch_for(name))
        assert value == pytest.approx(float(here_value), abs=FLOAT32)
        np.testing.assert_allclose(gradient, here_gradient, atol=FLOAT32)
