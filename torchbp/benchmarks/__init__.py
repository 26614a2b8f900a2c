"""Timings beside the peers: `torchbp bench`. Ratios are from one run, interleaved, in one process."""
