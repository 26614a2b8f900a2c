"""What the commands print: names from files, checkpoints and settings are text in it, and command no terminal."""

import difflib
import html
import shlex
import sys


def printable(text, keep=""):
    """The text with each character that is not printable, but for those of `keep`, as Python writes it: `\\x1b`, `\\n`.

    Those are the control characters of a terminal, line breaks, what turns the direction of writing, lone surrogates,
    and blanks that are not a space.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def say(label, text, file=None):
    """A line of a command: what it is about, and the text. `file` is stdout unless given."""
    print(f"{label:<8} {printable(text)}", file=file)


def complain(message):
    """An error, in one line on stderr."""
    print(f"torchbp: error: {printable(message)}", file=sys.stderr)


def nearest_name(name, known, cutoff=0.6):
    """The known name that is most like this one, or None if the likeness of each, from 0 to 1, is under `cutoff`."""
    return next(iter(difflib.get_close_matches(str(name), list(known), n=1, cutoff=cutoff)), None)


def did_you_mean(name, known, listed=None):
    """The end of a message about an unknown name: the nearest known one; where none is near, `listed`, or all."""
    near = nearest_name(name, known)
    return f"did you mean {near}?" if near else f"there are {', '.join(known if listed is None else listed)}"


def with_article(name):
    """The name of a class after “a” or “an”, as it is spoken: an LSTM, an ndarray, a UNet."""
    return f"{'an' if name[0] in 'AEIOaeio' or name.startswith(('LSTM', 'MLP', 'RNN', 'ndarray')) else 'a'} {name}"


def escape(text):
    """The text within a page."""
    return html.escape(printable(text, keep="\n"))


def quoted(path):
    """A path as a word of a shell's command line."""
    text = str(path)
    if text.isprintable():
        return shlex.quote(text)
    escapes = {"\\": r"\\", "'": r"\'"}
    return "$'" + "".join(escapes.get(c) or (c if c.isprintable() else escaped(c)) for c in text) + "'"


def escaped(c):
    """A character as bash and zsh write it between $' and '; a lone surrogate is a byte of a name that is not UTF-8."""
    return f"\\x{ord(c) - 0xDC00:02x}" if 0xDC80 <= ord(c) <= 0xDCFF else f"\\U{ord(c):08x}"
