import json
import signal

import keras
import numpy as np
import pytest

from emopipe.errors import ConfigError, CorruptShardError, RunError
from emopipe.models.bundle import begin_run, open_run
from emopipe.models.gather import resident_model
from emopipe.models.heads import RnnHeadConfig, build_head
from emopipe.models.losses import get_loss
from emopipe.stages.event_log import EventLog, masked_crc32c
from emopipe.stages.progress import Progress
from emopipe.stages.training import (
    History,
    Schedule,
    _sentence,
    compile_model,
    fit_epoch,
    optimiser,
    seed_generators,
    train,
)
from emopipe.stages.training_state import restore_state, save_state


def build(seed: int = 0, rate: float = 0.05, method: str = "sgd"):
    keras.utils.set_random_seed(seed)
    image = keras.Input((4,))
    hidden = keras.layers.Dense(8, activation="tanh", name="hidden")(image)
    network = keras.Model(image, keras.layers.Dense(1, name="output")(keras.layers.Dropout(0.2)(hidden)))
    outer = keras.Input((4,))
    model = keras.Model(outer, network(outer))
    seed_generators(model, seed)
    compile_model(model, optimiser(method, rate, 0.9, decay=1e-3), get_loss("mse"))
    return network, model


INPUTS = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
TRUTH = INPUTS @ np.array([[0.5], [-0.3], [0.2], [0.1]], np.float32)


def batches(epoch: int):
    order = np.random.default_rng(epoch).permutation(64)
    return ((INPUTS[part], TRUTH[part]) for part in np.array_split(order, 5))


def run_training(run, model, network, scores=None, epochs=4, patience=None, feed=batches):
    given = iter(scores) if scores is not None else None

    def evaluate():
        if given is not None:
            return {"ccc": next(given)}
        return {"ccc": -float(np.mean((network.predict(INPUTS, verbose=0) - TRUTH) ** 2))}

    return train(
        run,
        model,
        network,
        batches=feed,
        evaluate=evaluate,
        schedule=Schedule(epochs, patience, "ccc"),
        seed=0,
        progress=Progress(),
    )


