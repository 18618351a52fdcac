"""What each event means for a task's state, by subject; `bfl_events.fold` puts them together."""
