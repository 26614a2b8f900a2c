import subprocess
import sys


def test_import_loads_torch_and_nothing_heavier():
    heavy = ["pytorch_lightning", "lightning", "torchmetrics", "sklearn", "scipy", "pandas", "jsonargparse", "rich"]
    heavy += ["torchbp.explanation", "torchbp.testing", "torchbp.training"]
    program = f"import sys, torchbp; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
