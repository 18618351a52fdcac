"""Training, scoring and averaging of models: the room with torch in it.

It runs in a child process (`python -m agents.learning.child`) or in tests, knows nothing of chains, rounds or
money, and imports no other room.
"""
