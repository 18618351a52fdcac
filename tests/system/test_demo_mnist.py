"""`demo --task mnist --data-dir DIR`: the CNN of McMahan et al. through real processes, on few images in MNIST's files.

They are scikit-learn's handwritten digits, enlarged: nothing is downloaded, and a round takes seconds.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from bfl_events import schema as ev
from tests.system.demo_process import running_demo

pytestmark = pytest.mark.demo
PARAMETERS = 1_663_370
HELD_BACK = 1_500      # from this one on, nobody trains on them


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """8 x 8 pixels of 0 to 16 become 28 x 28 of 0 to 255. Those to train on come twice, once a bit lower, for
    agents refuse to be judged on too few."""
    digits = load_digits()
    large = np.kron(digits.images, np.ones((3, 3))) / 16 * 255
    middle, low = (np.pad(large, ((0, 0), (above, 4 - above), (2, 2))) for above in (2, 4))
    folder = tmp_path / "mnist"
    folder.mkdir()
    write(folder, "train", np.concatenate([middle[:HELD_BACK], low[:HELD_BACK]]), np.tile(digits.target[:HELD_BACK], 2))
    write(folder, "t10k", middle[HELD_BACK:], digits.target[HELD_BACK:])
    return folder


def write(folder: Path, part: str, images: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
    for name, values in (("images-idx3", images), ("labels-idx1", labels)):
        header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4) for size in values.shape)
        (folder / f"{part}-{name}-ubyte").write_bytes(header + values.astype(np.uint8).tobytes())


def test_the_large_network_is_trained_on_the_operators_files_attested_and_paid(tmp_path: Path, mnist: Path) -> None:
    with running_demo(tmp_path / "demo", "--task", "mnist", "--data-dir", str(mnist), "--rounds", "1") as demo:
        assert demo.wait() == 0, demo.told()
        assert not demo.processes(), "somebody was left running"
        result = demo.result()
        assert (result["ok"], result["task"]) == (True, "mnist")
        assert result["final"]["accuracy"] > 0.2, "twice as good as guessing"
        model = (demo.directory / "model.safetensors").read_bytes()
        header = json.loads(model[8:8 + int.from_bytes(model[:8], "little")])
        assert sum(math.prod(tensor["shape"]) for tensor in header.values()) == PARAMETERS
        (accepted,) = demo.events(ev.FinalModelAccepted)
        assert result["final"]["model_hash"] == accepted.final_hash.hex()
        fetched = [line for line in demo.log("worker-1") if line["event"] == "round.model.fetched"]
        assert len(fetched) == 2, "6.65 MB from each of the others"
