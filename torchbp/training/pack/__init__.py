"""`torchbp fit --recipe pack`: networks that differ, trained on folds of the rows, of which the best together answer."""
