"""A recipe: one experiment of a paper as one object, with what the paper printed and where we depart from it.

A paper is one file here and a line per recipe in `RECIPES`. What is done is an `Experiment`; see
`emopipe.recipes.experiments` for the shapes that there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from emopipe.bootstrap import Score
from emopipe.config import to_dict
from emopipe.datasets.phantom_layouts import PhantomSettings
from emopipe.errors import UnknownNameError
from emopipe.recipes.steps import Bench
from emopipe.registry import Registry
from emopipe.typing import Ints

_RANGULOV = "emopipe.recipes.rangulov2020:"

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
    },
)


@dataclass(frozen=True)
class Outcome:
    """What an experiment gave.

    Attributes:
        split: what was scored.
        scores: with 95 % intervals over clips.
        num_frames: frames that were scored.
        seed, epochs: of the training whose network was scored; the epochs of several trainings are added up.
        best_epoch: of that training; None for several.
        confusion, classes: (C, C) counts, row = true class, and the names; None and () for numbers.
        notes: what the user is to be told.
    """

    split: str
    scores: tuple[Score, ...]
    num_frames: int
    seed: int
    epochs: int
    best_epoch: int | None = None
    confusion: Ints | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


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
class Paper:
    """Where numbers come from: a citation, and the number at arXiv or another identifier."""

    citation: str
    identifier: str


@dataclass(frozen=True)
class Recipe:
    """One experiment of a paper.

    Attributes:
        name: "<paper>/<experiment>", and behind an "@" the variant.
        paper, row: where it is published.
        experiment: what is done.
        published: metric, and target where it has one ("ccc_valence", "accuracy") -> the printed value; None where the
            paper names the experiment and prints no number.
        deviations: sentences: where paper and code disagree and which side is taken, and where we depart from both.
        phantoms: dataset -> the generated corpus that stands in for it in a smoke run.
        variants: name -> the other side of such a disagreement.
        facts: what else the paper says that a reader compares.
        is_smoke: whether this is the shrunk recipe.
    """

    name: str
    paper: Paper
    row: str
    experiment: Experiment
    published: Mapping[str, float | None]
    deviations: tuple[str, ...]
    phantoms: Mapping[str, PhantomSettings]
    variants: Mapping[str, Experiment] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    is_smoke: bool = False

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


def find_recipe(name: str) -> Recipe:
    """A registered recipe, or with "@" a variant of one; imports neither keras nor a detector.

    Raises:
        UnknownNameError: there is none; the message lists the known names and the nearest.

    Example:
        >>> find_recipe("rangulov2020/cnn-gru3").published["ccc_arousal"]
        0.39
        >>> find_recipe("rangulov2020/cnn-ckplus@published-split").experiment.cnn.folds.rule
        'images'
    """
    registered, at, variant = name.partition("@")
    recipe: Recipe = RECIPES.load(registered)
    return recipe.variant(variant) if at else recipe
