"""From a wrong Jacobian to words: where it is wrong, and the likely cause."""
