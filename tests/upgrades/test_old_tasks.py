"""A task that agents of an older version left in the middle of a round is finished by today's, from their own homes.

A new format of a home adds an archive (`make_task`) and keeps those that are here.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from agents.formats import HOME_FORMAT
from agents.home import Home
from bfl_events.commitment import checksum_address
from bfl_events.schema import Address, ModelCommitted, Record
from tests.anvil import Deployment, start_anvil
from tests.system.chronicle import Chronicle
from tests.system.consortium import NAMES, WORKERS, Consortium
from tests.system.proxy import Gate, Proxy
from tests.system.test_reorgs import judge
from tests.upgrades.make_task import CHAIN, FACTS

ARCHIVES = sorted(Path(__file__).parent.glob("task-*.tar.xz"))


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: str(path.name))
async def test_a_task_that_an_older_version_left_in_the_middle_of_a_round_is_finished(
    archive: Path, tmp_path: Path
) -> None:
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    facts = json.loads((tmp_path / FACTS).read_text())
    with start_anvil(tmp_path, load_state=tmp_path / CHAIN, timestamp=facts["time"] + 1) as anvil:
        async with Gate(anvil) as gate, Proxy(gate) as proxy:
            made = Consortium(tmp_path, gate, [proxy], task=facts["task"], created=facts["created"])
            made.deployed = deployed = Deployment(**facts["deployed"])
            made.addresses = {name: owner_of(made.home(name)) for name in NAMES}
            made.chronicle = Chronicle(anvil, deployed.factory, made.task, deployed.block)
            before = made.chronicle.look().records
            assert len(committed(before)) == len(WORKERS) - 1
            made.start()
            await made.ends(120)
            judge(made)
            after = made.chronicle.forks[-1].records
            assert after[:len(before)] == before
            assert len(committed(after)) == len(WORKERS)
            assert not [name for name in NAMES if made.told(name, "train.started") or made.told(name, "home.lost")]


def committed(records: Iterable[Record]) -> list[ModelCommitted]:
    """In the round in whose middle the task was left."""
    return [record.event for record in records if isinstance(record.event, ModelCommitted) and record.event.round == 2]


def owner_of(home: Home) -> Address:
    """The account, as its keystore's file says."""
    (key,) = home.keystore.glob("UTC--*")
    return checksum_address(bytes.fromhex(key.name.rpartition("--")[2]))


def test_todays_format_has_a_task() -> None:
    assert f"task-{HOME_FORMAT}.tar.xz" in [path.name for path in ARCHIVES]
