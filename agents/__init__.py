"""The daemon that decides and does what happens next, one beside each participant's data."""
