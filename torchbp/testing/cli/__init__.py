"""`torchbp check`: the audit as a command."""
