"""A model as the engine runs it: its layers in order, and their formulas."""

from torchbp.engine.network.network import Network, first_parameter

__all__ = ["Network", "first_parameter"]
