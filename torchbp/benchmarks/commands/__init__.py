"""What `torchbp bench layers`, `step`, `ensemble`, `training` and `memory` measure, a module each."""
