"""What arXiv:1910.01417 prints, number by number, and which recipes stand where; smoke runs are in test_recipe."""

from dataclasses import replace

import pytest

from emopipe.datasets.splits import Folds
from emopipe.recipes.kollias2020 import PAPER
from emopipe.recipes.recipe import RECIPES, find_recipe
from emopipe.recipes.utterances import FoldedExperiment, FusionExperiment, SingleTaskExperiment, UtteranceExperiment

CCC = ("ccc_valence", "ccc_arousal", "ccc_mean")
# With post-processing, and without.
TABLE_3 = {
    "vggface": ((0.378, 0.203, 0.291), (0.361, 0.193, 0.277)),
    "densenet121": ((0.365, 0.191, 0.278), (0.350, 0.184, 0.267)),
    "resnet50": ((0.359, 0.195, 0.277), (0.344, 0.189, 0.267)),
    "affwildnet": ((0.409, 0.224, 0.317), (0.390, 0.219, 0.305)),
    "densenet-rnn": ((0.394, 0.211, 0.303), (0.378, 0.209, 0.294)),
    "cnn1rnn-pool2-pool5-fc": ((0.449, 0.303, 0.376), (0.441, 0.297, 0.369)),
    "cnn3rnn-pool2-pool5-fc": ((0.472, 0.329, 0.401), (0.463, 0.322, 0.393)),
    "fusion-decision": ((0.501, 0.332, 0.417), (0.482, 0.321, 0.402)),
    "fusion-model-fc": ((0.518, 0.348, 0.433), (0.500, 0.328, 0.414)),
    "fusion-model-rnn": ((0.535, 0.365, 0.450), (0.512, 0.340, 0.426)),
}
# From scratch, Aff-Wild, Aff-Wild2.
TABLE_4 = {
    "cnn1rnn-scratch": (0.371, 0.210),
    "cnn1rnn-affwild": (0.419, 0.278),
    "cnn1rnn-pool2-pool5-fc": (0.449, 0.303),
    "cnn3rnn-scratch": (0.385, 0.192),
    "cnn3rnn-affwild": (0.448, 0.302),
    "cnn3rnn-pool2-pool5-fc": (0.472, 0.329),
    "fusion-model-rnn-scratch": (0.431, 0.265),
    "fusion-model-rnn-affwild": (0.511, 0.342),
    "fusion-model-rnn": (0.535, 0.365),
}
TABLE_5 = {
    "cnn3rnn-conv8-pool5-fc": (0.416, 0.261, 0.339),
    "cnn3rnn-conv5-pool5-fc": (0.455, 0.322, 0.389),
    "cnn3rnn-pool2-pool5-fc": (0.472, 0.329, 0.401),
    "cnn3rnn-conv3-conv7-fc": (0.402, 0.267, 0.335),
    "cnn3rnn-conv13-pool5-fc": (0.440, 0.248, 0.344),
    "cnn3rnn-conv6-conv7-conv8": (0.328, 0.162, 0.245),
    "cnn3rnn-conv7-conv8-conv9": (0.334, 0.172, 0.253),
    "cnn3rnn-conv3-conv4-conv5": (0.345, 0.185, 0.265),
}
TABLE_6 = {
    "cnn1rnn-no-landmarks": (0.429, 0.291, 0.360),
    "cnn1rnn-pool2-pool5-fc": (0.449, 0.303, 0.376),
    "cnn3rnn-no-landmarks": (0.454, 0.310, 0.382),
    "cnn3rnn-pool2-pool5-fc": (0.472, 0.329, 0.401),
    "fusion-model-rnn-no-landmarks": (0.524, 0.352, 0.438),
    "fusion-model-rnn": (0.535, 0.365, 0.450),
}
# Region -> mean squared error of valence and arousal.
TABLE_7 = {
    "positive_low": (0.101, 0.031),
    "positive_high": (0.055, 0.021),
    "negative_low": (0.154, 0.061),
    "negative_high": (0.110, 0.040),
    "overall": (0.110, 0.041),
}
NAMES = [name.partition("/")[2] for name in RECIPES if name.startswith("kollias2020/")]


def recipe_of(name):
    return find_recipe(f"kollias2020/{name}")


def experiment_of(name):
    return recipe_of(name).experiment


