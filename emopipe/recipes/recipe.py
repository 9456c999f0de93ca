"""A recipe: one experiment of a paper as one object, with what the paper printed and where we depart from it.

A paper is one file here and a line per recipe in `RECIPES`. What is done is an `Experiment`; see
`emopipe.recipes.experiments` for the shapes that there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from emopipe.bootstrap import RAW, Score
from emopipe.config import to_dict
from emopipe.datasets.phantom_layouts import PhantomSettings
from emopipe.errors import ConfigError, UnknownNameError
from emopipe.recipes.predictions import Predictions
from emopipe.recipes.steps import Bench
from emopipe.registry import Registry
from emopipe.typing import Ints

_ALL_CLASSES = "label"  # the target of a score of all classes together
_RANGULOV = "emopipe.recipes.rangulov2020:"
_KOLLIAS = "emopipe.recipes.kollias2020:"
_HUME = "emopipe.recipes.hume2023:"
_RAVDESS = "emopipe.recipes.ravdess:"

RECIPES = Registry(
    "recipe",
    {
        "rangulov2020/cnn-whole": f"{_RANGULOV}CNN_WHOLE",
        "rangulov2020/cnn-subset1": f"{_RANGULOV}CNN_SUBSET1",
        "rangulov2020/cnn-subset2": f"{_RANGULOV}CNN_SUBSET2",
        "rangulov2020/cnn-subset3": f"{_RANGULOV}CNN_SUBSET3",
        "rangulov2020/cnn-mse": f"{_RANGULOV}CNN_MSE",
        "rangulov2020/cnn-valence-only": f"{_RANGULOV}CNN_VALENCE_ONLY",
        "rangulov2020/cnn-arousal-only": f"{_RANGULOV}CNN_AROUSAL_ONLY",
        "rangulov2020/cnn-rnn1": f"{_RANGULOV}CNN_RNN1",
        "rangulov2020/cnn-gru1": f"{_RANGULOV}CNN_GRU1",
        "rangulov2020/cnn-gru3": f"{_RANGULOV}CNN_GRU3",
        "rangulov2020/cnn-ckplus": f"{_RANGULOV}CNN_CKPLUS",
        "rangulov2020/cnn-jaffe": f"{_RANGULOV}CNN_JAFFE",
        "kollias2020/vggface": f"{_KOLLIAS}VGGFACE",
        "kollias2020/densenet121": f"{_KOLLIAS}DENSENET121",
        "kollias2020/resnet50": f"{_KOLLIAS}RESNET50",
        "kollias2020/affwildnet": f"{_KOLLIAS}AFFWILDNET",
        "kollias2020/densenet-rnn": f"{_KOLLIAS}DENSENET_RNN",
        "kollias2020/cnn1rnn-pool2-pool5-fc": f"{_KOLLIAS}CNN1RNN",
        "kollias2020/cnn3rnn-pool2-pool5-fc": f"{_KOLLIAS}CNN3RNN",
        "kollias2020/fusion-decision": f"{_KOLLIAS}FUSION_DECISION",
        "kollias2020/fusion-model-fc": f"{_KOLLIAS}FUSION_MODEL_FC",
        "kollias2020/fusion-model-rnn": f"{_KOLLIAS}FUSION_MODEL_RNN",
        "kollias2020/cnn1rnn-scratch": f"{_KOLLIAS}CNN1RNN_SCRATCH",
        "kollias2020/cnn1rnn-affwild": f"{_KOLLIAS}CNN1RNN_AFFWILD",
        "kollias2020/cnn3rnn-scratch": f"{_KOLLIAS}CNN3RNN_SCRATCH",
        "kollias2020/cnn3rnn-affwild": f"{_KOLLIAS}CNN3RNN_AFFWILD",
        "kollias2020/fusion-model-rnn-scratch": f"{_KOLLIAS}FUSION_SCRATCH",
        "kollias2020/fusion-model-rnn-affwild": f"{_KOLLIAS}FUSION_AFFWILD",
        "kollias2020/cnn3rnn-conv8-pool5-fc": f"{_KOLLIAS}CNN3RNN_CONV8",
        "kollias2020/cnn3rnn-conv5-pool5-fc": f"{_KOLLIAS}CNN3RNN_CONV5",
        "kollias2020/cnn3rnn-conv3-conv7-fc": f"{_KOLLIAS}CNN3RNN_CONV3_CONV7",
        "kollias2020/cnn3rnn-conv13-pool5-fc": f"{_KOLLIAS}CNN3RNN_CONV13",
        "kollias2020/cnn3rnn-conv6-conv7-conv8": f"{_KOLLIAS}CNN3RNN_CONV678",
        "kollias2020/cnn3rnn-conv7-conv8-conv9": f"{_KOLLIAS}CNN3RNN_CONV789",
        "kollias2020/cnn3rnn-conv3-conv4-conv5": f"{_KOLLIAS}CNN3RNN_CONV345",
        "kollias2020/cnn1rnn-no-landmarks": f"{_KOLLIAS}CNN1RNN_NO_LANDMARKS",
        "kollias2020/cnn3rnn-no-landmarks": f"{_KOLLIAS}CNN3RNN_NO_LANDMARKS",
        "kollias2020/fusion-model-rnn-no-landmarks": f"{_KOLLIAS}FUSION_NO_LANDMARKS",
        "kollias2020/cnn2rnn": f"{_KOLLIAS}CNN2RNN",
        "kollias2020/cnn2rnn-1fc": f"{_KOLLIAS}CNN2RNN_1FC",
        "kollias2020/cnn2to1rnn": f"{_KOLLIAS}CNN2TO1RNN",
        "kollias2020/cnn3rnn-1fc": f"{_KOLLIAS}CNN3RNN_1FC",
        "kollias2020/landmark-embedding-512": f"{_KOLLIAS}EMBEDDING_512",
        "kollias2020/landmark-embedding-1024": f"{_KOLLIAS}EMBEDDING_1024",
        "kollias2020/landmark-embedding-2048": f"{_KOLLIAS}EMBEDDING_2048",
        "kollias2020/sequence-40": f"{_KOLLIAS}SEQUENCE_40",
        "kollias2020/sequence-60": f"{_KOLLIAS}SEQUENCE_60",
        "kollias2020/sequence-80": f"{_KOLLIAS}SEQUENCE_80",
        "kollias2020/sequence-100": f"{_KOLLIAS}SEQUENCE_100",
        "kollias2020/single-task": f"{_KOLLIAS}SINGLE_TASK",
        "kollias2020/ten-fold": f"{_KOLLIAS}TEN_FOLD",
        "kollias2020/submission-1": f"{_KOLLIAS}SUBMISSION_1",
        "kollias2020/submission-2": f"{_KOLLIAS}SUBMISSION_2",
        "kollias2020/submission-3": f"{_KOLLIAS}SUBMISSION_3",
        "hume2023/eri-vgg16": f"{_HUME}ERI_VGG16",
        "hume2023/eri-resnet50": f"{_HUME}ERI_RESNET50",
        "hume2023/eri-audio": f"{_HUME}ERI_AUDIO",
        "hume2023/eri-multimodal": f"{_HUME}ERI_MULTIMODAL",
        "hume2023/eri-frames-16": f"{_HUME}ERI_FRAMES_16",
        "ravdess/mel-gru": f"{_RAVDESS}MEL_GRU",
        "ravdess/mel-gru-intensity": f"{_RAVDESS}MEL_GRU_INTENSITY",
        "ravdess/mel-lstm": f"{_RAVDESS}MEL_LSTM",
        "ravdess/mel-lstm-intensity": f"{_RAVDESS}MEL_LSTM_INTENSITY",
        "ravdess/mel-mean": f"{_RAVDESS}MEL_MEAN",
        "ravdess/mel-mean-intensity": f"{_RAVDESS}MEL_MEAN_INTENSITY",
        "ravdess/linear-gru": f"{_RAVDESS}LINEAR_GRU",
        "ravdess/linear-gru-intensity": f"{_RAVDESS}LINEAR_GRU_INTENSITY",
        "ravdess/window-05-hop-025": f"{_RAVDESS}SHORT_GRU",
        "ravdess/window-05-hop-025-intensity": f"{_RAVDESS}SHORT_GRU_INTENSITY",
        "ravdess/window-2-hop-1": f"{_RAVDESS}LONG_GRU",
        "ravdess/window-2-hop-1-intensity": f"{_RAVDESS}LONG_GRU_INTENSITY",
        "ravdess/log-mel-gru": f"{_RAVDESS}LOG_MEL_GRU",
        "ravdess/log-mel-gru-intensity": f"{_RAVDESS}LOG_MEL_GRU_INTENSITY",
        "ravdess/spectrogram-cnn": f"{_RAVDESS}SPECTROGRAM_CNN",
        "ravdess/spectrogram-cnn-intensity": f"{_RAVDESS}SPECTROGRAM_CNN_INTENSITY",
    },
)


@dataclass(frozen=True)
class Outcome:
    """What an experiment gave.

    Attributes:
        split: what was scored.
        scores: with 95 % intervals over clips.
        num_rows: rows that were scored: frames, or clips where a clip has one label.
        seed, epochs: of the training whose network was scored; the epochs of several trainings are added up.
        best_epoch: of that training; None for several.
        confusion, classes: (C, C) counts, row = true class, and the names; None and () for numbers.
        notes: what the user is to be told.
        predictions: the scored rows, where an experiment keeps them, so that `emopipe recipes compare` can pair them
            with another recipe's; None where they would be too many, as the frames of a corpus.
    """

    split: str
    scores: tuple[Score, ...]
    num_rows: int
    seed: int
    epochs: int
    best_epoch: int | None = None
    confusion: Ints | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    predictions: Predictions | None = None


class Experiment(Protocol):
    """What a recipe does: a frozen dataclass of the stages' configurations."""

    @property
    def datasets(self) -> tuple[str, ...]:
        """The corpora that it needs; the one it is scored on comes last."""
        ...

    def smoke(self) -> "Experiment":
        """The same with as little work as shows that it runs."""
        ...

    def run(self, bench: Bench) -> Outcome:
        """Do it; what is finished already is reused."""
        ...


