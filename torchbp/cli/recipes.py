"""The recipes of `torchbp fit --recipe NAME`: settings that stand before all files and flags, which can change them."""

import json

import yaml

from torchbp.cli.configs import packaged

AUTO = "auto"  # the recipe that is chosen once the table is known, where none is named
ARTICLE = "breast_cancer"  # the packaged configuration whose network and stopping rule the article's recipe has
# what each is, and what for, in a line of `fit`
WHY = {
    "mlp": "one network, in seconds; --recipe pack trains several that differ, and the best answer together",
    "article": "16 sigmoid units and plain gradient descent, to learn from; --recipe mlp is for better scores",
    "pack": "networks that differ; the best of them answer together",
}


def recipe_settings(recipe: str) -> dict[str, str]:
    """{key: value, as a flag has it} of the recipe's settings that are no defaults."""
    if recipe != "article":
        return {}
    content = yaml.safe_load(packaged()[ARTICLE].read_text(encoding="utf-8"))
    settings = {f"{group}.{name}": value for group in ("model", "stopping") for name, value in content[group].items()}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in settings.items()}
