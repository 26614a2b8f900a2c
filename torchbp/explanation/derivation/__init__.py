"""The network as a chain of quantities, and the records of its steps in order."""
