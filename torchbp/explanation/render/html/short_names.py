"""A script with short names for what is declared within its functions.

    const share = ({ column, unit }) => column.shares[unit]     →     const share=({column:a,unit:b})=>a.shares[b]

A variable gets the same short name wherever it stands, so no scope is looked at. Names of properties and of the top
level stay as they are.
"""

import collections
import itertools
import re
import string

TOKEN = re.compile(
    r"""(?P<space>\s+|/\*[\s\S]*?\*/|//.*)"""
    r"""|(?P<literal>"(?:[^"\\\n]|\\.)*"|/(?!\s)(?:[^/\\\n[]|\\.|\[[^\]]*\])+/[a-z]*)"""
    r"""|(?P<name>[^\W\d][\w$]*)|(?P<number>\d[\w.]*)"""
    r"""|(?P<mark>\.\.\.|\?\.|=>|[=!]==|[<>=!+*-]=|\?\?=?|&&|\|\||\S)"""
)
OPEN, CLOSE = "([{", ")]}"
BEFORE_OBJECT = {"=", "(", "[", ",", ":", "?", "return", "const", "let", "&&", "||", "??", "..."}
DECLARES, KEYWORDS = ("const", "let", "function"), ("do", "if", "in", "of")
WITH_ITS_NAME = " with its name"


def with_short_names(tokens):
    """The tokens of a script, with short names."""
    uses = _uses(tokens)
    known = collections.defaultdict(set)
    for (_, name), use in zip(tokens, uses, strict=True):
        known[name].add(use.split(" ")[0])
    counts = collections.Counter(
        name for (_, name), use in zip(tokens, uses, strict=True) if use not in ("", "property")
    )
    local = [name for name, _ in counts.most_common() if "declared" in known[name] and "top" not in known[name]]
    free = (short for short in _short() if short not in known and short not in KEYWORDS)
    new = dict(zip((name for name in local if len(name) > 1 and name not in KEYWORDS), free, strict=False))
    for (kind, token), use in zip(tokens, uses, strict=True):
        if token not in new or use in ("", "property"):
            yield kind, token
            continue
        if use.endswith(WITH_ITS_NAME):
            yield from (("name", token), ("mark", ":"))
        yield kind, new[token]


def tokens_of(text):
    """(kind, text) of each part of a script, without white space and comments. What stands in a template is split too,
    but for its texts. A division has a space on both sides."""
    at, templates, depth = 0, [], 0  # templates: how many braces are open around each one
    words = re.compile(r"(?:[^`\\$]|\\.|\$(?!\{))*")
    while at < len(text):
        within = text[at] == "}" and templates[-1:] == [depth]
        if not within and text[at] != "`":
            found = TOKEN.match(text, at)
            at = found.end()
            depth += {"{": 1, "}": -1}.get(found[0], 0)
            if found.lastgroup != "space":
                yield found.lastgroup, found[0]
            continue
        if within:
            templates.pop()
            depth -= 1
        end, start = words.match(text, at + 1).end(), at
        if ends := text[end] == "`":
            at = end + 1
        else:
            at = end + 2
            depth += 1
            templates.append(depth)
        kind = {(False, True): "literal", (False, False): "open", (True, True): "close", (True, False): "between"}
        yield kind[within, ends], text[start:at]


def _uses(tokens):
    """Of each token how it is used: "" of what is no name; "property", "used", "declared" in a function, or at the
    "top" level; and, in an object {a}, "with its name", which is that of the property too."""
    closes, uses, opened = _partners(tokens), [], ["top"]
    for i, (kind, token) in enumerate(tokens):
        if kind in ("between", "close") or (kind == "mark" and token in CLOSE):
            opened.pop()
        if kind in ("open", "between"):
            opened.append("other")
        elif kind == "mark" and token in OPEN:
            opened.append(_opened(tokens, i, closes, opened[-1]))
        before, after = (tokens[j][1] if 0 <= j < len(tokens) else "" for j in (i - 1, i + 1))
        uses.append(_use(before, after, opened) if kind == "name" else "")
    return uses


def _opened(tokens, i, closes, around):
    """What a bracket opens: a "block", an "object", "declared" names of parameters or of a pattern, or something
    "other"."""
    token, before = tokens[i][1], tokens[i - 1][1]
    after = tokens[closes[i] + 1][1] if closes[i] + 1 < len(tokens) else ""
    is_pattern = before in DECLARES or around.startswith("declared") or (before == "," and after == "=")
    if token == "{":
        if before not in BEFORE_OBJECT or (before == ":" and _after_case(tokens, i)):
            return "block"
        return "declared object" if is_pattern and before != "=" else "object"
    if token == "(" and (after == "=>" or before == "catch" or "function" in (tokens[i - 2][1], tokens[i - 3][1])):
        return "declared"
    return "declared" if token == "[" and is_pattern and before != "=" else "other"


def _after_case(tokens, i):
    words = itertools.takewhile(lambda token: token[1] not in (";", "{", "}"), reversed(tokens[:i]))
    return any(word in ("case", "default") for _, word in words)


def _use(before, after, opened):
    around = opened[-1]
    if before in (".", "?."):
        return "property"
    declared = "declared" if after == "=>" or {"declared", "block"} & set(opened) else "top"
    if around.endswith("object") and before in ("{", ","):
        if after in (":", "("):
            return "property"
        return (declared if around.startswith("declared") else "used") + WITH_ITS_NAME
    in_list = around.startswith("declared") and before in ("(", "[", "{", ",", ":", "...")
    one_more = before == "," and after == "=" and around in ("block", "top")
    return declared if before in DECLARES or after == "=>" or in_list or one_more else "used"


def _partners(tokens):
    """{place: that of the bracket that closes it}."""
    found, opened = {}, []
    for i, (kind, token) in enumerate(tokens):
        if kind in ("between", "close") or (kind == "mark" and token in CLOSE):
            found[opened.pop()] = i
        if kind in ("open", "between") or (kind == "mark" and token in OPEN):
            opened.append(i)
    return found


def _short():
    """a, b, …, aa, ab, …"""
    for count in itertools.count(1):
        yield from map("".join, itertools.product(string.ascii_letters, repeat=count))