def published(name, keys=CCC):
    return tuple(recipe_of(name).published[key] for key in keys)


def rows_of(table):
    """The recipes in a table, in its order."""
    placed = [(place.position, name) for name in NAMES for place in recipe_of(name).places if place.table == table]
    return [name for _, name in sorted(placed, key=lambda pair: pair[0])]


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ("Table 3", TABLE_3),
        ("Table 4", TABLE_4),
        ("Table 5", TABLE_5),
        ("Table 6", TABLE_6),
        ("Table 7", ["cnn3rnn-pool2-pool5-fc"]),
    ],
)
def test_every_row_of_the_tables_has_its_recipe_in_the_papers_order(table, names):
    assert rows_of(table) == list(names)
    labels = {place.label for name in NAMES for place in recipe_of(name).places if place.table == table}
    assert len(labels) == len(names)


def test_the_numbers_are_those_of_table_3():
    for name, (with_, without) in TABLE_3.items():
        assert published(name) == with_
        assert published(name, [f"{key}_raw" for key in CCC]) == without
        for ccc in (with_, without):
            assert sum(ccc[:2]) / 2 == pytest.approx(ccc[2], abs=0.00051)


def test_the_numbers_are_those_of_tables_4_to_7():
    for name, ccc in TABLE_4.items():
        assert published(name, CCC[:2]) == ccc
    for name, ccc in {**TABLE_5, **TABLE_6}.items():
        assert published(name) == ccc
    for region, errors in TABLE_7.items():
        keys = [f"mse_{region}_{target}" for target in ("valence", "arousal")]
        assert published("cnn3rnn-pool2-pool5-fc", keys) == errors


def test_no_number_is_there_that_no_table_prints():
    for name in NAMES:
        keys = {key for key, value in recipe_of(name).published.items() if value is not None}
        expected = set()
        if name in TABLE_3:
            expected |= {*CCC, *(f"{key}_raw" for key in CCC)}
        if name in TABLE_4:
            expected |= set(CCC[:2])
        if name in TABLE_5 or name in TABLE_6:
            expected |= set(CCC)
        if name == "cnn3rnn-pool2-pool5-fc":
            expected |= {f"mse_{region}_{target}" for region in TABLE_7 for target in ("valence", "arousal")}
        assert keys == expected, name
    assert len(NAMES) == 42
    assert {place.table for name in NAMES for place in recipe_of(name).places} == {table.name for table in PAPER.tables}


def parts_of(experiment):
    """The heads that an experiment trains."""
    if isinstance(experiment, FusionExperiment):
        return experiment.members
    if isinstance(experiment, FoldedExperiment | SingleTaskExperiment):
        return (experiment.experiment,)
    assert isinstance(experiment, UtteranceExperiment)
    return (experiment,)


def test_what_reads_the_same_features_caches_them_once():
    """A features fingerprint is of corpus, faces, CNN and cached taps."""

    def cached(name):
        return {(part.datasets, part.faces, part.cnn, part.cached_taps) for part in parts_of(experiment_of(name))}

    pooled = cached("cnn1rnn-pool2-pool5-fc")
    assert len(pooled) == 1
    for name in ("vggface", "cnn3rnn-pool2-pool5-fc", "fusion-decision", "fusion-model-fc", "fusion-model-rnn",
                 "cnn1rnn-no-landmarks", "cnn3rnn-no-landmarks", "fusion-model-rnn-no-landmarks", "single-task",
                 "ten-fold", "cnn2rnn", "cnn2to1rnn", "sequence-40", "landmark-embedding-512"):  # fmt: skip
        assert cached(name) == pooled, name
    for kind in ("scratch", "affwild"):
        assert cached(f"cnn1rnn-{kind}") == cached(f"cnn3rnn-{kind}") == cached(f"fusion-model-rnn-{kind}") != pooled
    assert cached("resnet50") == cached("affwildnet")
    assert cached("densenet121") == cached("densenet-rnn") != cached("resnet50")


def test_what_is_cached_is_enough_for_the_head():
    for name in NAMES:
        for experiment in (experiment_of(name), *recipe_of(name).variants.values()):
            for part in parts_of(experiment):
                taps = part.cached_taps or part.rnn.table_taps
                assert set(part.rnn.table_taps) <= set(taps), name


