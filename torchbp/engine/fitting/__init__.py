"""The loop over rows in memory, until the loss reaches its minimum."""
