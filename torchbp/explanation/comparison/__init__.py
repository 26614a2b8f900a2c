"""The numbers of torch and of difference quotients, beside those of the equations."""