def test_aff_wild_has_no_validation_part_and_lends_a_tenth_of_its_training_videos():
    on_affwild = {name for name in NAMES if "affwild" in experiment_of(name).datasets}
    assert on_affwild == {"cnn1rnn-affwild", "cnn3rnn-affwild", "fusion-model-rnn-affwild",
                          "submission-1", "submission-2", "submission-3"}  # fmt: skip
    for name in NAMES:
        expected = Folds(10, 0, "keep-test") if name in on_affwild else None
        assert {part.pretrain_folds for part in parts_of(experiment_of(name))} == {expected}
        said = any("without a validation set" in sentence for sentence in recipe_of(name).deviations)
        assert said == (name in on_affwild)


def test_fusions_are_of_the_recipes_that_stand_alone():
    pair = (experiment_of("cnn1rnn-pool2-pool5-fc"), experiment_of("cnn3rnn-pool2-pool5-fc"))
    for name in ("fusion-decision", "fusion-model-fc", "fusion-model-rnn"):
        assert experiment_of(name).members == pair  # so their runs are found trained
        assert experiment_of(name).level == name.removeprefix("fusion-")
    for kind in ("scratch", "affwild"):
        members = experiment_of(f"fusion-model-rnn-{kind}").members
        assert members == (experiment_of(f"cnn1rnn-{kind}"), experiment_of(f"cnn3rnn-{kind}"))
        assert [member.pretrain for member in members] == [kind.replace("scratch", "")] * 2
    assert experiment_of("fusion-model-rnn-no-landmarks").members == (
        experiment_of("cnn1rnn-no-landmarks"), experiment_of("cnn3rnn-no-landmarks"),
    )  # fmt: skip
    submitted = [experiment_of(f"submission-{number}") for number in (1, 2, 3)]
    assert [experiment.steps for experiment in submitted] == ["none", "median", "all"]
    assert len({replace(experiment, steps="all") for experiment in submitted}) == 1


def test_the_settings_are_those_of_the_paper():
    for name in NAMES:
        for part in parts_of(experiment_of(name)):
            head, window = part.rnn.tap_head, part.rnn.window
            assert (window.target, window.gaps) == ("every", "hold")
            assert window.length == int(name.rpartition("-")[2]) if name.startswith("sequence") else 80, name
            assert (part.rnn.batch_size, part.rnn.learning_rate, part.rnn.loss) == (4, 1e-3, "ccc")
            assert (part.rnn.reduce, part.dataset, part.split) == ("median", "omg", "test")
            assert (head.units, head.fc_dropout, head.gru_dropout) == ((128, 128), 0.5, 0.8)
            is_pooled = part.cnn.backbone in ("resnet50", "densenet121")
            assert head.fc_units == (1500 if is_pooled else 4096)
            assert part.cnn.weights == ("imagenet" if is_pooled else "vggface")
            assert (part.cnn.learning_rate, part.cnn.loss) == (1e-4, "ccc")
            assert (part.faces.alignment, part.cnn.batch_size) == ("procrustes5", 4 * 80)
            assert part.end_to_end_rate is None
            assert head.landmarks == ("no-landmarks" not in name)
    three = experiment_of("cnn3rnn-pool2-pool5-fc").rnn.tap_head
    one = experiment_of("cnn1rnn-pool2-pool5-fc").rnn.tap_head
    assert three.streams == one.streams == ("pool2:grid4", "pool5:flat", "fc")
    assert (three.rnns, one.rnns) == ("each", "one")
    variants = recipe_of("cnn3rnn-pool2-pool5-fc").variants
    assert set(variants) == {"end-to-end", "keep-probability", "flat"}
    assert variants["end-to-end"].end_to_end_rate in (1e-4, 1e-5)
    assert variants["keep-probability"].rnn.tap_head.gru_dropout == pytest.approx(1 - 0.8)
    assert variants["flat"].rnn.tap_head.streams == ("pool2:flat", "pool5:flat", "fc")
    for name in TABLE_5:
        taps = name.removeprefix("cnn3rnn-").split("-")
        assert [stream.partition(":")[0] for stream in experiment_of(name).rnn.tap_head.streams] == taps
    assert experiment_of("ten-fold").num_folds == 10
    assert experiment_of("single-task").targets == ("valence", "arousal")