@dataclass(frozen=True)
class Table:
    """A table of a paper; also a figure or a section that names experiments.

    Attributes:
        name: "Table III".
        caption: what its numbers are, as a sentence.
        metrics: what is shown of each row, in this order; keys of `Recipe.published`.
        with_raw: whether it prints, in parentheses, each number without post-processing too; its key ends in "_raw".
    """

    name: str
    caption: str
    metrics: tuple[str, ...]
    with_raw: bool = False


@dataclass(frozen=True)
class Paper:
    """Where numbers come from.

    Attributes:
        citation, identifier: the second is the number at arXiv or another identifier.
        tables: those that its recipes stand in, in its order.
    """

    citation: str
    identifier: str
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Place:
    """Where a recipe stands in its paper.

    Attributes:
        table: name of one of the paper's tables.
        label: what the table calls it.
        position: orders the rows of the table; rows of equal position are in the order of the registry.
    """

    table: str
    label: str
    position: int = 0


@dataclass(frozen=True)
class Recipe:
    """One experiment of a paper.

    Attributes:
        name: `<paper>/<experiment>`, and behind an "@" the variant.
        paper: where it is published.
        places: in which of the paper's tables, the main one first.
        experiment: what is done.
        published: `published_key` of metric and target ("ccc_valence", "accuracy") -> the printed value; None where the
            paper names the experiment and prints no number.
        deviations: sentences: where paper and code disagree and which side is taken, and where we depart from both.
        phantoms: dataset -> the generated corpus that stands in for it in a smoke run.
        variants: name -> the other side of such a disagreement.
        facts: what else the paper says that a reader compares.
        is_smoke: whether this is the shrunk recipe.

    Raises:
        ConfigError: it has no place, or one in a table that the paper does not have.
    """

    name: str
    paper: Paper
    places: tuple[Place, ...]
    experiment: Experiment
    published: Mapping[str, float | None]
    deviations: tuple[str, ...]
    phantoms: Mapping[str, PhantomSettings]
    variants: Mapping[str, Experiment] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    is_smoke: bool = False

    def __post_init__(self) -> None:
        known = [table.name for table in self.paper.tables]
        wrong = [place.table for place in self.places if place.table not in known]
        if wrong or not self.places:
            raise ConfigError(
                f"Recipe '{self.name}': expected places in the tables {', '.join(known)}. "
                f"Received: {', '.join(wrong) or 'none'}."
            )

    @property
    def row(self) -> str:
        """Where it stands, in words: the main place, and the names of the other tables."""
        first, *others = self.places
        also = f" (also {', '.join(place.table for place in others)})" if others else ""
        return f"{first.table}, {first.label}{also}"

    @property
    def dataset(self) -> str:
        """The corpus that it is scored on."""
        return self.experiment.datasets[-1]

    def smoke(self) -> "Recipe":
        """The recipe shrunk to what a minute holds, for a generated corpus; says nothing about the paper."""
        return replace(self, experiment=self.experiment.smoke(), is_smoke=True)

    def variant(self, name: str) -> "Recipe":
        """The recipe with the other side of a disagreement taken.

        Raises:
            UnknownNameError: it has no such variant.
        """
        if name not in self.variants:
            known = ", ".join(self.variants) or "none"
            raise UnknownNameError(f"Recipe '{self.name}' has no variant '{name}'. Known: {known}.")
        sentence = f"This is the variant {name}: where a sentence below names it, the other side of it is taken."
        return replace(
            self,
            name=f"{self.name}@{name}",
            experiment=self.variants[name],
            deviations=(sentence, *self.deviations),
            variants={},
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return to_dict(self)


def published_key(metric: str, target: str) -> str:
    """What a score is called in `Recipe.published` and `Table.metrics`; "_raw" is said last.

    Examples:
        >>> published_key("ccc", "valence"), published_key("ccc_raw", "valence"), published_key("accuracy", "label")
        ('ccc_valence', 'ccc_valence_raw', 'accuracy')
    """
    if target in ("", _ALL_CLASSES):
        return metric
    plain = metric.removesuffix(RAW)
    return f"{plain}_{target}{metric[len(plain) :]}"


def find_recipe(name: str) -> Recipe:
    """A registered recipe, or with "@" a variant of one; imports neither keras nor a detector.

    Raises:
        UnknownNameError: there is none; the message lists the known names and the nearest.

    Examples:
        >>> find_recipe("rangulov2020/cnn-gru3").published["ccc_arousal"]
        0.39
        >>> find_recipe("rangulov2020/cnn-ckplus@published-split").experiment.cnn.folds.rule
        'images'
    """
    registered, at, variant = name.partition("@")
    recipe: Recipe = RECIPES.load(registered)
    return recipe.variant(variant) if at else recipe