def test_a_file_in_the_place_of_a_run_folder_is_refused(tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(ConfigError, match="run: is a file. Expected a folder for --run"):
        begin_run(tmp_path / "run", "rnn", {})


def test_an_epoch_line_has_the_score_that_decides_and_no_minus_zero():
    row = {"epoch": 3, "train_s": 7.4, "learning_rate": 0.01, "loss": 0.51234, "dev_ccc": -0.0001}
    row |= {"dev_ccc_valence": 0.2, "dev_ccc_arousal": -0.2, "dev_pearson": 0.9, "dev_rmse_valence": 0.4}
    assert _sentence(row, Schedule(9, None, "ccc"), is_best=True) == (
        "epoch 3 of at most 9: loss 0.5123, dev ccc 0.000 (valence 0.200, arousal -0.200), 7 s, the best so far"
    )


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_the_learning_rate_falls_with_every_step(name):
    made = optimiser(name, 0.01, 0.9, decay=1e-5)
    rates = []
    for step in (0, 1000, 99_399):
        made.iterations.assign(step)
        rates.append(float(keras.ops.convert_to_numpy(made.learning_rate)))
    assert rates == pytest.approx([0.01, 0.01 / 1.01, 0.01 / 1.99399], rel=1e-5)  # the last is 0.00502
    assert type(made).__name__.lower() == name
    assert float(optimiser(name, 0.01, 0.9).learning_rate) == pytest.approx(0.01)
    assert optimiser(name, 0.01, 0.9, clip_value=100.0).clipvalue == 100.0


def test_an_unknown_optimiser_is_refused():
    with pytest.raises(ConfigError, match="expected sgd or adam. Received: 'rmsprop'"):
        optimiser("rmsprop", 0.01, 0.9)


def test_the_best_network_is_kept_and_not_the_last(tmp_path):
    network, model = build()
    run = begin_run(tmp_path / "run", "cnn", {})
    seen = []

    def evaluate():
        seen.append([np.array(weights) for weights in network.get_weights()])
        return {"ccc": [0.1, 0.5, 0.5, 0.2][len(seen) - 1]}

    history = train(
        run, model, network, batches=batches, evaluate=evaluate,
        schedule=Schedule(4, None, "ccc"), seed=0, progress=Progress(),
    )  # fmt: skip
    assert history.best["epoch"] == 2
    kept = keras.saving.load_model(run.network).get_weights()
    for expected, received, last in zip(seen[1], kept, seen[3], strict=True):
        np.testing.assert_array_equal(expected, received)
        assert not np.array_equal(expected, last)
    header, *rows = (run.folder / "history.csv").read_text().splitlines()
    assert header == "epoch,train_s,learning_rate,loss,dev_ccc"
    assert [row.split(",")[0] for row in rows] == ["1", "2", "3", "4"]


def test_it_stops_after_patience(tmp_path):
    network, model = build()
    history = run_training(begin_run(tmp_path / "run", "cnn", {}), model, network, [0.3, 0.2, 0.1, 0.9], patience=2)
    assert len(history.rows) == 3


@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_going_on_equals_not_having_stopped(tmp_path, method):
    network, model = build(method=method)
    whole = run_training(begin_run(tmp_path / "whole", "cnn", {}), model, network, epochs=4)
    network_a, model_a = build(method=method)
    run_training(begin_run(tmp_path / "parts", "cnn", {}), model_a, network_a, epochs=2)
    network_b, model_b = build(seed=99, method=method)  # other weights and dropout, until the state is put back
    parts = run_training(begin_run(tmp_path / "parts", "cnn", {}), model_b, network_b, epochs=4)
    assert [row["epoch"] for row in parts.rows] == [1, 2, 3, 4]
    for one, other in zip(whole.rows, parts.rows, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-6)
        assert one["learning_rate"] == other["learning_rate"]
    for one, other in zip(network.get_weights(), network_b.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


def test_random_layers_follow_the_seed():
    states = []
    for seed in (1, 1, 2):
        network, _ = build()
        seed_generators(network, seed)
        states.append(next(keras.ops.convert_to_numpy(v).tolist() for v in network.variables if "seed" in v.path))
    assert states[0] == states[1] != states[2]


def test_a_truncated_state_is_one_clear_message(tmp_path):
    network, model = build()
    run = begin_run(tmp_path / "run", "cnn", {})
    run_training(run, model, network, epochs=1)
    path = run.state / "last.npz"
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:-30]):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match="Delete this file"):
            restore_state(run, model, network)
    path.write_bytes(whole)
    image = keras.Input((4,))
    smaller = keras.Model(image, keras.layers.Dense(1)(image))
    compile_model(smaller, optimiser("sgd", 0.1, 0.9), get_loss("mse"))
    with pytest.raises(RunError, match="another version or network"):
        restore_state(run, smaller, smaller)


def test_another_backend_is_refused(tmp_path, monkeypatch):
    network, model = build()
    run = begin_run(tmp_path / "run", "cnn", {})
    model.optimizer.build(model.trainable_variables)
    monkeypatch.setattr("emopipe.stages.training_state.running_backend", lambda: "abacus")
    save_state(run, model, network, [])
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="KERAS_BACKEND=abacus"):
        restore_state(run, model, network)


