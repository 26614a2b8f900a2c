"""Names from files, as they may be shown: a terminal obeys control characters, and a browser those that turn text."""


def visible(text):
    r"""Text with each character that does not print, a terminal's escape among them, as Python writes it: \x1b."""
    return "".join(map(escaped, text))


def escaped(c):
    return c if c.isprintable() else c.encode("unicode_escape").decode()


def in_json(text):
    r"""The same of a text that is JSON, by JSON's own escapes: it holds what it held."""
    units = (c if c.isprintable() else c.encode("utf-16-be", "surrogatepass").hex() for c in text)
    return "".join(u if len(u) < 4 else "".join(f"\\u{u[i : i + 4]}" for i in range(0, len(u), 4)) for u in units)
