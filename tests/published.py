"""Worked examples that others have published, with the numbers that they print."""

# Matt Mazur, "A Step by Step Backpropagation Example" (2015): 2-2-2 units, all of them sigmoids; the loss
# E = ½ Σ (t − o)² of two outputs is their mean squared error. The article keeps its biases fixed and prints 9 digits.
MAZUR_PARAMETERS = [[[0.15, 0.20], [0.25, 0.30]], [0.35, 0.35], [[0.40, 0.45], [0.50, 0.55]], [0.60, 0.60]]
MAZUR_INPUT, MAZUR_TARGET, MAZUR_LR = [0.05, 0.10], [0.01, 0.99], 0.5
MAZUR_NUMBERS = {
    "Z1": [0.3775, 0.3925],
    "A1": [0.593269992, 0.596884378],
    "A2": [0.75136507, 0.772928465],
    "L": [0.298371109],
    "dL/dA2": [0.74136507, -0.217071535],
    "dL/dZ2": [0.138498562, -0.0380982366],
    "dL/dA1": [0.036350306, 0.041370322],
    "W2′": [0.35891648, 0.408666186, 0.511301270, 0.561370121],
    "W1′": [0.149780716, 0.19956143, 0.24975114, 0.29950229],
}