def test_what_only_feeds_the_network_is_no_state(tmp_path):
    head = build_head("rnn", RnnHeadConfig(units=(3,)), 4)
    model = resident_model(head, INPUTS)
    compile_model(model, optimiser("sgd", 0.1, 0.9), get_loss("mse"))
    model.optimizer.build(model.trainable_variables)
    run = begin_run(tmp_path / "run", "rnn", {})
    save_state(run, model, head, [])
    with np.load(run.state / "last.npz") as file:
        shapes = [array.shape for array in file.values()]
    assert INPUTS.shape not in shapes
    assert all(shapes.count(tuple(weight.shape)) >= 2 for weight in head.weights)  # itself and its momentum
    before = [np.array(weight) for weight in head.get_weights()]
    head.set_weights([weight + 1 for weight in before])
    restore_state(run, model, head)
    for one, other in zip(before, head.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_loss_that_explodes_is_named(tmp_path):
    network, model = build(rate=1e30)
    with pytest.raises(RunError, match="not a finite number.*\n.*--learning-rate"):
        run_training(begin_run(tmp_path / "run", "cnn", {}), model, network)
    assert open_run(tmp_path / "run").content["finished"] is None


def test_an_error_of_the_data_arrives_as_itself(tmp_path):
    network, model = build()

    def broken(epoch):
        yield INPUTS[:8], TRUTH[:8]
        raise CorruptShardError("shard.h5: damaged")

    with pytest.raises(CorruptShardError, match="shard.h5: damaged"):
        run_training(begin_run(tmp_path / "run", "cnn", {}), model, network, feed=broken)


def test_every_batch_is_one_step_and_the_loss_is_the_mean_over_rows(tmp_path):
    network, model = build(rate=1e-12)
    closed = []

    def uneven(epoch):
        try:
            yield np.zeros((3, 4), np.float32), np.zeros((3, 1), np.float32)
            yield np.zeros((1, 4), np.float32), np.full((1, 1), 2.0, np.float32)
        finally:
            closed.append(epoch)

    history = run_training(begin_run(tmp_path / "run", "cnn", {}), model, network, epochs=2, feed=uneven)
    assert int(model.optimizer.iterations.numpy()) == 4  # keras' fit would count the end of each epoch as a step
    assert [row["loss"] for row in history.rows] == pytest.approx([1.0, 1.0])  # zeros give 0; (0 + 0 + 0 + 4) / 4
    assert closed == [0, 1]


def test_arrays_of_known_length_are_taken_too(tmp_path):
    class Rows(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, number):
            return INPUTS[number * 32 : number * 32 + 32], TRUTH[number * 32 : number * 32 + 32]

    network, model = build()
    run_training(begin_run(tmp_path / "run", "cnn", {}), model, network, epochs=2, feed=lambda epoch: Rows())
    assert int(model.optimizer.iterations.numpy()) == 4


@pytest.mark.parametrize("settings", [{"epochs": 0, "patience": None}, {"epochs": 1, "patience": 0}])
def test_a_schedule_without_epochs_is_refused(settings):
    with pytest.raises(ConfigError, match="expected at least 1"):
        Schedule(**settings, select="ccc")


def test_the_earliest_of_equal_epochs_is_the_best():
    history = History("ccc", [{"epoch": n, "dev_ccc": score} for n, score in ((1, 0.2), (2, 0.4), (3, 0.4))])
    assert history.best["epoch"] == 2
    assert not history.is_stale(2)
    assert history.is_stale(1)
    assert not history.is_stale(None)


def test_tensorflow_reads_the_event_file(tmp_path):
    import tensorflow as tf

    log = EventLog(tmp_path / "logs")
    log.write(1, {"loss": 0.5, "dev_ccc": -0.25})
    log.write(300, {"loss": 0.125})
    events = list(tf.compat.v1.train.summary_iterator(str(log.path)))
    assert events[0].file_version == "brain.Event:2"
    scores = [(event.step, value.tag, value.simple_value) for event in events for value in event.summary.value]
    assert scores == [(1, "loss", 0.5), (1, "dev_ccc", -0.25), (300, "loss", 0.125)]
    assert json.dumps(masked_crc32c(b"123456789")) == str(
        (((0xE3069283 >> 15) | (0xE3069283 << 17)) + 0xA282EAD8) % 2**32
    )


class Pieces(keras.utils.PyDataset):
    """The same numbers in five batches, as `fit` takes them."""

    def __len__(self):
        return 5

    def __getitem__(self, number):
        return INPUTS[number::5], TRUTH[number::5]


@pytest.mark.parametrize("data", [lambda: batches(0), Pieces])
def test_ctrl_c_in_a_step_ends_the_epoch_after_that_step(data):
    """Wherever it strikes, a step is done as a whole: here while the loss is traced."""

    def struck(truth, prediction):
        if not steps:
            signal.raise_signal(signal.SIGINT)
        steps.append(True)
        return keras.ops.mean((truth - prediction) ** 2)

    steps: list[bool] = []
    _, model = build()
    compile_model(model, optimiser("sgd", 0.05, 0.9), struck)
    with pytest.raises(KeyboardInterrupt):
        fit_epoch(model, data())
    assert int(model.optimizer.iterations.numpy()) == 1
