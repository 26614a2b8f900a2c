"""What the auditor finds in torch's own operators and modules."""

KNOWN = {}
