"""The only hands: they do what was decided, and never decide."""
