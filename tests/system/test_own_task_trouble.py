"""Tasks whose code or data fail on this operator's machine, with the real learning child: declined, nothing bonded."""

from __future__ import annotations

from agents.core.specification import Specification
from tests.system.company import GENESIS, REWARD, Company, until

SOUND = """\
import torch
def build_model(config):
    return torch.nn.Linear(4, 2)
def load_data(config):
    x, y = torch.zeros(200, 4), torch.arange(200) % {labels}
    return torch.utils.data.TensorDataset(x, y), torch.utils.data.TensorDataset(x, y)
"""
CODE = {
    "raising": "def build_model(config):\n    return 1 / 0\n\ndef load_data(config):\n    pass\n",
    "missing": SOUND.format(labels=2).replace("    x, y =", "    open('/nowhere/patients.csv')\n    x, y ="),
    "relabelled": SOUND.format(labels=5),
    "sound": SOUND.format(labels=2),
}
OFFERED = {name: Specification(name, 2) for name in CODE} | {"mnist": Specification("mnist", 10)}
REASONS = {
    "mnist": ("the dry run failed (data)", "the data set mnist is not in", "train-images-idx3-ubyte", "missing"),
    "raising": ("the dry run failed (task)", "ZeroDivisionError", "raising.py, line 2"),
    "missing": ("the dry run failed (", "/nowhere/patients.csv"),
    "relabelled": ("the dry run failed (data)", "label"),
    "sound": ("the dry run failed (model)", "is not a model in canonical safetensors form"),
}


async def test_what_fails_in_the_dry_run_is_declined_and_nothing_is_bonded(company: Company) -> None:
    requester = company.party("requester", "requester")
    plugins = "".join(f'{name} = "{name}.py"\n' for name in CODE)
    data = '[learning]\ndata_dir = "data"\n[learning.options]\ndownload = false\n'
    worker = company.party("worker", more=f"{data}[learning.plugins]\n{plugins}")
    (worker.home.root / "data").mkdir()
    worker.learner = lambda learner: learner
    tasks, genesis = {}, b"\x80\x04pickle" + GENESIS
    for name, code in CODE.items():
        (worker.home.root / f"{name}.py").write_text(code)
    for name, specification in OFFERED.items():
        tasks[name] = await company.offer(requester, specification, genesis=genesis)
    balance, files = worker.balance(), worker.files("networks/", "keystore/encryption/")
    async with worker.running() as agent:
        for name, task in tasks.items():
            await until(lambda where=task.address: worker.said("task.declined", task=where), f"{name} declined", agent)
    for name, task in tasks.items():
        reason = worker.said("task.declined", task=task.address)[0]["reason"]
        assert all(words in reason for words in REASONS[name]), reason
        assert company.locked(task) == REWARD
    assert worker.balance() == balance
    assert worker.files("networks/", "keystore/encryption/") == files
