"""The names of the ways to cheat. Apart from the cheats themselves, so that `--help` needs no numpy."""

from __future__ import annotations

from enum import StrEnum


class Attack(StrEnum):
    """The first six lie about the model, the others about the scores."""

    LABEL_FLIP = "label-flip"          # trains on labels in reverse: 0 for 9, 1 for 8, …
    SIGN_FLIP = "sign-flip"            # walks backwards
    NOISE = "noise"                    # a random step as long as the honest one
    SCALED = "scaled"                  # the honest step, fifty times as long
    LAZY = "lazy"                      # hands the global model back
    COPY = "copy"                      # hands in what somebody else opened in the round before
    LIAR_LOW = "liar-low"              # calls everybody else's model bad
    LIAR_HIGH = "liar-high"            # calls everybody's model perfect
    CONSTANT_SCORES = "constant-scores"    # does not look
