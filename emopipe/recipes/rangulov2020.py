"""The experiments of Rangulov and Fahim (2020) on Aff-Wild2, CK+ and JAFFE.

Settings are those of the code published with the paper (github.com/DenisRang/Combined-CNN-RNN-for-emotion-recognition)
wherever it departs from the paper; each recipe says so in `deviations`, and where it matters the paper's side is a
variant. Numbers to expect: Table III (Aff-Wild2), Table I (CK+, JAFFE). One epoch of the head with three layers took
217 s on their V100, one of the CNN 326 s.

    emopipe reproduce rangulov2020/cnn-gru3 --root AFFWILD2
    make reproduce-affwild2 ROOT=AFFWILD2
    make reproduce-ckplus ROOT=FOLDER_OF_CKPLUS_AND_JAFFE
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from emopipe.config import FacesConfig
from emopipe.datasets.phantom_layouts import PhantomSettings
from emopipe.datasets.splits import Folds
from emopipe.models.windows import WindowConfig
from emopipe.recipes.experiments import FoldsExperiment, FrameExperiment, TransferExperiment
from emopipe.recipes.recipe import Experiment, Paper, Place, Recipe, Table
from emopipe.stages.cnn_config import TrainCnnConfig
from emopipe.stages.rnn_config import TrainRnnConfig

_NUMBERS = ("rmse_valence", "rmse_arousal", "ccc_valence", "ccc_arousal", "ccc_mean")
PAPER: Final = Paper(
    "D. Rangulov and M. Fahim, Emotion Recognition on large video dataset based on Convolutional Feature Extractor and "
    "Recurrent Neural Network, 2020",
    "arXiv:2006.11168",
    (
        Table("Fig. 3", "Subsets of Aff-Wild2 of more even density; no number is printed.", _NUMBERS),
        Table("Table I", "Accuracy on CK+ and JAFFE.", ("accuracy", "best_epoch")),
        Table("Section V", "Other losses and outputs on Aff-Wild2; no number is printed.", _NUMBERS),
        Table("Table III", "RMSE and CCC on the validation split of Aff-Wild2.", (*_NUMBERS, "best_epoch")),
    ),
)

# === Aff-Wild2 ===

_CROPS = FacesConfig(detector="none", alignment="given", resize="nearest")  # keras' load_img; the paper says nothing
_CNN = TrainCnnConfig(
    backbone="khorrami",
    task="va",
    targets=("valence", "arousal"),
    loss="ccc",
    balance="midpoint",
    epochs=100,
    patience=10,
    steps_per_epoch=1000,
    batch_size=128,
    learning_rate=0.01,
    momentum=0.9,
    decay=1e-5,
)
_SUBSET_3 = FrameExperiment("affwild2", _CROPS, _CNN)
_GRU_3 = TrainRnnConfig(
    cells="gru",
    layers=3,
    window=WindowConfig(length=100, stride=1, gaps="drop", target="next", labelled="every_step"),
    task="va",
    targets=("valence", "arousal"),
    loss="ccc",
    epochs=100,
    patience=10,
    batch_size=256,
    learning_rate=0.01,
    momentum=0.9,
    decay=1e-5,
)
_GRU_1 = replace(_GRU_3, layers=1)
_RNN_1 = replace(_GRU_1, cells="simple", decay=0.0, clip_value=100.0)

_SCORES: Final = (
    "CCC and RMSE are computed once over all scored frames of the validation split. The printed ones are running means "
    "over shuffled batches, which are another quantity; the rows `batch_ccc` are the means over batches that training "
    "logged at its best epoch."
)
_CNN_DEVIATIONS: Final = (
    "Batches of 128 frames and a learning rate of 0.01 / (1 + 1e-5 step), as the code has them; the paper says 64, a "
    "constant rate and a weight decay of 1e-5, of which the code has none. Variant: paper-batch.",
    "An epoch is 1,000 batches, as in the runs of the code that the table is from.",
    "Every image is augmented anew, as the paper says; the code draws one transform and gives it to all images.",
    "Validation picks the epoch by the mean CCC and training ends after 10 epochs without a better one; the paper "
    "stops early without saying when, the code was stopped by hand and picked the epoch by loss.",
    _SCORES,
)
_BALANCE_DEVIATION: Final = (
    "A frame is kept with probability 1 - k / k_max, as the code does and the text means; Eq. 1 of the paper prints "
    "k / k_max. Cells are those of [-1, 1] on both axes, where the code takes the valence axis' edges for both and "
    "counts the frames labelled (0, 0) that it drops. Variant: literal-balance."
)
_UNPUBLISHED: Final = (
    "The paper names this experiment and prints no number for it; that it ran on subset 3 is our reading.",
)
_RNN_DEVIATIONS: Final = (
    "The features are those of the CNN trained on subset 3 (recipe cnn-subset3), as in the paper; its training is the "
    "same run.",
    "A window of 100 frames gives the label of the frame behind it, as in the code; Fig. 5 of the paper, read "
    "literally, has 101 frames.",
    "Batches of 256 windows, as the code has them; the paper says 128. Variant: paper-batch.",
    "Recurrent kernels begin orthogonal, as in the code; the paper says Glorot for all.",
    "Validation picks the epoch by the mean CCC over all windows and training ends after 10 epochs without a better "
    "one; the code was stopped by hand and picked the epoch by loss.",
    "Frames without a full window are interpolated, as the code does to submit. They are scored here; the printed "
    "numbers are of full windows only.",
    _SCORES,
)
_WILD: Final = {"affwild2": PhantomSettings("affwild2", 7, 3.0, width=160, height=120, frame_rate=10)}
_FACTS: Final = {
    "training frames, whole": 1_620_421,
    "training frames, subset 3": 1_030_963,
    "sequences of 100 feature vectors": 1_496_928,
    "CCC of the challenge's baseline, valence and arousal": (0.14, 0.24),
}


def _wild(
    name: str,
    place: Place,
    experiment: FrameExperiment,
    published: Mapping[str, float | None],
    deviations: tuple[str, ...],
    variants: Mapping[str, Experiment],
) -> Recipe:
    named = f"rangulov2020/{name}"
    return Recipe(named, PAPER, (place,), experiment, published, deviations, _WILD, variants, _FACTS)


def _cnn(name: str, place: Place, cnn: TrainCnnConfig, published: Mapping[str, float | None], *notes: str) -> Recipe:
    experiment = replace(_SUBSET_3, cnn=cnn)
    variants = {"paper-batch": replace(experiment, cnn=replace(cnn, batch_size=64))}
    if cnn.balance != "none":
        variants["literal-balance"] = replace(experiment, cnn=replace(cnn, literal_balance=True))
        notes = (_BALANCE_DEVIATION, *notes)
    return _wild(name, place, experiment, published, (*_CNN_DEVIATIONS, *notes), variants)


def _rnn(name: str, place: Place, rnn: TrainRnnConfig, published: Mapping[str, float | None], *notes: str) -> Recipe:
    experiment = replace(_SUBSET_3, rnn=rnn, fill="linear")
    variants = {"paper-batch": replace(experiment, rnn=replace(rnn, batch_size=128))}
    return _wild(name, place, experiment, published, (*_RNN_DEVIATIONS, *notes), variants)


def _table_iii(rmse: tuple[float, float], ccc: tuple[float, float], epoch: int) -> dict[str, float | None]:
    """A row of Table III: valence and arousal each, and the best epoch."""
    names = ("rmse_valence", "rmse_arousal", "ccc_valence", "ccc_arousal", "best_epoch")
    return dict(zip(names, (*rmse, *ccc, epoch), strict=True))


_NOTHING = dict.fromkeys(("rmse_valence", "rmse_arousal", "ccc_valence", "ccc_arousal"))
_NO_VALENCE = {"rmse_arousal": None, "ccc_arousal": None}
_NO_AROUSAL = {"rmse_valence": None, "ccc_valence": None}

CNN_WHOLE = _cnn(
    "cnn-whole",
    Place("Table III", "CNN over whole Aff-Wild2"),
    replace(_CNN, balance="none"),
    _table_iii((0.47, 0.30), (0.20, 0.23), 2),
)
CNN_SUBSET1 = _cnn(
    "cnn-subset1",
    Place("Fig. 3", "subset 1 (k_max is the largest cell)"),
    replace(_CNN, balance="max"),
    _NOTHING,
    "The paper defines this subset and prints no number for it.",
)
CNN_SUBSET2 = _cnn(
    "cnn-subset2",
    Place("Fig. 3", "subset 2 (k_max is the mean cell)"),
    replace(_CNN, balance="mean"),
    _NOTHING,
    "The paper defines this subset and prints no number for it.",
)
CNN_SUBSET3 = _cnn(
    "cnn-subset3",
    Place("Table III", "CNN over subset 3"),
    _CNN,
    _table_iii((0.43, 0.30), (0.22, 0.22), 1),
)
CNN_MSE = _cnn(
    "cnn-mse",
    Place("Section V", "mean squared error in place of CCC"),
    replace(_CNN, loss="mse"),
    _NOTHING,
    *_UNPUBLISHED,
)
CNN_VALENCE_ONLY = _cnn(
    "cnn-valence-only",
    Place("Section V", "one output: valence"),
    replace(_CNN, targets=("valence",)),
    _NO_AROUSAL,
    *_UNPUBLISHED,
)
CNN_AROUSAL_ONLY = _cnn(
    "cnn-arousal-only",
    Place("Section V", "one output: arousal"),
    replace(_CNN, targets=("arousal",)),
    _NO_VALENCE,
    *_UNPUBLISHED,
)
CNN_RNN1 = _rnn(
    "cnn-rnn1",
    Place("Table III", "CNN + Simple RNN, 1 layer"),
    _RNN_1,
    _table_iii((0.49, 0.37), (0.21, 0.22), 4),
    "A constant learning rate and gradients cut off at 100, as the code has them for this row alone.",
)
CNN_GRU1 = _rnn(
    "cnn-gru1",
    Place("Table III", "CNN + GRU, 1 layer"),
    _GRU_1,
    _table_iii((0.51, 0.32), (0.20, 0.35), 8),
    "The published notebook of this row is of another, faulty run; here it has the settings of three layers.",
)
CNN_GRU3 = _rnn(
    "cnn-gru3",
    Place("Table III", "CNN + GRU, 3 layer"),
    _GRU_3,
    _table_iii((0.45, 0.29), (0.23, 0.39), 17),
)

# === CK+ and JAFFE ===

# The cascade sees the whole picture, 640 px wide in CK+ and 256 in JAFFE, as theirs does.
_HAAR = FacesConfig(detector="haar", alignment="box", working_size_px=640, retry_size_px=0)
_PICTURES = TrainCnnConfig(
    backbone="khorrami",
    task="expr",
    loss="crossentropy",
    epochs=100,
    patience=None,
    batch_size=64,
    learning_rate=0.01,
    momentum=0.9,
    decay=1e-5,
    folds=Folds(num_folds=10, fold=0, rule="subjects"),
)
_PUBLISHED_SPLIT = replace(_PICTURES, folds=Folds(num_folds=10, fold=0, rule="images"))
_CKPLUS = FoldsExperiment("ckplus", _HAAR, _PICTURES)
_CKPLUS_PUBLISHED = FoldsExperiment("ckplus", _HAAR, _PUBLISHED_SPLIT)

_CLASS_DEVIATIONS: Final = (
    "Grey values are divided by 255 once; the code does it twice, which its brightness step hides in training.",
    "Every image is augmented anew, as the paper says; the code draws one transform and gives it to all images.",
    "Validation picks the epoch by macro-F1; the code picked it on the images that it then reports, by accuracy.",
)
_TABLE_II: Final = {
    "CK+, training images per class": {
        "neutral": 295, "anger": 129, "contempt": 51, "disgust": 153, "fear": 60, "happy": 186, "sadness": 84,
        "surprise": 219,
    },
    "JAFFE, images per class": {
        "neutral": 30, "anger": 30, "contempt": None, "disgust": 29, "fear": 32, "happy": 31, "sadness": 31,
        "surprise": 30,
    },
}  # fmt: skip
_CKPLUS_PHANTOM: Final = {"ckplus": PhantomSettings("ckplus", 6)}
_JAFFE_PHANTOM: Final = {**_CKPLUS_PHANTOM, "jaffe": PhantomSettings("jaffe", 2)}

CNN_CKPLUS = Recipe(
    "rangulov2020/cnn-ckplus",
    PAPER,
    (Place("Table I", "CK+"),),
    _CKPLUS,
    {"accuracy": 0.95, "best_epoch": 99},
    (
        "Ten folds that share no person, and one score over the test images of all of them. The code shuffles the "
        "people and takes the last tenth of the images, which cuts one sequence in two, has no sadness in it, and is "
        "also what its best epoch is picked on. Variant: published-split.",
        *_CLASS_DEVIATIONS,
    ),
    _CKPLUS_PHANTOM,
    {"published-split": _CKPLUS_PUBLISHED},
    _TABLE_II,
)
CNN_JAFFE = Recipe(
    "rangulov2020/cnn-jaffe",
    PAPER,
    (Place("Table I", "JAFFE"),),
    TransferExperiment("ckplus", "jaffe", _HAAR, _PUBLISHED_SPLIT),
    {"accuracy": 0.50},
    (
        "The CNN learned from nine tenths of CK+ by the published split, as the paper's did (the same run as variant "
        "published-split of cnn-ckplus). No image of JAFFE takes part in training or in picking the epoch.",
        "JAFFE has 213 images, which is also the sum of Table II; the paper's text says 219.",
        "JAFFE has no contempt; the class stays empty and counts 0 in macro-F1.",
        *_CLASS_DEVIATIONS,
    ),
    _JAFFE_PHANTOM,
    facts=_TABLE_II,
)
