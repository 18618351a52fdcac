"""Keys, envelopes and commitments. Owns every secret's form on disk; knows no chain, no store and no duty."""
