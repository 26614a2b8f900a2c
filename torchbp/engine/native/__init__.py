"""Steps of gradient descent as a program in C, made of the trace of the engine's own step.

trace.py       the step of a network as a graph of torch's operations, which `torch.fx` records
translation/   each operation of the graph as statements: lowering.py goes through them, and the other files know them
values.py      expressions of memory; views.py: the same in another shape, without a copy
writer.py      loops over expressions; products.py: products of matrices in tiles that stay in registers
source.py      the whole function: steps, members, and the rows that it gathers
build.py       the compiler, and the folder of what it has made; functions.h: what its text begins with
program.py     a program and how it is called
calls/         compiled.py: which program is used for which rows, given by step_rows.py; agreement.py: whether it makes
               the engine's steps; found.py: what a call needs, looked up once; single_step.py: a single step
"""
