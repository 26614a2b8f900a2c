"""Large models: as a whole along a few directions, and each kind of layer alone."""
