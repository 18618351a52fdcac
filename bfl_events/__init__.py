"""What did happen: contract logs as an ordered, reorg-safe, replayable stream of typed facts. Knows no role."""
