"""Operations of convolution and the inputs on which ours and torch's must agree."""

OPERATIONS = []
