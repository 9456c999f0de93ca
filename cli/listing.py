"""emopipe list"""

import click


@click.command("list")
@click.argument("kind", type=click.Choice(["detectors", "backbones", "heads", "recipes"]))
def list_names(kind: str) -> None:
    """List the registered names of a KIND, with what each is."""
    if kind == "detectors":
        from emopipe.faces.detection import DETECTORS

        for name in DETECTORS:
            click.echo(f"{name:<12} {DETECTORS[name]}")
        return
    if kind == "heads":
        from emopipe.models.heads import HEADS

        for name in HEADS:
            click.echo(f"{name:<12} {HEADS.load(name).build.__doc__.splitlines()[0]}")
        return
    if kind == "recipes":
        from emopipe.recipes.recipe import RECIPES, find_recipe

        for name in RECIPES:
            recipe = find_recipe(name)
            variants = f"; @{', @'.join(recipe.variants)}" if recipe.variants else ""
            click.echo(f"{name:<32} {recipe.row}{variants}")
        return
    from emopipe.models.backbones import BACKBONES

    for name in BACKBONES:
        architecture = BACKBONES.load(name)
        spec = architecture.input
        click.echo(
            f"{name:<12} {spec.size_px} px, {spec.channels} channel(s), {spec.value_range}; "
            f"default tap {', '.join(architecture.default_taps)}"
        )
