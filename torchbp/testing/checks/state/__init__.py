"""What a call leaves behind: writes, memory, and a second result that differs."""
