"""Pure decisions: state and clock in, intents out. No I/O, no clock, no dice."""
