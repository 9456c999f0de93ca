"""The experiments of Kollias and Zafeiriou (2020) on OMG-Emotion: taps of one CNN, several RNNs, fusion.

Where the paper is silent the choice stands in a recipe's `deviations`; where it can be read in two ways, the other one
is a variant. `Table 1` and `Table 8` hold other authors' numbers and have no recipe.

    emopipe reproduce kollias2020/cnn3rnn-pool2-pool5-fc --root FOLDER_OF_AFFWILD2_AND_OMG
    make reproduce-omg ROOT=FOLDER_OF_AFFWILD_AFFWILD2_AND_OMG
    emopipe recipes compare kollias2020
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from emopipe.config import FacesConfig
from emopipe.datasets.phantom_layouts import PhantomSettings
from emopipe.datasets.splits import Folds
from emopipe.models.tap_heads import TapHeadConfig
from emopipe.models.windows import WindowConfig
from emopipe.recipes import kollias2020_sentences as say
from emopipe.recipes.recipe import Experiment, Paper, Place, Recipe, Table
from emopipe.recipes.utterances import (
    FoldedExperiment,
    FusionExperiment,
    SingleTaskExperiment,
    Steps,
    UtteranceExperiment,
)
from emopipe.stages.cnn_config import TrainCnnConfig
from emopipe.stages.rnn_config import TrainRnnConfig

_CCC = ("ccc_valence", "ccc_arousal", "ccc_mean")
_REGIONS = ("positive_low", "positive_high", "negative_low", "negative_high", "overall")
_ERRORS = tuple(f"mse_{region}_{target}" for region in _REGIONS for target in ("valence", "arousal"))
PAPER: Final = Paper(
    "D. Kollias and S. Zafeiriou, Exploiting multi-CNN features in CNN-RNN based Dimensional Emotion Recognition on "
    "the OMG in-the-wild Dataset, IEEE Transactions on Affective Computing, 2020",
    "arXiv:1910.01417",
    (
        Table(
            "Table 3", "CCC on the OMG test set, pre-trained on Aff-Wild2, with (without) post-processing.", _CCC, True
        ),
        Table("Table 4", "CCC on the OMG test set, by what the networks are pre-trained on.", _CCC),
        Table("Table 5", "CCC on the OMG test set, by the taps of CNN-3RNN.", _CCC),
        Table("Table 6", "CCC on the OMG test set, with and without landmarks.", _CCC),
        Table("Table 7", "Mean squared error in regions of the valence-arousal plane.", _ERRORS),
        Table("Section 5.3", "Networks that the paper names without numbers; 4 to 5 % lower, it says.", _CCC),
        Table("Section 6.1", "Length of the sequences; no number is printed.", _CCC),
        Table("Section 7", "Landmark embeddings, folds, single tasks; no number is printed.", _CCC),
        Table("Section 7.2", "Submissions to the OMG-Emotion challenge; no number is printed here.", _CCC),
    ),
)

# The paper does not say whether taps are pooled. Flat pool2 has 73,728 numbers per frame, a 4 x 4 grid of means 2,048.
_POOL2, _POOL5 = "pool2:grid4", "pool5:flat"
_FLAT_POOL2 = "pool2:flat"
_FACES = FacesConfig(detector="retinaface", alignment="procrustes5")
_CNN = TrainCnnConfig(
    backbone="vggface",
    task="va",
    targets=("valence", "arousal"),
    loss="ccc",
    augment=False,
    epochs=100,
    patience=10,
    steps_per_epoch=1000,
    batch_size=320,  # 4 sequences of 80 frames
    learning_rate=1e-4,
    optimiser="adam",
    decay=0.0,
    weights="vggface",
)
_RESNET = replace(_CNN, backbone="resnet50", weights="imagenet")
_DENSENET = replace(_CNN, backbone="densenet121", weights="imagenet")
_RNN = TrainRnnConfig(
    tap_head=TapHeadConfig((_POOL2, _POOL5, "fc"), rnns="each"),
    window=WindowConfig(length=80, gaps="hold", target="every"),
    task="va",
    targets=("valence", "arousal"),
    loss="ccc",
    epochs=100,
    patience=10,
    batch_size=4,
    learning_rate=1e-3,
    optimiser="adam",
    decay=0.0,
    reduce="median",
)
_END_TO_END_RATE = 1e-5
_CNN3RNN = UtteranceExperiment("omg", _FACES, _CNN, _RNN, "affwild2", (_POOL2, _POOL5), split="test")

_PHANTOMS: Final = {
    "affwild": PhantomSettings("affwild", 7, 2.0, width=160, height=120, frame_rate=10),
    "affwild2": PhantomSettings("affwild2", 7, 2.0, width=160, height=120, frame_rate=10),
    "omg": PhantomSettings("omg", 7, 8.0, width=160, height=120, frame_rate=10),
}


def _recipe(
    name: str,
    places: Place | tuple[Place, ...],
    experiment: Any,
    published: Mapping[str, float | None],
    *notes: str,
    variants: Mapping[str, Experiment] | None = None,
) -> Recipe:
    pretrain = experiment.datasets[0]
    chain = (say.SCRATCH,) if pretrain == "omg" else (say.CHAIN.format(corpus=_NAMES[pretrain]),)
    phantoms = {dataset: _PHANTOMS[dataset] for dataset in experiment.datasets}
    places = (places,) if isinstance(places, Place) else places
    division = (say.AFFWILD_DEV,) if pretrain == "affwild" else ()
    deviations = (*chain, *division, *notes, *say.COMMON)
    return Recipe(f"kollias2020/{name}", PAPER, places, experiment, published, deviations, phantoms, variants or {})


_NAMES: Final = {"affwild": "Aff-Wild", "affwild2": "Aff-Wild2"}


def _variants(experiment: UtteranceExperiment, *more: str) -> dict[str, Experiment]:
    """The other readings of an experiment with RNNs."""
    head = _head_of(experiment)
    found: dict[str, Experiment] = {"end-to-end": replace(experiment, end_to_end_rate=_END_TO_END_RATE)}
    if head.rnns != "none":
        found["keep-probability"] = _with_head(experiment, gru_dropout=0.2)
    if "flat" in more:
        streams = tuple(_FLAT_POOL2 if tap == _POOL2 else tap for tap in head.streams)
        found["flat"] = replace(_with_head(experiment, streams=streams), cached_taps=(_FLAT_POOL2, _POOL5))
    return found


def _head_of(experiment: UtteranceExperiment) -> TapHeadConfig:
    return experiment.rnn.tap_head or TapHeadConfig()


def _with_head(experiment: UtteranceExperiment, **changes: Any) -> UtteranceExperiment:
    head = replace(_head_of(experiment), **changes)
    return replace(experiment, rnn=replace(experiment.rnn, tap_head=head))


def _on(pretrain: str, experiment: UtteranceExperiment) -> UtteranceExperiment:
    folds = Folds(10, 0, "keep-test") if pretrain == "affwild" else None  # it has no validation part
    return replace(experiment, pretrain=pretrain, pretrain_folds=folds)


def _fused(level: Any, *members: UtteranceExperiment) -> FusionExperiment:
    return FusionExperiment(members, level, _RNN)


def _ccc(valence: float, arousal: float, mean: float | None = None) -> dict[str, float | None]:
    found: dict[str, float | None] = {"ccc_valence": valence, "ccc_arousal": arousal}
    return found if mean is None else {**found, "ccc_mean": mean}


def _table_3(with_: tuple[float, float, float], without: tuple[float, float, float]) -> dict[str, float | None]:
    names = ("valence", "arousal", "mean")
    raw = {f"ccc_{name}_raw": value for name, value in zip(names, without, strict=True)}
    return {**_ccc(*with_), **raw}


_NOTHING: Final[dict[str, float | None]] = dict.fromkeys(_CCC)

# === Table 3 ===

_FRAMES = _with_head(_CNN3RNN, streams=("fc",), rnns="none", fc_tap=_POOL5)
_POOLED_FRAMES = replace(_with_head(_FRAMES, fc_tap="avg_pool", fc_units=1500), cnn=_RESNET, cached_taps=("avg_pool",))
_AFFWILDNET = _with_head(_POOLED_FRAMES, rnns="one")
_CNN1RNN = _with_head(_CNN3RNN, rnns="one")


def _table_3_recipe(
    name: str, label: str, experiment: UtteranceExperiment, *rows: tuple[float, float, float]
) -> Recipe:
    notes = (say.FIXED,) if _head_of(experiment).rnns == "none" else (say.FIXED, say.DROPOUT)
    published = _table_3(*rows)
    return _recipe(name, Place("Table 3", label), experiment, published, *notes, variants=_variants(experiment))


VGGFACE = _table_3_recipe("vggface", "VGG-Face", _FRAMES, (0.378, 0.203, 0.291), (0.361, 0.193, 0.277))
DENSENET121 = _table_3_recipe(
    "densenet121", "DenseNet-121", replace(_POOLED_FRAMES, cnn=_DENSENET), (0.365, 0.191, 0.278), (0.350, 0.184, 0.267)
)
RESNET50 = _table_3_recipe("resnet50", "ResNet-50", _POOLED_FRAMES, (0.359, 0.195, 0.277), (0.344, 0.189, 0.267))
AFFWILDNET = _table_3_recipe("affwildnet", "AffWildNet", _AFFWILDNET, (0.409, 0.224, 0.317), (0.390, 0.219, 0.305))
DENSENET_RNN = _table_3_recipe(
    "densenet-rnn", "DenseNet-RNN", replace(_AFFWILDNET, cnn=_DENSENET), (0.394, 0.211, 0.303), (0.378, 0.209, 0.294)
)
CNN1RNN = _recipe(
    "cnn1rnn-pool2-pool5-fc",
    (
        Place("Table 3", "CNN-1RNN-2nd-pool_last-pool_fc"),
        Place("Table 4", "CNN-1RNN, Aff-Wild2", 2),
        Place("Table 6", "CNN-1RNN, with landmarks", 1),
    ),
    _CNN1RNN,
    _table_3((0.449, 0.303, 0.376), (0.441, 0.297, 0.369)),
    say.FIXED,
    say.TAPS_DEVIATION,
    say.DROPOUT,
    variants=_variants(_CNN1RNN, "flat"),
)
_TABLE_7: Final = (0.101, 0.031, 0.055, 0.021, 0.154, 0.061, 0.110, 0.040, 0.110, 0.041)
CNN3RNN = _recipe(
    "cnn3rnn-pool2-pool5-fc",
    (
        Place("Table 3", "CNN-3RNN-2nd-pool_last-pool_fc"),
        Place("Table 4", "CNN-3RNN, Aff-Wild2", 5),
        Place("Table 5", "2nd pool + last pool + fc", 3),
        Place("Table 6", "CNN-3RNN, with landmarks", 3),
        Place("Table 7", "CNN-3RNN-2nd-pool_last-pool_fc"),
    ),
    _CNN3RNN,
    {**_table_3((0.472, 0.329, 0.401), (0.463, 0.322, 0.393)), **dict(zip(_ERRORS, _TABLE_7, strict=True))},
    say.FIXED,
    say.TAPS_DEVIATION,
    say.DROPOUT,
    variants=_variants(_CNN3RNN, "flat"),
)
FUSION_DECISION = _recipe(
    "fusion-decision",
    Place("Table 3", "Decision-Level Fusion", 7),
    _fused("decision", _CNN1RNN, _CNN3RNN),
    _table_3((0.501, 0.332, 0.417), (0.482, 0.321, 0.402)),
    *say.FUSED,
    "A network with a negative CCC on the validation set weighs nothing.",
)
FUSION_MODEL_FC = _recipe(
    "fusion-model-fc",
    Place("Table 3", "Model-Level Fusion + FC", 8),
    _fused("model-fc", _CNN1RNN, _CNN3RNN),
    _table_3((0.518, 0.348, 0.433), (0.500, 0.328, 0.414)),
    *say.FUSED,
)
FUSION_MODEL_RNN = _recipe(
    "fusion-model-rnn",
    (
        Place("Table 3", "Model-Level Fusion + RNN", 9),
        Place("Table 4", "Model-level Fusion + RNN, Aff-Wild2", 8),
        Place("Table 6", "Model-level Fusion + RNN, with landmarks", 5),
    ),
    _fused("model-rnn", _CNN1RNN, _CNN3RNN),
    _table_3((0.535, 0.365, 0.450), (0.512, 0.340, 0.426)),
    *say.FUSED,
)

# === Table 4 ===


def _table_4(kind: str, pretrain: str, position: int, label: str, ccc: tuple[float, float]) -> Recipe:
    one, three = _on(pretrain, _CNN1RNN), _on(pretrain, _CNN3RNN)
    experiment: Any = {"cnn1rnn": one, "cnn3rnn": three}.get(kind) or _fused("model-rnn", one, three)
    corpus = _NAMES.get(pretrain, "scratch")
    place = Place("Table 4", f"{label}, {corpus}", position)
    notes = say.FUSED if kind.startswith("fusion") else (say.FIXED, say.TAPS_DEVIATION, say.DROPOUT)
    variants = {} if kind.startswith("fusion") else _variants(experiment, "flat")
    return _recipe(f"{kind}-{pretrain or 'scratch'}", place, experiment, _ccc(*ccc), *notes, variants=variants)


CNN1RNN_SCRATCH = _table_4("cnn1rnn", "", 0, "CNN-1RNN", (0.371, 0.210))
CNN1RNN_AFFWILD = _table_4("cnn1rnn", "affwild", 1, "CNN-1RNN", (0.419, 0.278))
CNN3RNN_SCRATCH = _table_4("cnn3rnn", "", 3, "CNN-3RNN", (0.385, 0.192))
CNN3RNN_AFFWILD = _table_4("cnn3rnn", "affwild", 4, "CNN-3RNN", (0.448, 0.302))
FUSION_SCRATCH = _table_4("fusion-model-rnn", "", 6, "Model-level Fusion + RNN", (0.431, 0.265))
FUSION_AFFWILD = _table_4("fusion-model-rnn", "affwild", 7, "Model-level Fusion + RNN", (0.511, 0.342))

# === Table 5 ===


def _table_5(position: int, label: str, taps: str, *ccc: float, head: str = "cnn3rnn") -> Recipe:
    names = taps.split("-")
    streams = tuple("fc" if name == "fc" else f"{name}:{'flat' if name == 'pool5' else 'grid4'}" for name in names)
    # fc is fed by the last pooling whether or not an RNN reads that too.
    changes = {"streams": streams, "fc_tap": _POOL5 if "fc" in streams else ""}
    cached = tuple(dict.fromkeys((*(tap for tap in streams if tap != "fc"), *([_POOL5] if "fc" in streams else []))))
    experiment = replace(_with_head(_CNN3RNN, **changes), cached_taps=cached)
    place = Place("Table 5", label, position)
    notes = (say.FIXED, say.POOLED, say.DROPOUT)
    return _recipe(f"{head}-{taps}", place, experiment, _ccc(*ccc), *notes, variants=_variants(experiment))


CNN3RNN_CONV8 = _table_5(1, "8th conv + last pool + fc", "conv8-pool5-fc", 0.416, 0.261, 0.339)
CNN3RNN_CONV5 = _table_5(2, "5th conv + last pool + fc", "conv5-pool5-fc", 0.455, 0.322, 0.389)
CNN3RNN_CONV3_CONV7 = _table_5(4, "3rd conv + 7th conv + fc", "conv3-conv7-fc", 0.402, 0.267, 0.335)
CNN3RNN_CONV13 = _table_5(5, "last conv + last pool + fc", "conv13-pool5-fc", 0.440, 0.248, 0.344)
CNN3RNN_CONV678 = _table_5(6, "6th conv + 7th conv + 8th conv", "conv6-conv7-conv8", 0.328, 0.162, 0.245)
CNN3RNN_CONV789 = _table_5(7, "7th conv + 8th conv + 9th conv", "conv7-conv8-conv9", 0.334, 0.172, 0.253)
CNN3RNN_CONV345 = _table_5(8, "3rd conv + 4th conv + 5th conv", "conv3-conv4-conv5", 0.345, 0.185, 0.265)

# === Table 6 ===

_NO_LANDMARKS = (_with_head(_CNN1RNN, landmarks=False), _with_head(_CNN3RNN, landmarks=False))
CNN1RNN_NO_LANDMARKS = _recipe(
    "cnn1rnn-no-landmarks",
    Place("Table 6", "CNN-1RNN, without landmarks", 0),
    _NO_LANDMARKS[0],
    _ccc(0.429, 0.291, 0.360),
    say.FIXED,
    say.TAPS_DEVIATION,
    say.DROPOUT,
    variants=_variants(_NO_LANDMARKS[0], "flat"),
)
CNN3RNN_NO_LANDMARKS = _recipe(
    "cnn3rnn-no-landmarks",
    Place("Table 6", "CNN-3RNN, without landmarks", 2),
    _NO_LANDMARKS[1],
    _ccc(0.454, 0.310, 0.382),
    say.FIXED,
    say.TAPS_DEVIATION,
    say.DROPOUT,
    variants=_variants(_NO_LANDMARKS[1], "flat"),
)
FUSION_NO_LANDMARKS = _recipe(
    "fusion-model-rnn-no-landmarks",
    Place("Table 6", "Model-level Fusion + RNN, without landmarks", 4),
    _fused("model-rnn", *_NO_LANDMARKS),
    _ccc(0.524, 0.352, 0.438),
    *say.FUSED,
)

# === Named in the text ===


def _named(name: str, label: str, experiment: UtteranceExperiment, *notes: str, table: str = "Section 5.3") -> Recipe:
    notes = (say.FIXED, say.DROPOUT, *notes, say.NO_NUMBER)
    variants = _variants(experiment)
    if _head_of(experiment).rnns == "none":
        notes = tuple(note for note in notes if note != say.DROPOUT)
    return _recipe(name, Place(table, label), experiment, _NOTHING, *notes, variants=variants)


_TWO = _with_head(_CNN3RNN, streams=(_POOL5, "fc"))
CNN2RNN = _named("cnn2rnn", "CNN-2RNN", _TWO, say.TWO_LAYERS)
CNN2RNN_1FC = _named("cnn2rnn-1fc", "CNN-2RNN-1FC", _with_head(_TWO, joint_units=128), say.TWO_LAYERS, say.JOINT_UNITS)
_TWO_TO_ONE = _with_head(_TWO, rnns="one")
CNN2TO1RNN = _named("cnn2to1rnn", "CNN2-to-1RNN", _TWO_TO_ONE, say.TWO_LAYERS)
CNN3RNN_1FC = _named("cnn3rnn-1fc", "CNN-3RNN-1FC", _with_head(_CNN3RNN, joint_units=128), say.POOLED, say.JOINT_UNITS)
EMBEDDING_512, EMBEDDING_1024, EMBEDDING_2048 = (
    _named(
        f"landmark-embedding-{units}",
        f"CNN-3RNN, landmarks through a layer of {units}",
        _with_head(_CNN3RNN, landmark_units=units),
        say.POOLED,
        table="Section 7",
    )
    for units in (512, 1024, 2048)
)
SEQUENCE_40, SEQUENCE_60, SEQUENCE_80, SEQUENCE_100 = (
    _named(
        f"sequence-{length}",
        f"VGG-Face on sequences of {length} frames",
        replace(_FRAMES, rnn=replace(_FRAMES.rnn, window=replace(_FRAMES.rnn.window, length=length))),
        table="Section 6.1",
    )
    for length in (40, 60, 80, 100)
)
SINGLE_TASK = _recipe(
    "single-task",
    Place("Section 7", "CNN-3RNN for valence and another for arousal"),
    SingleTaskExperiment(_CNN3RNN),
    _NOTHING,
    *say.SHARED,
    "The CNN learned both targets; each head learns one.",
    say.NO_NUMBER,
)
TEN_FOLD = _recipe(
    "ten-fold",
    Place("Section 7", "CNN-3RNN, mean of ten networks, one per fold"),
    FoldedExperiment(_CNN3RNN),
    _NOTHING,
    *say.SHARED,
    "Folds are of the official training and validation videos, by source; the ten networks' predictions of the "
    "official test set are averaged.",
    say.NO_NUMBER,
)
_SUBMITTED = tuple(
    _on("affwild", replace(member, cached_taps=("conv13:grid4", _POOL5)))
    for member in (_TWO_TO_ONE, _with_head(_CNN3RNN, streams=("conv13:grid4", _POOL5, "fc")))
)
_STEPS: Final[tuple[tuple[int, str, Steps], ...]] = (
    (1, "Submission I: as predicted", "none"),
    (2, "Submission II: median filter", "median"),
    (3, "Submission III: median filter and smoothing", "all"),
)
SUBMISSION_1, SUBMISSION_2, SUBMISSION_3 = (
    _recipe(
        f"submission-{number}",
        Place("Section 7.2", label),
        replace(_fused("decision", *_SUBMITTED), steps=steps),
        _NOTHING,
        "CNN2-to-1RNN and CNN-3RNN-last-conv_last-pool_fc; how the two were put together is not said, here by the "
        "decision-level fusion.",
        say.TWO_LAYERS,
        *say.SHARED,
        say.NO_NUMBER,
    )
    for number, label, steps in _STEPS
)
