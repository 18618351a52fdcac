"""The built-in tasks' networks. Plain PyTorch modules; they know nothing of data, training or rounds."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional


class DigitsNet(nn.Module):
    """8 × 8 grey images to 10 classes, 38,282 parameters: small enough that a round takes a second."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc1 = nn.Linear(32 * 4 * 4, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.conv1(x))
        x = functional.relu(functional.max_pool2d(self.conv2(x), 2))
        logits: Tensor = self.fc2(functional.relu(self.fc1(x.flatten(1))))
        return logits


class McMahanCNN(nn.Module):
    """28 × 28 grey images to 10 classes: the CNN of McMahan et al. 2017, 1,663,370 parameters.

    relu(max_pool(x)) equals max_pool(relu(x)) for a quarter of the relu's work.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 64, 5, padding=2)
        self.fc1 = nn.Linear(64 * 7 * 7, 512)
        self.fc2 = nn.Linear(512, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(functional.max_pool2d(self.conv1(x), 2))
        x = functional.relu(functional.max_pool2d(self.conv2(x), 2))
        logits: Tensor = self.fc2(functional.relu(self.fc1(x.flatten(1))))
        return logits


class CifarCNN(nn.Module):
    """32 × 32 colour images to 10 classes: McMahan et al.'s CIFAR network without the input crop, 1,756,426
    parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 5, padding=2)
        self.conv2 = nn.Conv2d(64, 64, 5, padding=2)
        self.fc1 = nn.Linear(64 * 8 * 8, 384)
        self.fc2 = nn.Linear(384, 192)
        self.fc3 = nn.Linear(192, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(functional.max_pool2d(self.conv1(x), 2))
        x = functional.relu(functional.max_pool2d(self.conv2(x), 2))
        x = functional.relu(self.fc2(functional.relu(self.fc1(x.flatten(1)))))
        logits: Tensor = self.fc3(x)
        return logits


BUILT_IN: Mapping[str, type[nn.Module]] = {
    "digits": DigitsNet,
    "mnist": McMahanCNN,
    "fashion-mnist": McMahanCNN,
    "cifar10": CifarCNN,
}
