"""An HTML page as its parser sees it, and the contrast of two of its colours."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """`tags` with their attributes, the `text`, and `tables`: the cells of each table in rows, by its caption."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.tables, self.stack = [], [], {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.stack.append(tag)
        if tag == "table":
            self.rows = []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag in self.stack:
            while self.stack.pop() != tag:
                pass

    def handle_data(self, text):
        self.words.append(text)
        if self.stack[-1:] == ["caption"]:
            self.tables[text] = self.rows
        elif self.stack[-1:] in (["td"], ["th"]):
            self.rows[-1][-1] += text

    @property
    def text(self):
        return " ".join(self.words)


def contrast(colour, other):
    """Of two colours `#rrggbb`, as WCAG 2 defines it: from 1, the same, to 21, black on white."""
    low, high = sorted((_luminance(colour), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
