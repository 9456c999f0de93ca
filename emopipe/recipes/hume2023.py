"""The experiments of Qian et al. (2023) on Hume-Reaction: 32 frames of a face, the sound, and an LSTM for each.

The summary that these recipes follow gives the corpus, the crops, the backbones, the number of frames, the loss and two
scores. Everything else is a default that stands in a recipe's `deviations`; where another source has a number for this
corpus, that is the baseline of MuSe 2022 (Christ et al., arXiv:2207.05691).

    emopipe reproduce hume2023/eri-resnet50 --root HUME
    make reproduce-hume ROOT=HUME
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from emopipe.config import FacesConfig
from emopipe.datasets.phantom_layouts import PhantomSettings
from emopipe.models.multimodal import MultimodalHeadConfig
from emopipe.models.spectrogram_cnn import AudioRequest
from emopipe.models.windows import WindowConfig
from emopipe.recipes.reactions import ReactionExperiment
from emopipe.recipes.recipe import Experiment, Paper, Place, Recipe, Table
from emopipe.spectrograms import SpectrogramConfig
from emopipe.stages.cnn_config import TrainCnnConfig
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.spec import BackboneRequest

_SCORES: Final = ("pearson_mean",)
_CAPTION: Final = "Mean of seven Pearson correlations; printed on the test set, ours on the validation set."
PAPER: Final = Paper(
    "Y. Qian, A. Kargarandehkordi, O. C. Mutlu, S. Surabhi, M. Honarmand, D. P. Wall and P. Washington, Computer "
    "Vision Estimation of Emotion Reaction Intensity in the Wild, 2023",
    "arXiv:2303.10741",
    (
        Table("Results", _CAPTION, _SCORES),
        Table("Questions", "Networks and settings that the paper names or asks for without a number.", _SCORES),
    ),
)

_FRAMES = 32
_FACES = FacesConfig(detector="retinaface", alignment="box")
_VGG16, _RESNET50 = BackboneRequest("vgg16"), BackboneRequest("resnet50")
_VGG16_TAP, _RESNET50_TAP = ("pool5:gap",), ("avg_pool",)  # under which the trained networks have them too
_CNN = TrainCnnConfig(
    backbone="vgg16",
    weights="imagenet",
    task="reactions",
    loss="mse",
    augment=True,
    epochs=20,
    patience=5,
    steps_per_epoch=1000,
    batch_size=64,
    optimiser="adam",
    learning_rate=1e-4,
    decay=0.0,
)
# The features that MuSe 2022 gives out with this corpus: DenseNet121, 128 mel bands, viridis, 1 s every 0.5 s.
_AUDIO = AudioRequest("densenet121", taps=("avg_pool",), spectrogram=SpectrogramConfig(window_s=1.0, hop_s=0.5))
_LSTM = TrainRnnConfig(
    cells="lstm",
    units=(64,),
    dropout=0.5,
    standardise=True,
    output_activation="sigmoid",
    window=WindowConfig(_FRAMES, gaps="hold", target="clip", sampling="uniform"),
    task="reactions",
    loss="mse",
    select="pearson",
    epochs=30,
    patience=15,
    batch_size=64,
    optimiser="adam",
    learning_rate=1e-4,
    decay=0.0,
)
_BOTH = replace(_LSTM, units=(), dropout=0.0, multimodal=MultimodalHeadConfig("lstm", (64,), fusion_units=64))

_HELD_OUT: Final = (
    "The labels of the test set are not given out. Ours is the score of the official validation set, which picks the "
    "epoch too; the printed number is of the test set."
)
_BASELINE: Final = (
    "Sizes and training are not said. An LSTM has 64 units, training drops half of what the outputs are given, and "
    "these are seven sigmoids; Adam at 1e-4, batches of 64, at most 30 epochs, 15 without a better one: the MuSe 2022 "
    "baseline, which has three recurrent layers where this has one.",
    "Features are brought to the mean and the variance of the training set, as in the MuSe 2022 baseline.",
)
_PICTURES: Final = (
    "Which frames of a clip is not said: evenly spaced ones, the first and the last among them. A frame without a face "
    "repeats the one before it.",
    "Crops are RetinaFace's box at 96 x 96 pixels; size and margin are not said.",
)
_FROZEN: Final = (
    "Whether the CNN learns is not said: it stays as ImageNet left it, since the summary speaks of extracting features "
    "with pre-trained CNNs and of fine-tuning as a possibility only. Variant: fine-tuned.",
    "Under the variant fine-tuned the CNN first learns the seven intensities of a clip from its single frames: Adam at "
    "1e-4, batches of 64, epochs of 1,000 batches, numbers in [-1, 1]; its features are taken at the same layer.",
)
_HEARD: Final = (
    "Which network and settings of DeepSpectrum is not said: DenseNet121 on pictures of 128 mel bands, 1 s every "
    "0.5 s, as the features that MuSe 2022 gives out with this corpus. The pictures are emopipe's own.",
)
_FEW_STEPS: Final = "A clip has about 23 windows of sound; the LSTM takes 32 evenly spaced ones, so some of them twice."
_NO_NUMBER: Final = "No number is printed for this row."
_FACTS: Final = {
    "clips, train, validation and test": (15_806, 4_657, 4_604),
    "MuSe 2022 baseline on the validation set, VGGFace2, DeepSpectrum": (0.2488, 0.1087),
    "winner of MuSe 2022 on the test set": 0.3879,
}
_PHANTOMS: Final = {"hume": PhantomSettings("hume", 7, 5.0, width=160, height=120, frame_rate=10)}


def _recipe(
    name: str,
    place: Place,
    experiment: ReactionExperiment,
    published: float | None,
    *deviations: str,
    variants: Mapping[str, Experiment] | None = None,
) -> Recipe:
    unpublished = () if published is not None else (_NO_NUMBER,)
    return Recipe(
        name=f"hume2023/{name}",
        paper=PAPER,
        places=(place,),
        experiment=experiment,
        published={"pearson_mean": published},
        deviations=(*unpublished, _HELD_OUT, *deviations, *_BASELINE),
        phantoms=_PHANTOMS,
        variants=variants or {},
        facts=_FACTS,
    )


def _fine_tuned(experiment: ReactionExperiment, backbone: str) -> dict[str, Experiment]:
    return {"fine-tuned": replace(experiment, visual=replace(_CNN, backbone=backbone))}


_SEEN_BY_VGG16 = ReactionExperiment("hume", _LSTM, _FACES, _VGG16, _VGG16_TAP)
_SEEN_BY_RESNET50 = ReactionExperiment("hume", _LSTM, _FACES, _RESNET50, _RESNET50_TAP)

ERI_VGG16 = _recipe(
    "eri-vgg16",
    Place("Results", "VGG16, LSTM"),
    _SEEN_BY_VGG16,
    None,
    *_PICTURES,
    *_FROZEN,
    variants=_fine_tuned(_SEEN_BY_VGG16, "vgg16"),
)
ERI_RESNET50 = _recipe(
    "eri-resnet50",
    Place("Results", "ResNet50, LSTM"),
    _SEEN_BY_RESNET50,
    0.4080,
    *_PICTURES,
    *_FROZEN,
    "The printed number is above the best one of MuSe 2022 on this test set, 0.3879.",
    variants=_fine_tuned(_SEEN_BY_RESNET50, "resnet50"),
)
ERI_AUDIO = _recipe(
    "eri-audio",
    Place("Questions", "DeepSpectrum, LSTM"),
    ReactionExperiment("hume", _LSTM, audio=_AUDIO),
    None,
    *_HEARD,
    _FEW_STEPS,
)
ERI_MULTIMODAL = _recipe(
    "eri-multimodal",
    Place("Results", "Multimodal"),
    ReactionExperiment("hume", _BOTH, _FACES, _RESNET50, _RESNET50_TAP, _AUDIO),
    0.2980,
    *_PICTURES,
    *_HEARD,
    "Which CNN sees the pictures is not said: ResNet50, as ImageNet left it.",
    "The multi-modal layer is one of 64 units with ReLU over what both LSTMs say at their last step; a frame goes with "
    "the window of sound that is nearest in time.",
)
ERI_FRAMES_16 = _recipe(
    "eri-frames-16",
    Place("Questions", "ResNet50, LSTM, 16 frames"),
    replace(_SEEN_BY_RESNET50, rnn=replace(_LSTM, window=replace(_LSTM.window, length=16))),
    None,
    *_PICTURES,
    "16 frames instead of 32. The CNN stays as ImageNet left it, as in eri-resnet50, whose features these are.",
)
