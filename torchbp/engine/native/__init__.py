"""Steps of gradient descent as a program in C, made of the trace of the engine's own step."""
