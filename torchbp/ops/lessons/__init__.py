"""Lessons: networks that learn by the formulas of `torchbp.ops`, and their backward passes written out line by line.

    python -m torchbp.ops.lessons.makemore      embedding, linear, batch norm, tanh, softmax cross-entropy
    python -m torchbp.ops.lessons.gpt2_block    attention, layer norm, GELU, two residual sums, a tied embedding

Each trains in a few seconds. Then it computes every gradient by hand and prints how far it is from autograd's.
"""
