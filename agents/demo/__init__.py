"""`bfl-agent demo`: a whole consortium on one machine, made of the same processes that real ones run.

Owns the local chain, the homes, the supervision and the proof of the result. It takes no part in the task:
freeze it, and the task still ends.
"""
