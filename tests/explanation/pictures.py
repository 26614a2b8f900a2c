"""The picture of the page in the chapter, made anew: `python -m tests.explanation.pictures`."""

import base64
import io
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image

import torchbp
from tests.browser import Browser

PICTURE = Path(__file__).parent / "page.png"
COLOURS = 128  # of the picture, which is a third as large then
TRAINED = 400  # steps, after which the network has learnt xor


def explained():
    """The exclusive or, its inputs standardised, as `torchbp explain` takes it."""
    torch.manual_seed(0)
    x = torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
    model = torchbp.nn.MLP(2, 4, 1, dtype=torch.float64)
    names = {"title": "The exclusive or", "features": ["a", "b"], "outputs": ["a xor b"]}
    return torchbp.explain(model, x, [[0], [1], [1], [0]], lr=2.0, **names)


def write_picture(browser, path):
    """Write the picture of the trained page, with a weight in the panel."""
    page = Path(tempfile.mkdtemp()) / "page.html"
    page.write_text(explained().to_html(), encoding="utf-8")
    browser.open(page, width=1180, scrollbars=False)
    gradient = "data.steps.findIndex(({ name }) => name === 'dL/dW1')"
    browser.evaluate(f"(() => {{ while (training.steps.length <= {TRAINED} && takeStep()); goTo({TRAINED}); }})()")
    browser.evaluate(f"(chooseRow(1), pin({{ column: 1, unit: 0, from: 1 }}), show({gradient}), scrollTo(0, 0))")
    content = browser("Page.captureScreenshot", captureBeyondViewport=True)["data"]
    Image.open(io.BytesIO(base64.b64decode(content))).quantize(COLOURS).save(path, optimize=True)


if __name__ == "__main__":
    chromium = Browser(tempfile.mkdtemp())
    try:
        write_picture(chromium, PICTURE)
        sys.stdout.write(f"{PICTURE}\n")
    finally:
        chromium.close()
