"""No durable write without a named step around it: by the syntax here, at run time in the kill matrix."""

from __future__ import annotations

import ast

import pytest

from bfl_events.boundaries import Boundary
from tests.crash.writes import ROOT, _Reader, writes

PART = "on its way: seen by nobody before the rename, which is the step"
SCRATCH = "scratch: dropped with the work, or at the next start"
LOG = "a log: losing the end of one loses nothing else"
UNNAMED = {     # module and function -> why its writes need no name
    "agents.crypto.privatefile.private_file": PART,
    "agents.cli.final._place": PART,
    "agents.effects.hands.Hands._deliver": PART,
    "agents.learning.weights.replacing": PART,
    "agents.learning.train._save": PART,
    "agents.storage.partfile.PartFile.discard": PART,
    "bfl_events.durable.open_part": PART,
    "bfl_events.export.write_export": PART,
    "agents.formats.stamp": PART,
    "agents.cli.create._publish": SCRATCH,
    "agents.cli.create._genesis": SCRATCH,
    "agents.cli.checks_local._routes": SCRATCH,
    "agents.effects.stocktaking._public": SCRATCH,
    "agents.effects.exchange.Exchange.read_public": SCRATCH,
    "agents.effects.hands.Hands._load_terms": SCRATCH,
    "agents.effects.scratch.Scratch.sweep": SCRATCH,
    "agents.effects.scratch._drop": SCRATCH,
    "agents.learning.trials.sweep_trials": SCRATCH,
    "agents.storage.local.LocalStore._probe": SCRATCH,
    "agents.storage.kubo.KuboStore.probe": SCRATCH,
    "agents.effects.child_process.BoundedLog.write": LOG,
    "agents.telemetry.LogFile._open": LOG,
    "agents.control.serve": "a socket's name: a dead one is replaced",
    "agents.learning.child.protected_pipes": "a pipe",
    "agents.learning.datasets._locked": "a lock file",
    "agents.effects.slots.Slots._insert_attempt": "called inside the step's transaction",
    "bfl_events.log_file.LogFile.put_meta": "called inside the step's transaction",
}
PLAY = ("agents.demo.",)     # a demo has its own directory and is played again from the start


def needs_a_name(where: str) -> bool:
    return where not in UNNAMED and not where.startswith(PLAY)


def test_every_durable_write_stands_in_a_named_step() -> None:
    nameless = [f"{write.where}:{write.line} {write.what}" for write in writes()
                if not write.named and needs_a_name(write.where)]
    assert not nameless


def test_every_exception_is_still_one() -> None:
    nameless = {write.where for write in writes() if not write.named}
    assert UNNAMED.keys() <= nameless


def test_every_step_is_taken_somewhere() -> None:
    """By its name in the product's code, apart from the module that lists them."""
    sources = [path for room in ("agents", "bfl_events") for path in (ROOT / room).rglob("*.py")]
    taken = {node.attr for path in sources if path.name != "boundaries.py"
             for node in ast.walk(ast.parse(path.read_text("utf-8")))
             if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Boundary"}
    assert taken == {boundary.name for boundary in Boundary}


@pytest.mark.parametrize("statement", [
    "path.write_text('x')", "path.write_bytes(b'x')", "part.replace(target)", "os.replace(part, target)",
    "path.unlink(missing_ok=True)", "os.link(a, b)", "shutil.rmtree(folder)", "shutil.copyfile(a, b)",
    "path.open('wb')", "open(path, 'a')", "open(path, mode='w')", "os.open(path, os.O_WRONLY | os.O_CREAT)",
    "db.execute('INSERT INTO t VALUES (1)')", "db.execute(f'UPDATE {table} SET a = 1')", "db.executemany('DELETE', [])",
    "rpc.call('eth_sendRawTransaction', raw)", "self._post(client, 'pin/add', [])", "client.pin.rm(name)",
    "torch.save(state, path)", "save_file(tensors, path)", "safetensors.torch.save_file(tensors, path)",
    "np.save(path, x)", "np.savez(path, x=x)", "np.savetxt(path, x)", "x.tofile(path)", "db.executescript(schema)",
    "os.mkdir(path)", "os.rmdir(path)", "os.makedirs(path)", "folder.rmdir()", "shutil.make_archive(a, 'zip', b)",
])
def test_the_net_catches_what_it_is_for(statement: str) -> None:
    def named(text: str) -> list[bool]:
        return [write.named for write in _Reader("m").read(ast.parse(text))]

    assert named(statement) == [False]
    assert named(f"with passing(Boundary.X):\n    {statement}") == [True]
    assert named(f"with passing(Boundary.X):\n    def later():\n        {statement}") == [False]
    assert named(f"with other(Boundary.X):\n    {statement}") == [False]


@pytest.mark.parametrize("statement", [
    "text.replace('a', 'b')", "replace(slot, landing=None)", "path.open('rb')", "open(path)", "path.read_text()",
    "db.execute('SELECT 1')", "rpc.call('eth_getLogs', query)", "db.execute('PRAGMA user_version')",
])
def test_what_only_reads_is_let_through(statement: str) -> None:
    assert _Reader("m").read(ast.parse(statement)) == []
