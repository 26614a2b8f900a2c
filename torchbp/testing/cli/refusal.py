"""Why nothing can run, in one line. The worker sends these to the command."""


class Refusal(Exception):
    """The audit cannot run."""


class InputsNeeded(Refusal):
    """The command gives no inputs: the line says which are needed, with an example."""
