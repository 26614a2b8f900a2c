"""Steps of gradient descent as a program in C, made of the trace of the engine's own step.

trace.py       the step of a network as a graph of torch's operations, which `torch.fx` records
lowering.py    each operation of the graph as statements; what it knows stands in elementwise.py, shapes.py, sums.py,
               indexing.py and operations.py
values.py      expressions of memory; views.py: the same in another shape, without a copy
writer.py      loops over expressions; products.py: products of matrices in tiles that stay in registers
source.py      the whole function: steps, members, and the rows that it gathers
build.py       the compiler, and the folder of what it has made
program.py     a program and how it is called; compiled.py: which one is used for which rows
agreement.py   whether it makes the engine's steps
found.py       a program and what it is called on, looked up once for many calls
single_step.py the call for a single step, whose arguments hold while nothing but the rows changes
"""
