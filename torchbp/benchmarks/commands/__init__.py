"""What `torchbp bench layers`, `step`, `ensemble`, `training`, `memory` and `models` measure, a module each."""
