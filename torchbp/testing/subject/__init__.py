"""The audited function: its arguments, its calls, and what surrounds a call."""
