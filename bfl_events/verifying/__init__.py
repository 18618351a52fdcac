"""The parts of `bfl_events.verify`: blocks, evidence from later lines, members' acts, a task's course."""
