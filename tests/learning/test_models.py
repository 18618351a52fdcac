"""The built-in networks."""

import pytest
import torch
from torch.nn import functional

from agents.learning.models import BUILT_IN, McMahanCNN

CASES = [
    ("digits", (1, 8, 8), 38_282),
    ("mnist", (1, 28, 28), 1_663_370),
    ("fashion-mnist", (1, 28, 28), 1_663_370),
    ("cifar10", (3, 32, 32), 1_756_426),
]


@pytest.mark.parametrize(("identifier", "shape", "parameters"), CASES)
def test_size_and_outputs(identifier: str, shape: tuple[int, ...], parameters: int) -> None:
    model = BUILT_IN[identifier]()
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model(torch.zeros(2, *shape)).shape == (2, 10)


def test_relu_after_pooling_is_the_same_function() -> None:
    model = McMahanCNN()
    x = torch.randn(3, 1, 28, 28)
    y = functional.max_pool2d(functional.relu(model.conv1(x)), 2)
    y = functional.max_pool2d(functional.relu(model.conv2(y)), 2)
    y = model.fc2(functional.relu(model.fc1(y.flatten(1))))
    assert torch.equal(model(x), y)
