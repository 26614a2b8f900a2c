"""Which program is called for which rows, and on what."""
