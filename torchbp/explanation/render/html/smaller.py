"""A script or a style sheet without its comments, and without the white space that changes nothing."""

import re

# what stays as it is: strings, templates, which may hold one more template, and regular expressions
LITERAL = "|".join(
    [
        r'"(?:[^"\\\n]|\\.)*"',
        r"`(?:[^`\\$]|\\.|\$(?!\{)|\$\{(?:[^{}`]|\{[^{}]*\}|`[^`]*`)*\})*`",
        r"/(?![\s/*])(?:[^/\\\n[]|\\.|\[[^\]]*\])+/",
    ]
)
COMMENT = re.compile(rf"({LITERAL})|/\*[\s\S]*?\*/|//.*")
SPACE = re.compile(rf"({LITERAL})|\s*([=<>!&|?:;,{{}}()\[\]*%]+)\s*|(\s)\s+")
STYLE = re.compile(r"\s*([{};,])\s*|(\s)\s+")


def smaller_script(text):
    """A division has a space on both sides, and each statement a semicolon, as the formatter writes them."""
    text = COMMENT.sub(lambda found: found[1] or "", text)
    return SPACE.sub(lambda found: found[1] or found[2] or found[3], text)


def smaller_style(text):
    text = re.sub(r"/\*[\s\S]*?\*/", "", text)
    return STYLE.sub(lambda found: found[1] or found[2], text).strip()
