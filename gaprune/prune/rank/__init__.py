"""What can go first: importance of neurons and connections, orders of removal, the ladder of widths."""
