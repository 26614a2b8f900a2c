"""`torchbp fit --recipe pack`: differing networks on folds of the rows, of which the best answer together."""
