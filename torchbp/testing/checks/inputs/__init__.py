"""Other inputs than those given: numbers, sizes, strides, constants and options."""
