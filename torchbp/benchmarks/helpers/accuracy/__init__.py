"""`torchbp bench accuracy`: how far results are from the exact ones."""
