"""A whole task on geth instead of anvil: deployed, created, trained, settled, paid and proven, as in the README."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.by_hand import play_by_hand, terminals
from tests.system.geth import start_geth
from tests.system.test_by_hand import ROUNDS, check_the_result

pytestmark = [pytest.mark.demo, pytest.mark.timeout(900)]


def test_a_task_comes_to_its_end_on_geth(tmp_path: Path) -> None:
    with start_geth(tmp_path) as geth, terminals(tmp_path, geth.url, geth.fund) as hand:
        play_by_hand(hand, ROUNDS)
        check_the_result(hand)
