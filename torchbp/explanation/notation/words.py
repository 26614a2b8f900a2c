"""Words of messages and sentences."""


def either(words):
    """a, b or c"""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def class_name(rule):
    """The name of the class that computes a rule: torch's, or ours; of a rule without a class its own."""
    return rule.name if rule.known_class is None else rule.known_class.__name__
