"""`fuse`: runs whose decisions are averaged, and runs whose RNNs are joined and learn on together."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import feature_corpus
import numpy as np
import pytest
import utterance_corpus
from csv_rows import numbers, rows_of
from fusion_members import BARE, EACH, LEARN_ON, ONE, TARGETS, refused, train_members
from tap_head_runs import WINDOW, same_weights, stop_after
from utterance_corpus import BRIGHTNESS, FACELESS, HIGH, LOW

from emopipe.errors import ConfigError, RunError
from emopipe.models.bundle import open_run
from emopipe.models.fusion import join_heads
from emopipe.models.tap_heads import JOINED, LANDMARKS, NUM_LANDMARK_NUMBERS, TapHeadConfig, build_tap_head
from emopipe.models.weights import load_network
from emopipe.models.windows import NONE, WindowConfig
from emopipe.stages.evaluate import predict_split, score
from emopipe.stages.evaluate_clips import clip_predictions
from emopipe.stages.fuse import fuse_decisions, fuse_models, shares
from emopipe.stages.fusion import averaged_frames, evaluate, is_fusion, open_fusion, predict_run
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.train_rnn import train_rnn
from emopipe.stages.trained import open_trained

SIZES = {**utterance_corpus.SIZES, LANDMARKS: NUM_LANDMARK_NUMBERS}
NUM_UNITS = 128  # of the layer that joins
STILL = replace(LEARN_ON, learning_rate=1e-12, epochs=1)
ON_FRAMES = TrainRnnConfig(
    units=(6,), window=WindowConfig(10), epochs=3, patience=None, batch_size=32, learning_rate=0.05
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return utterance_corpus.make(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def members(made, tmp_path_factory):
    return train_members(made, tmp_path_factory.mktemp("members"), "one", "each", "bare")


@pytest.fixture(scope="module")
def fused(made, members, tmp_path_factory):
    """(folder, report) of the decisions of two."""
    folder = tmp_path_factory.mktemp("fused") / "run"
    return folder, fuse_decisions([members["one"], members["each"]], run=folder, cache=made.cache)


@pytest.fixture(scope="module", params=["fc", "rnn"])
def joined(request, made, members, tmp_path_factory):
    """(layer, folder, report) of two whose RNNs were joined."""
    folder = tmp_path_factory.mktemp("joined") / "run"
    pair = [members["one"], members["each"]]
    return request.param, folder, fuse_models(pair, request.param, LEARN_ON, run=folder, cache=made.cache)


def ccc_of(run: Path, cache: Path, split: str = "dev") -> list[float]:
    found = evaluate(run, split=split, cache=cache, num_bootstrap=0)
    values = {score.target: score.value for score in found.scores if score.metric == "ccc"}
    return [values[target] for target in TARGETS]


# --- the shares


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([[0.3, 0.6], [0.1, 0.2]], [[0.75, 0.75], [0.25, 0.25]]),
        ([[0.3, -0.5], [0.1, 0.2], [0.1, 0.6]], [[0.6, 0.0], [0.2, 0.25], [0.2, 0.75]]),
        ([[np.nan, 0.2], [0.4, np.nan]], [[0.0, 1.0], [1.0, 0.0]]),
        ([[-0.1, 0.0], [-0.9, np.nan]], [[0.5, 0.5], [0.5, 0.5]]),
        ([[np.nan, 0.1], [-0.2, 0.1], [0.0, 0.2]], [[1 / 3, 0.25], [1 / 3, 0.25], [1 / 3, 0.5]]),
    ],
)
def test_shares_are_the_positive_scores_of_a_target_and_sum_to_one(scores, expected):
    found = shares(np.array(scores))
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(found.sum(axis=0), 1.0)


def test_a_frame_needs_a_prediction_of_every_member():
    values = [np.array([[0.0, 1.0], [0.4, 0.8], [0.2, np.nan]]), np.array([[1.0, 0.0], [np.nan, np.nan], [0.6, 0.6]])]
    how = [np.array([1, 2, 1], np.uint8), np.array([2, NONE, 1], np.uint8)]
    found, codes = averaged_frames(values, how, np.array([[0.25, 0.5], [0.75, 0.5]]))
    np.testing.assert_allclose(found, [[0.75, 0.5], [np.nan, np.nan], [0.5, np.nan]])
    assert codes.tolist() == [1, NONE, 1]


# --- decisions


def test_a_member_weighs_its_concordance_on_the_dev_split(made, members, fused):
    folder, report = fused
    ccc = np.array([ccc_of(members[name], made.cache) for name in ("one", "each")])
    assert (ccc > 0.02).all()  # else nothing would be weighed
    assert np.abs(ccc[0] - ccc[1]).min() > 0.01
    np.testing.assert_allclose(report.dev_scores, ccc, atol=1e-9)
    for column in range(2):
        total = ccc[0, column] + ccc[1, column]
        assert report.weights[:, column] == pytest.approx([ccc[0, column] / total, ccc[1, column] / total])
    np.testing.assert_array_equal(open_fusion(folder).weights, report.weights)
    assert is_fusion(folder)
    assert not is_fusion(members["one"])
    text = report.to_text()
    assert f"CCC {ccc[0, 0]:.3f}, share {report.weights[0, 0]:.3f}" in text
    assert json.loads(json.dumps(report.to_dict()))["weights"] == report.weights.tolist()


@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_final_estimates_of_the_members_are_averaged(made, members, fused, split):
    folder, report = fused
    each = [
        clip_predictions(predict_split(open_trained(members[name]), split=split, cache=made.cache))
        for name in ("one", "each")
    ]
    assert any(not np.array_equal(clips.values, clips.raw, equal_nan=True) for clips in each)
    found = predict_run(folder, split=split, cache=made.cache)
    assert found.clip_ids == each[0].clip_ids
    for name in ("values", "raw"):
        expected = sum(getattr(clips, name) * share for clips, share in zip(each, report.weights, strict=True))
        np.testing.assert_allclose(getattr(found, name), expected, rtol=0, atol=1e-12)
        assert not np.allclose(getattr(found, name), getattr(each[0], name), equal_nan=True)
    silent = FACELESS if split == "dev" else None
    assert [name for name, keep in zip(found.clip_ids, found.scored, strict=True) if not keep] == [silent] * bool(
        silent
    )
    scored = score(found, num_bootstrap=20)
    assert (scored.run, scored.predictions) == (folder, folder / "predictions" / f"{split}.csv")
    rows = rows_of(scored.predictions)
    assert [row["clip"] for row in rows] == list(found.clip_ids)
    np.testing.assert_allclose(numbers(rows, *TARGETS), found.values, atol=1e-5)
    np.testing.assert_allclose(numbers(rows, "valence_raw", "arousal_raw"), found.raw, atol=1e-5)


def test_a_fusion_needs_no_run_but_itself(made, members, fused, call, tmp_path):
    for name in ("one", "each"):
        shutil.copytree(members[name], tmp_path / name)
    done = call("fuse", tmp_path / "one", tmp_path / "each", "--level", "decision", "--run", tmp_path / "run",
                "--cache", made.cache, "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["members"] == [str(tmp_path / "one"), str(tmp_path / "each")]
    np.testing.assert_allclose(done.json["weights"], fused[1].weights)
    for name in ("one", "each"):
        shutil.rmtree(tmp_path / name)
    (tmp_path / "run").rename(tmp_path / "moved")
    submission = tmp_path / "dev.csv"
    options = ("--split", "dev", "--cache", made.cache, "--submission", submission, "--json")
    found = call("evaluate", tmp_path / "moved", *options)
    assert found.code == 0, found.err
    expected = predict_run(fused[0], split="dev", cache=made.cache)
    rows = rows_of(Path(found.json["predictions"]))
    np.testing.assert_allclose(numbers(rows, *TARGETS), expected.values, atol=1e-5)
    official = {f"{row['video']}/{row['utterance'].removesuffix('.mp4')}": row for row in rows_of(submission)}
    num_rows = len(made.of("dev")) + 1
    assert len(official) == num_rows
    np.testing.assert_allclose(
        numbers([official[name] for name in expected.clip_ids], *TARGETS)[expected.scored],
        expected.values[expected.scored],
        atol=1e-5,
    )
    assert f"2 of {num_rows} official utterances of split 'dev' have no prediction" in found.err


@pytest.mark.slow
def test_other_sequences_and_taps_are_no_hindrance_to_an_average(made, members, tmp_path):
    shorter = replace(BARE, window=replace(ONE.window, length=5))
    train_rnn(shorter, cache=made.cache, run=tmp_path / "shorter")
    runs = [members["one"], tmp_path / "shorter", members["bare"]]
    report = fuse_decisions(runs, run=tmp_path / "run", cache=made.cache)
    assert report.weights.shape == (3, 2)
    np.testing.assert_allclose(report.weights.sum(axis=0), 1)
    assert len(predict_run(tmp_path / "run", split="test", cache=made.cache).clip_ids) == 3


@pytest.mark.slow
def test_where_frames_are_labelled_frames_are_averaged(tmp_path):
    root, cache = feature_corpus.make_corpus(tmp_path), tmp_path / "cache"
    feature_corpus.write_features(root, cache, "one")
    configs = {"short": ON_FRAMES, "long": replace(ON_FRAMES, window=WindowConfig(25), seed=1)}
    for name, config in configs.items():
        train_rnn(config, cache=cache, run=tmp_path / name)
    runs = [tmp_path / name for name in configs]
    report = fuse_decisions(runs, run=tmp_path / "run", cache=cache)
    ccc = np.array([ccc_of(run, cache) for run in runs])
    assert (ccc > 0).all()
    np.testing.assert_allclose(report.weights, ccc / ccc.sum(axis=0))
    each = [predict_split(open_trained(run), split="dev", cache=cache, fill="linear") for run in runs]
    found = predict_run(tmp_path / "run", split="dev", cache=cache, fill="linear")
    assert not found.of_clips
    expected = sum(one.values * share for one, share in zip(each, report.weights, strict=True))
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-12)
    scored = evaluate(tmp_path / "run", split="dev", cache=cache, num_bootstrap=0)
    rows = rows_of(scored.predictions)
    assert scored.unit == "frames"
    assert len(rows) == feature_corpus.CLIPS["dev"] * feature_corpus.NUM_FRAMES
    assert {row["how"] for row in rows if int(row["frame"]) == feature_corpus.GAP} == {"none"}
    train_rnn(replace(ON_FRAMES, task="expr", epochs=1), cache=cache, run=tmp_path / "classes")
    with pytest.raises(ConfigError, match=r"classes: expected a run of train-rnn that predicts numbers"):
        fuse_decisions([runs[0], tmp_path / "classes"], run=tmp_path / "no", cache=cache)
    with pytest.raises(ConfigError, match="expected a head over taps on cached features"):
        fuse_models(runs, "rnn", LEARN_ON, run=tmp_path / "no", cache=cache)
    assert not (tmp_path / "no").exists()


# --- joined RNNs


def trunk_of(run: Path):
    """The head without its last layer."""
    import keras

    head = load_network(run / "network.keras")
    return keras.Model(head.input, head.get_layer(JOINED).output)


def num_trunk_parameters(config: TapHeadConfig, num_joined: int) -> int:
    sizes = {name: SIZES[name] for name in config.taps}
    return config.with_columns(sizes, 2).num_parameters - (num_joined + 1) * 2


def num_fusion_parameters(layer: str, num_joined: int) -> int:
    """128 units of a dense layer or of a GRU with two biases per gate, and two outputs."""
    gru = 3 * NUM_UNITS * (num_joined + NUM_UNITS + 2)
    return (num_joined * NUM_UNITS + NUM_UNITS if layer == "fc" else gru) + NUM_UNITS * 2 + 2


def test_the_joined_rnns_learn_on_and_their_last_layers_are_gone(joined, members):
    layer, folder, report = joined
    network = load_network(folder / "network.keras")
    trunks = num_trunk_parameters(ONE.tap_head, 5) + num_trunk_parameters(EACH.tap_head, 3 * 5)
    assert report.num_parameters == network.count_params() == trunks + num_fusion_parameters(layer, 4 * 5)
    for name, run in (("member1", "one"), ("member2", "each")):
        member, trunk = network.get_layer(name), trunk_of(members[run])
        assert "output" in {part.name for part in load_network(members[run] / "network.keras").layers}
        assert "output" not in {part.name for part in member.layers}
        for ours, theirs in zip(member.weights, trunk.weights, strict=True):
            assert ours.shape == theirs.shape
            assert np.abs(ours.numpy() - theirs.numpy()).max() > 1e-3, ours.path
    content = open_run(folder).content
    assert (content["kind"], content["settings"]["fusion"], content["of_clips"]) == ("rnn", layer, True)
    assert content["settings"]["taps"] == [LOW, HIGH]


@pytest.mark.parametrize(("layer", "num_parameters"), [("fc", 512 * 128 + 128), ("rnn", 3 * 128 * (512 + 128 + 2))])
def test_the_papers_pair_is_joined_to_512_numbers(layer, num_parameters):
    taps = ("pool2:grid4", "pool5:flat")
    heads = []
    for rnns in ("one", "each"):
        config = TapHeadConfig((*taps, "fc"), rnns, fc_units=4).with_columns(dict.fromkeys(taps, 3), 2)
        heads.append(build_tap_head(config, 3 + 3 + NUM_LANDMARK_NUMBERS))
    columns = [(taps[0], 3), (taps[1], 3), (LANDMARKS, NUM_LANDMARK_NUMBERS)]
    network = join_heads(heads, [[name for name, _ in columns]] * 2, columns, layer, 2)
    before = sum(head.count_params() for head in heads) - (128 * 2 + 2) - (3 * 128 * 2 + 2)
    assert network.count_params() - before == num_parameters + 128 * 2 + 2
    assert network.get_layer("members").output.shape[-1] == 512
    assert network.output.shape[1:] == (None, 2)


@pytest.mark.slow
def test_before_anything_is_learned_every_rnn_says_what_it_said_alone(made, members, tmp_path):
    import keras

    names = ("bare", "each", "one")  # the first reads no landmarks, the others' columns lie in different orders
    report = fuse_models([members[name] for name in names], "rnn", STILL, run=tmp_path / "run", cache=made.cache)
    assert report.num_epochs == 1
    settings = open_run(tmp_path / "run").content["settings"]
    assert (settings["taps"], settings["landmarks"]) == ([BRIGHTNESS, HIGH, LOW], True)
    network = load_network(tmp_path / "run" / "network.keras")
    table = [*settings["taps"], LANDMARKS]
    generator = np.random.default_rng(0)
    column = {name: generator.normal(size=(2, WINDOW, SIZES[name])).astype(np.float32) for name in table}
    mask = np.ones((2, WINDOW), bool)

    def said(model, columns):
        rows = np.concatenate([column[name] for name in columns], axis=2)
        return model.predict_on_batch({"features": rows, "mask": mask})

    together = said(keras.Model(network.input, network.get_layer("members").output), table)
    alone = []
    for name in names:
        trained = open_trained(members[name])
        alone.append(said(trunk_of(members[name]), [*trained.taps, *([LANDMARKS] if trained.landmarks else [])]))
    np.testing.assert_allclose(together, np.concatenate(alone, axis=2), atol=1e-5)
    assert np.std(together) > 1e-2


def test_what_was_joined_is_a_run_like_any_heads(joined, made, call, tmp_path):
    _, folder, report = joined
    shutil.copytree(folder, tmp_path / "moved")
    done = call("evaluate", tmp_path / "moved", "--cache", made.cache, "--json")
    assert done.code == 0, done.err
    assert done.json["num_scored"] == len(made.of("dev")) - 1
    values = {score["target"]: score["value"] for score in done.json["scores"] if score["metric"] == "ccc_raw"}
    for target in TARGETS:
        assert values[target] == pytest.approx(report.best[f"dev_ccc_{target}"], abs=1e-4)
    assert open_run(folder).content["postprocessing"] is not None
    assert list((tmp_path / "moved" / "weights").glob("*.keras"))


def test_joined_rnns_can_be_averaged_with_others_and_not_be_joined_again(joined, made, members, tmp_path):
    _, folder, _ = joined
    report = fuse_decisions([members["one"], folder], run=tmp_path / "run", cache=made.cache)
    assert report.weights.shape == (2, 2)
    told = refused(made, tmp_path, [members["one"], folder], "rnn")
    assert told.startswith(f"{folder}: expected a head over taps")


@pytest.mark.slow
@pytest.mark.parametrize("joined", ["rnn"], indirect=True)
def test_a_stopped_one_goes_on_to_the_same_weights(joined, made, members, tmp_path, monkeypatch):
    def fuse(*pair):
        return fuse_models([members[name] for name in pair], "rnn", LEARN_ON, run=tmp_path / "run", cache=made.cache)

    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        with pytest.raises(KeyboardInterrupt):
            fuse("one", "each")
    with pytest.raises(RunError, match="its training is not over"):
        evaluate(tmp_path / "run", split="dev", cache=made.cache)
    with pytest.raises(ConfigError, match=r"unfinished run of other settings \(members"):
        fuse("each", "one")
    fuse("one", "each")
    same_weights(tmp_path / "run", joined[1])


@pytest.mark.slow
def test_the_command_line_trains_with_adam_and_no_decay(made, members, call, tmp_path):
    done = call("fuse", members["one"], members["each"], "--level", "model-fc", "--run", tmp_path / "run", "--cache",
                made.cache, "--epochs", 1, "--batch", 16, "--learning-rate", 0.002, "--seed", 3, "--json")  # fmt: skip
    assert done.code == 0, done.err
    settings = open_run(tmp_path / "run").content["settings"]
    expected = {
        "optimiser": "adam", "decay": 0.0, "batch_size": 16, "learning_rate": 0.002, "seed": 3, "fusion": "fc",
    }  # fmt: skip
    assert {name: settings[name] for name in expected} == expected
    assert settings["window"] == open_run(members["one"]).content["settings"]["window"]
    assert call("fuse", members["one"], "--level", "model-fc", "--run", tmp_path / "two").code == 1
    assert call("fuse", members["one"], members["each"], "--run", tmp_path / "two").code == 2
