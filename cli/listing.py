"""emopipe list"""

from collections.abc import Iterator

import click

from emopipe.errors import MissingDependencyError


@click.command("list")
@click.argument("kind", type=click.Choice(["detectors", "backbones", "heads", "recipes"]))
def list_names(kind: str) -> None:
    """List the names that --detector, --backbone, --head and reproduce take, with what each is."""
    rows = dict({"detectors": _detectors, "backbones": _backbones, "heads": _heads, "recipes": _recipes}[kind]())
    width = max(map(len, rows))
    for name, about in rows.items():
        click.echo(f"{name:<{width}}  {about}")


def _detectors() -> Iterator[tuple[str, str]]:
    from emopipe.faces.detection import DETECTORS

    for name in DETECTORS:
        try:
            yield name, DETECTORS.load(name).__doc__.splitlines()[0]
        except MissingDependencyError as error:
            yield name, " ".join(str(error).splitlines())


def _backbones() -> Iterator[tuple[str, str]]:
    from emopipe.models.backbones import BACKBONES

    for name in BACKBONES:
        architecture = BACKBONES.load(name)
        spec = architecture.input
        colours = "RGB" if spec.channels == 3 else "grey"
        taps = ", ".join(architecture.default_taps)
        yield name, f"{spec.size_px} x {spec.size_px} px, {colours}, numbers {spec.value_range}; default tap {taps}"


def _heads() -> Iterator[tuple[str, str]]:
    from emopipe.models.heads import HEADS
    from emopipe.models.tap_heads import OVER_TAPS

    for name in HEADS:
        if name == "taps":
            yield from ((over, f"Over taps: {about}; every step predicted.") for over, (_, about) in OVER_TAPS.items())
        else:
            yield name, HEADS.load(name).build.__doc__.splitlines()[0]


def _recipes() -> Iterator[tuple[str, str]]:
    from emopipe.recipes.recipe import RECIPES, find_recipe

    for name in RECIPES:
        recipe = find_recipe(name)
        variants = f"; @{', @'.join(recipe.variants)}" if recipe.variants else ""
        yield name, f"{recipe.row}{variants}"
