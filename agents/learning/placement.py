"""Where and in which number format a network runs fastest. Owns the rule, which depends on machine and
network alone, never on a stopwatch: the same restart computes the same bits."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from agents.learning.failure import Failure

BF16_FROM = 100_000
"""Parameters from which bfloat16 pays: below, casting costs more than the products save."""


@dataclass(frozen=True, slots=True)
class Placement:
    device: torch.device
    channels_last: bool
    bf16: bool

    def put(self, model: nn.Module) -> nn.Module:
        model.to(self.device)
        return model.to(memory_format=torch.channels_last) if self.channels_last else model

    def inputs(self, x: Tensor) -> Tensor:
        x = x.to(self.device, non_blocking=True)
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last and x.dim() == 4 else x

    @contextmanager
    def precision(self) -> Iterator[None]:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            yield


def choose(model: nn.Module, wanted: str) -> Placement:
    """The placement for `wanted` = auto, cpu or cuda:N. Raises `Failure("task")` for a device that is not
    there."""
    device = _device(wanted)
    size = sum(parameter.numel() for parameter in model.parameters())
    convolves = any(isinstance(module, nn.Conv2d) for module in model.modules())
    return Placement(device, convolves, size >= BF16_FROM and _has_bf16(device))


def _device(wanted: str) -> torch.device:
    if wanted == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if wanted == "cpu":
        return torch.device("cpu")
    if not re.fullmatch(r"cuda(:\d+)?", wanted):
        raise Failure("task", f"there is no device {wanted!r}", "give auto, cpu or cuda:N")
    number = int(wanted.partition(":")[2] or 0)
    if not torch.cuda.is_available() or number >= torch.cuda.device_count():
        raise Failure("task", f"device {wanted} is not there", "give auto or cpu, or repair the driver")
    return torch.device("cuda", number)


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    able: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
