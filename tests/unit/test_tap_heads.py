"""Heads over taps: sizes of the paper's networks, which stream reaches what, and training with a weight per step."""

import math

import numpy as np
import pytest

from emopipe.errors import ConfigError
from emopipe.models.heads import build_head, save_head
from emopipe.models.losses import get_loss
from emopipe.models.tap_heads import JOINED, LANDMARKS, TapHeadConfig
from emopipe.models.weights import load_network

SIZES = {"pool2": 5, "pool5": 4, "conv3": 6}  # of the small heads
PLAIN = {"fc_units": 6, "units": (4, 3), "fc_dropout": 0.0, "gru_dropout": 0.0}
THREE = ("pool2", "pool5", "fc")
SAME = 1e-6  # a longer batch may be added up in another order

# Numbers per frame of 96 x 96 crops, formats of the paper's networks: H x W x channels of the last pooling or a map.
FLAT = {
    "pool2": 24 * 24 * 128,
    "conv3": 48 * 48 * 128,
    "conv6": 24 * 24 * 256,
    "conv7": 24 * 24 * 256,
    "conv8": 12 * 12 * 512,
    "pool5": 3 * 3 * 512,
    "resnet50": 2048,
    "densenet121": 1024,
}
FC = 19_435_520  # 4,744 x 4,096 + 4,096
FC_ALONE = 18_878_464  # 4,608 x 4,096 + 4,096
FC_EMBEDDED = 70_144 + 20_975_616  # 136 x 512 + 512, and (4,608 + 512) x 4,096 + 4,096


def small(streams=THREE, rnns="each", num_outputs=2, **settings) -> TapHeadConfig:
    return TapHeadConfig(streams, rnns, **{**PLAIN, **settings}).with_columns(SIZES, num_outputs)


def width(config: TapHeadConfig) -> int:
    return sum(size for _, size in config.columns)


def built(config: TapHeadConfig, seed: int = 0):
    return build_head("taps", config, width(config), seed)


