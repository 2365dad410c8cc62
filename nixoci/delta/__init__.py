"""What travels: a delta between two closures, made by one side and verified by the other before any path exists."""
