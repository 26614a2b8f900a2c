"""The gradient at the inputs given: its values, its own derivative, linearity, and every choice of requires_grad."""
