"""Words of messages and sentences."""


def either(words):
    """a, b or c"""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def class_name(rule):
    """The name of the class that computes a rule: torch's, or ours; of a rule without a class its own."""
    found = rule.torch_module or rule.module_class
    return rule.name if found is None else found.__name__