def windows_for(config: TapHeadConfig, num_windows=3, length=7, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((num_windows, length, width(config))).astype(np.float32)


def numbers_of(model, features, **more) -> np.ndarray:
    from keras import ops

    return ops.convert_to_numpy(model({"features": features, "mask": None}, **more))


def column_of(config: TapHeadConfig, name: str) -> slice:
    start = 0
    for column, size in config.columns:
        if column == name:
            return slice(start, start + size)
        start += size
    raise KeyError(name)


@pytest.mark.parametrize(
    "config",
    [
        small(("fc",), "none", fc_tap="pool5"),
        small(("fc",), "each", fc_tap="pool5", landmarks=False),
        small(THREE, "none"),
        small(THREE, "one"),
        small(THREE, "one", landmark_units=3, num_outputs=1),
        small(THREE, "each"),
        small(THREE, "each", joint_units=5),
        small(("pool2", "fc"), "each", fc_tap="conv3", landmark_units=2),
        small(("pool2", "pool5", "conv3"), "each"),
        small(THREE, "each", units=(4,)),
        small(THREE, "one", units=(4, 3, 2)),
    ],
)
def test_the_formula_counts_what_is_built(config):
    assert built(config).count_params() == config.num_parameters


# name -> the head, and its numbers by hand; one GRU of 2 x 128 on N numbers has 384 N + 148,992.
PAPER = {
    "vggface": (TapHeadConfig(("fc",), "none", "pool5"), FC + 8_194),
    "cnn1rnn": (TapHeadConfig(THREE, "one"), FC + 31_653_888 + 148_992 + 258),
    "cnn1rnn without landmarks": (
        TapHeadConfig(THREE, "one", landmarks=False),
        FC_ALONE + 31_653_888 + 148_992 + 258,
    ),
    "cnn1rnn embedding": (TapHeadConfig(THREE, "one", landmark_units=512), FC_EMBEDDED + 31_653_888 + 148_992 + 258),
    "cnn1rnn one output": (TapHeadConfig(THREE, "one", num_outputs=1), FC + 31_653_888 + 148_992 + 129),
    "cnn3rnn": (TapHeadConfig(THREE, "each"), FC + 31_653_888 + 446_976 + 770),
    "cnn3rnn without landmarks": (
        TapHeadConfig(THREE, "each", landmarks=False),
        FC_ALONE + 31_653_888 + 446_976 + 770,
    ),
    "cnn3rnn embedding": (TapHeadConfig(THREE, "each", landmark_units=512), FC_EMBEDDED + 31_653_888 + 446_976 + 770),
    "cnn3rnn-1fc": (TapHeadConfig(THREE, "each", joint_units=128), FC + 31_653_888 + 446_976 + 49_280 + 258),
    "cnn3rnn conv3 conv7 fc": (
        TapHeadConfig(("conv3", "conv7", "fc"), "each", "pool5"),
        FC + 171_442_176 + 446_976 + 770,
    ),
    "cnn3rnn without fc": (TapHeadConfig(("conv6", "conv7", "conv8"), "each"), 141_557_760 + 446_976 + 770),
    "cnn2rnn-1fc": (
        TapHeadConfig(("pool5", "fc"), "each", joint_units=128),
        FC + 3_342_336 + 297_984 + 32_896 + 258,
    ),
    "resnet50": (TapHeadConfig(("fc",), "none", "resnet50", 1500), 3_277_500 + 3_002),
    "affwildnet": (TapHeadConfig(("fc",), "each", "resnet50", 1500), 3_277_500 + 576_000 + 148_992 + 258),
    "densenet121": (TapHeadConfig(("fc",), "none", "densenet121", 1500), 1_741_500 + 3_002),
    "densenet-rnn": (TapHeadConfig(("fc",), "each", "densenet121", 1500), 1_741_500 + 576_000 + 148_992 + 258),
}


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_networks_have_the_size_that_follows_from_their_layers(name):
    config, num_parameters = PAPER[name]
    assert config.with_columns(FLAT, config.num_outputs).num_parameters == num_parameters


def test_the_input_weights_of_a_gru_on_flat_taps_are_those_of_the_paper():
    def of(*streams):
        config = TapHeadConfig(streams, "one", "pool5", units=(128,), landmarks=False).with_columns(FLAT, 2)
        fc = FC_ALONE if "fc" in streams else 0
        return config.num_parameters - fc - 3 * 128 * (128 + 2) - 258  # but for the recurrent ones and the output

    assert (of("pool2"), of("conv3"), of(*THREE)) == (28_311_552, 113_246_208, 31_653_888)


def test_the_table_holds_the_taps_then_the_landmarks():
    config = TapHeadConfig(("fc", "conv3"), fc_tap="pool5").with_columns(SIZES, 2)
    assert config.taps == ("conv3", "pool5")
    assert config.columns == (("conv3", 6), ("pool5", 4), (LANDMARKS, 136))
    again = TapHeadConfig(("pool2", "fc", "pool5"))  # the last tap named, wherever fc stands
    assert (again.fc_source, again.taps) == ("pool5", ("pool2", "pool5"))


def test_without_fc_the_landmarks_are_not_read():
    config = small(("pool2", "pool5"))
    assert config.landmarks
    assert not config.reads_landmarks
    assert config.columns == (("pool2", 5), ("pool5", 4))
    assert not small(landmarks=False).reads_landmarks


@pytest.mark.parametrize("landmark_units", [0, 3])
def test_the_landmarks_reach_the_prediction_through_fc_only(landmark_units):
    config = small(landmark_units=landmark_units)
    head = built(config)
    features = windows_for(config)
    base = numbers_of(head, features)
    changed = features.copy()
    changed[..., column_of(config, LANDMARKS)] *= -1
    assert np.abs(numbers_of(head, changed) - base).max() > 1e-3
    fc = head.get_layer("fc")
    assert fc.get_weights()[0].shape[0] == 4 + (landmark_units or 136)
    fc.set_weights([0 * each for each in fc.get_weights()])
    np.testing.assert_array_equal(numbers_of(head, changed), numbers_of(head, features))


def joined(head):
    """What the output layer reads."""
    import keras

    return keras.Model(head.input, head.get_layer(JOINED).output)


@pytest.mark.parametrize(("rnns", "reached"), [("one", [0, 1, 2]), ("each", [3, 4, 5, 6, 7, 8])])
def test_a_tap_reaches_its_own_rnn_or_the_one_of_all(rnns, reached):
    """The units of an RNN each are those of pool2, pool5 and fc, in this order; pool5 feeds fc too."""
    config = small(rnns=rnns)
    inner, features = joined(built(config)), windows_for(config)
    changed = features.copy()
    changed[..., column_of(config, "pool5")] += 1
    moved = np.abs(numbers_of(inner, changed) - numbers_of(inner, features)).max(axis=(0, 1))
    assert np.flatnonzero(moved).tolist() == reached


def test_frame_by_frame_nothing_of_other_frames_is_seen():
    config = small(rnns="none")
    head, features = built(config), windows_for(config)
    order = np.random.default_rng(1).permutation(7)
    np.testing.assert_allclose(numbers_of(head, features[:, order]), numbers_of(head, features)[:, order], atol=SAME)
    recurrent = built(small(rnns="each"))
    assert np.abs(numbers_of(recurrent, features[:, order]) - numbers_of(recurrent, features)[:, order]).max() > 1e-3


def step_of_first_rnn(config: TapHeadConfig, features: np.ndarray) -> np.ndarray:
    """What one step of gradient descent on the mean prediction changes in the kernel of the first RNN."""
    import keras

    head = built(config)
    kernel = head.get_layer("rnn1_gru1").get_weights()[0]
    head.compile(keras.optimizers.SGD(1.0), lambda truth, prediction: keras.ops.mean(prediction))
    head.train_on_batch({"features": features, "mask": None}, np.zeros((*features.shape[:2], 2), np.float32))
    return kernel - head.get_layer("rnn1_gru1").get_weights()[0]


def test_what_an_rnn_of_its_own_learns_does_not_depend_on_another_tap():
    differences = {}
    for rnns in ("each", "one"):
        config = small(rnns=rnns)
        features = windows_for(config)
        changed = features.copy()
        changed[..., column_of(config, "pool5")] += 1
        steps = [step_of_first_rnn(config, each) for each in (features, changed)]
        assert np.abs(steps[0]).max() > 1e-4
        differences[rnns] = np.abs(steps[1] - steps[0]).max()
    assert differences["each"] < 1e-8
    assert differences["one"] > 1e-4


@pytest.mark.parametrize("rnns", ["none", "one", "each"])
def test_a_weight_of_0_takes_a_step_out_whatever_its_label(rnns, tmp_path):
    config = small(rnns=rnns)
    features = windows_for(config, num_windows=4)
    random = np.random.default_rng(2)
    truth = random.uniform(-1, 1, (4, 7, 2)).astype(np.float32)
    weights = (random.random((4, 7)) < 0.6).astype(np.float32)

    def trained(truth, weights):
        import keras

        head = built(config)
        head.compile(keras.optimizers.SGD(0.1), get_loss("ccc"))
        losses = [float(head.train_on_batch({"features": features, "mask": None}, truth, weights)) for _ in range(6)]
        return head, losses

    head, losses = trained(truth, weights)
    assert losses[-1] < losses[0] - 1e-3
    unknown = truth.copy()
    unknown[weights == 0] = np.nan
    other = trained(unknown, weights)[0]
    for one, two in zip(head.get_weights(), other.get_weights(), strict=True):
        assert np.isfinite(two).all()
        assert one.tobytes() == two.tobytes()
    everything = trained(truth, np.ones_like(weights))[0]
    assert any(not np.array_equal(*each) for each in zip(head.get_weights(), everything.get_weights(), strict=True))
    save_head(head, tmp_path / "head.keras")
    np.testing.assert_array_equal(
        numbers_of(load_network(tmp_path / "head.keras"), features), numbers_of(head, features)
    )


def test_dropout_stands_where_the_paper_has_it():
    head = built(small(fc_dropout=0.5, gru_dropout=0.8))
    rates = {layer.name: layer.rate for layer in head.layers if "dropout" in layer.name}
    assert rates == {"fc_dropout": 0.5, "rnn1_dropout": 0.8, "rnn2_dropout": 0.8, "rnn3_dropout": 0.8}
    assert (TapHeadConfig(THREE).fc_dropout, TapHeadConfig(THREE).gru_dropout) == (0.5, 0.8)
    features = windows_for(small())
    np.testing.assert_array_equal(numbers_of(head, features), numbers_of(head, features))
    in_training = [numbers_of(head, features, training=True) for _ in range(2)]
    assert np.abs(in_training[1] - in_training[0]).max() > 1e-3


def test_layers_are_those_of_the_paper():
    config = TapHeadConfig(THREE, fc_units=6, units=(4, 3)).with_columns(SIZES, 2)
    head = built(config)
    for number in (1, 2, 3):
        for place, units in ((1, 4), (2, 3)):
            layer = head.get_layer(f"rnn{number}_gru{place}")
            assert (layer.units, layer.return_sequences, layer.reset_after) == (units, True, True)
            recurrent = layer.get_weights()[1].reshape(units, 3 * units)
            np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(units), atol=1e-5)
    assert head.get_layer("fc").activation.__name__ == "relu"
    kernel = head.get_layer("fc").get_weights()[0]
    limit = math.sqrt(6 / sum(kernel.shape))
    assert 0.9 * limit < np.abs(kernel).max() <= limit
    assert (TapHeadConfig(THREE).fc_units, TapHeadConfig(THREE).units) == (4096, (128, 128))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"streams": ("fc",)}, "'fc' needs the tap that feeds it.*fc_tap"),
        ({"streams": ()}, "expected taps, each once. Received: none"),
        ({"streams": ("pool2", "pool2")}, "each once. Received: pool2, pool2"),
        ({"rnns": "two"}, "rnns: expected one of none, one, each. Received: 'two'"),
        ({"gru_dropout": 1.0}, "gru_dropout: expected a number in"),
        ({"fc_dropout": -0.1}, "fc_dropout: expected a number in"),
        ({"fc_units": 0}, "units: expected at least 1"),
        ({"units": (128, 0)}, "units: expected at least 1"),
        ({"joint_units": -1}, "units: expected at least 1"),
        ({"num_outputs": 0}, "units: expected at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        TapHeadConfig(**{"streams": THREE, **settings})


def test_a_table_of_another_width_is_refused():
    config = small()
    with pytest.raises(ConfigError, match="expected columns of 146 numbers. Received: .*pool2"):
        build_head("taps", config, 146)
    with pytest.raises(ConfigError, match="expected columns of 9"):
        build_head("taps", TapHeadConfig(THREE), 9)
