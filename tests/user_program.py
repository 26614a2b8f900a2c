"""What a user writes: `tests/test_types.py` asks mypy about it, and runs it."""

import torch

import torchbp

model: torch.nn.Sequential = torchbp.convert(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh()), report=print)
net = torchbp.nn.MLP(3, 4, 1, activation="tanh")
x, y = torch.randn(8, 3), torch.ones(8, 1)
optimizer = torchbp.SGD(net, lr=0.5, momentum=0.9)
loss: torch.Tensor = optimizer.backprop_step(x, y)
report = torchbp.check(torchbp.ops.sigmoid, x[0].double().requires_grad_(), checks="fast")
text: str = torchbp.explain(net, x[0], y[0], lr=0.1).to_text()
grade: torchbp.explanation.Grade = torchbp.exercise(net, x[0], y[0]).grade({"Z1": x[0, :4]})
first: torchbp.nn.MLP = torchbp.unstack(torchbp.stack([net, net]))[0]
probability: torch.Tensor = torchbp.ops.sigmoid(torchbp.revert(first)(x))
print(loss.item(), report.sound, len(text), grade.right, probability.mean().item(), model(x).shape)
