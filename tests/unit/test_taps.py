"""Taps: how they are written, how long their vectors are, and that the graph computes what numpy computes."""

import numpy as np
import pytest

from emopipe.errors import ConfigError
from emopipe.models.taps import Place, Tap, attach, check_layer, locate, parse_tap, parse_taps, pooled_size

SUM_ORDER = 1e-5  # float32 means over up to 36 numbers, added in another order


@pytest.fixture(scope="module")
def network():
    import keras
    from keras import layers

    image = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(4, 3, name="even", padding="same")(image)
    y = layers.Conv2D(5, 6, name="uneven", activation="relu")(x)  # 7 x 7
    z = layers.GlobalAveragePooling2D(name="vector")(y)
    z = layers.Dense(3, name="top")(z)
    keras.utils.set_random_seed(0)
    model = keras.Model(image, z)
    for layer in model.layers:
        layer.set_weights([np.random.default_rng(7).normal(size=w.shape).astype(np.float32) for w in layer.weights])
    return model


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).normal(size=(3, 12, 12, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dense", Tap("dense", "dense", "")),
        ("fc1:flat", Tap("fc1:flat", "fc1", "flat")),
        ("pool2:gap", Tap("pool2:gap", "pool2", "gap")),
        ("pool2:grid12", Tap("pool2:grid12", "pool2", "grid12")),
    ],
)
def test_a_tap_is_a_layer_and_a_pooling(text, expected):
    assert parse_tap(text) == expected


@pytest.mark.parametrize(
    "text", ["", ":gap", "pool2:", "pool2:max", "pool2:grid", "pool2:grid0", "a:b:gap", "pool2:gap "]
)
def test_other_spellings_are_refused(text):
    with pytest.raises(ConfigError, match="expected 'layer'"):
        parse_tap(text)


def test_no_tap_and_the_same_tap_twice_are_refused():
    with pytest.raises(ConfigError, match="--tap"):
        parse_taps([])
    with pytest.raises(ConfigError, match="once"):
        parse_taps(["pool2:gap", "pool2:gap"])


@pytest.mark.parametrize(
    ("text", "shape", "size"),
    [
        ("a", (7,), 7),
        ("a:flat", (7,), 7),
        ("a:flat", (6, 4, 5), 120),
        ("a:gap", (6, 4, 5), 5),
        ("a:grid4", (6, 4, 5), 80),
        ("a:gap", (None, None, 5), 5),
        ("a:flat", (None, None, 5), None),
        ("a:flat", (6, 5), 30),
    ],
)
def test_length_of_a_vector(text, shape, size):
    assert pooled_size(parse_tap(text), shape) == size


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("a", (6, 4, 5), "'a:gap', 'a:flat' or 'a:gridN'"),
        ("a:gap", (7,), "Use 'a'"),
        ("a:grid5", (6, 4, 5), "does not fit on a map of 6 x 4 x 5"),
        ("a:gap", (6, 5), "Use 'a:flat'"),
    ],
)
def test_a_pooling_that_does_not_suit_is_refused(text, shape, message):
    with pytest.raises(ConfigError, match=message):
        pooled_size(parse_tap(text), shape)


def test_friendly_names_lead_to_layers():
    places = {"conv3": Place("block2_conv1", (48, 48, 128)), "avg_pool": Place("relu", (3, 3, 8), "gap")}
    assert locate(parse_tap("conv3:gap"), places) == Tap("conv3:gap", "block2_conv1", "gap")
    assert locate(parse_tap("avg_pool"), places) == Tap("avg_pool", "relu", "gap")
    assert locate(parse_tap("relu:flat"), places) == Tap("relu:flat", "relu", "flat")
    with pytest.raises(ConfigError, match="pooled already"):
        locate(parse_tap("avg_pool:flat"), places)


def test_all_taps_come_from_one_pass_and_equal_numpy(network, pictures):
    import keras

    texts = ["even:gap", "even:grid4", "even:flat", "uneven:grid3", "vector", "top:flat", "image:flat"]
    received = dict(zip(texts, attach(network, parse_taps(texts), "net")(pictures), strict=True))
    received = {name: np.asarray(values) for name, values in received.items()}
    names = ["even", "uneven", "vector", "top"]
    even, uneven, vector, top = map(
        np.asarray, keras.Model(network.input, [network.get_layer(name).output for name in names])(pictures)
    )
    expected = {
        "even:gap": even.mean(axis=(1, 2)),
        "even:grid4": even.reshape(3, 4, 3, 4, 3, 4).mean(axis=(2, 4)).reshape(3, -1),
        "even:flat": even.reshape(3, -1),
        "uneven:grid3": _grid_by_definition(uneven, 3),
        "vector": vector,
        "top:flat": top,
        "image:flat": pictures.reshape(3, -1),
    }
    for text in texts:
        assert received[text].shape == expected[text].shape
        np.testing.assert_allclose(received[text], expected[text], rtol=SUM_ORDER, atol=SUM_ORDER)


def _grid_by_definition(maps, grid):
    """Cell k of a side covers the pixels from floor(k side / grid) to ceil((k + 1) side / grid)."""
    side = maps.shape[1]
    borders = [(int(np.floor(k * side / grid)), int(np.ceil((k + 1) * side / grid))) for k in range(grid)]
    cells = [maps[:, a:b, c:d].mean(axis=(1, 2)) for a, b in borders for c, d in borders]
    return np.concatenate(cells, axis=1)


def test_layers_may_bear_the_names_that_keras_makes_up():
    import keras
    from keras import layers

    keras.utils.clear_session()  # a fresh process counts its made-up names from the start
    image = keras.Input((6, 6, 3), name="image")
    x = image
    for name in ("global_average_pooling2d", "average_pooling2d", "mean", "get_item", "concatenate", "activation"):
        x = layers.Conv2D(3, 1, name=name)(x)
    model = keras.Model(image, layers.Flatten(name="flatten")(x))
    tapped = attach(model, parse_taps(["mean:gap", "mean:grid3", "mean:grid4", "mean:flat", "flatten"]), "net")
    assert [output.shape[1] for output in tapped.outputs] == [3, 27, 48, 108, 108]


def test_one_tap_alone_gives_the_same(network, pictures):
    texts = ["even:grid4", "top"]
    together = attach(network, parse_taps(texts), "net")(pictures)
    for text, values in zip(texts, together, strict=True):
        alone = attach(network, parse_taps([text]), "net")(pictures)
        np.testing.assert_allclose(np.asarray(alone), np.asarray(values), rtol=SUM_ORDER, atol=SUM_ORDER)


def test_an_unknown_layer_lists_the_layers_nearest_first(network):
    with pytest.raises(ConfigError, match="net has no layer 'vectr'.*\n.*first: vector, ") as caught:
        attach(network, parse_taps(["vectr"]), "net")
    assert all(layer.name in str(caught.value) for layer in network.layers)
    with pytest.raises(ConfigError, match="inside the network"):
        check_layer(parse_tap("inner/conv:gap"), ["inner"], "net")


def test_a_layer_whose_pooling_does_not_suit_is_refused_when_built(network):
    with pytest.raises(ConfigError, match="does not fit on a map of 7 x 7 x 5"):
        attach(network, parse_taps(["uneven:grid8"]), "net")
