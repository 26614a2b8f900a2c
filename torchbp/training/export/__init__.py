"""A trained network as a file of another program: ONNX, TorchScript or safetensors."""
