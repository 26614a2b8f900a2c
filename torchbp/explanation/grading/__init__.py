"""A learner's own backward pass, graded quantity by quantity: `torchbp.exercise`."""
