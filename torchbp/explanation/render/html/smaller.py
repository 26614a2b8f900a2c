"""A script, or a style sheet, without its comments and the white space that changes nothing."""

import re

from torchbp.explanation.render.html.short_names import tokens_of, with_short_names

STYLE = re.compile(r"\s*([{};,])\s*|(\s)\s+")
APART = re.compile(r"[\w$]{2}|\+\+|--")  # the last letter before a space and the first one after it that need the space


def smaller_script(text):
    """Each statement ends with a semicolon, as the formatter writes them."""
    parts = [""]
    for _, token in with_short_names(list(tokens_of(text))):
        parts += [" ", token] if APART.fullmatch(parts[-1][-1:] + token[:1]) else [token]
    return "".join(parts)


def smaller_style(text):
    text = re.sub(r"/\*[\s\S]*?\*/", "", text)
    return STYLE.sub(lambda found: found[1] or found[2], text).strip()
