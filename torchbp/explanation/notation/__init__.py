"""What an equation is made of, and how its numbers are written."""
