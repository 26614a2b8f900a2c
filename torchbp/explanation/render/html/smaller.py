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
COMMENT = r"/\*[\s\S]*?\*/|//.*"
SPACE = re.compile(rf"({LITERAL})|{COMMENT}|\s*([=<>!&|?:;,{{}}()\[\]*%]+)\s*|(\s)\s+")
STYLE = re.compile(r"/\*[\s\S]*?\*/|\s*([{};,])\s*|(\s)\s+")


def smaller_script(text):
    """A division has a space on both sides, and each statement a semicolon, as the formatter writes them."""
    return SPACE.sub(lambda found: found[1] or found[2] or found[3] or "", text)


def smaller_style(text):
    return STYLE.sub(lambda found: found[1] or found[2] or "", text)
