"""The built-in loop: the same seed gives the same bits, also across a kill."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from agents.learning import train as module
from agents.learning.failure import Failure
from agents.learning.models import DigitsNet
from agents.learning.placement import Placement, choose
from agents.learning.samples import Samples, TensorSamples
from agents.learning.settings import Optimizer, OptimizerName, Training
from agents.learning.train import Job, seed_everything, train
from agents.learning.userdata import LoaderSamples, samples_of

CPU = Placement(torch.device("cpu"), channels_last=True, bf16=False)


class Killed(BaseException):
    """Stands for SIGKILL between two epochs."""


def job(name: OptimizerName = "sgd", rate: float = 0.05, **changes: Any) -> Job:
    return replace(Job(Training(4, 16, Optimizer(name, rate, 0.9, 0.0001)), 10, 7, CPU, None, "this job"), **changes)


@pytest.fixture(scope="module")
def samples() -> Samples:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(97, 1, 8, 8, generator=generator)
    return TensorSamples(x, x.flatten(1)[:, :10].argmax(dim=1))


def fresh(dropout: float = 0.0) -> nn.Module:
    seed_everything(1, "start")
    return nn.Sequential(DigitsNet(), nn.Dropout(dropout)) if dropout else DigitsNet()


def bits(model: nn.Module) -> list[bytes]:
    return [value.contiguous().numpy().tobytes() for value in model.state_dict().values()]


def quiet(_: Any) -> None:
    pass


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_the_same_seed_gives_the_same_bits_and_another_does_not(name: OptimizerName, samples: Samples) -> None:
    results = []
    for seed in (7, 7, 8):
        model = fresh(0.2)
        train(model, samples, job(name, 0.01, seed=seed), quiet)
        results.append(bits(model))
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_killed_training_goes_on_bit_for_bit(
    name: OptimizerName, epoch: int, samples: Samples, tmp_path: Path
) -> None:
    whole = fresh(0.2)
    losses = train(whole, samples, job(name, 0.01), quiet).losses

    def dies(progress: Any) -> None:
        if progress["epoch"] == epoch + 1:
            raise Killed

    with pytest.raises(Killed):
        train(fresh(0.2), samples, job(name, 0.01, checkpoint=tmp_path / "c"), dies)
    resumed, seen = fresh(0.2), []
    course = train(resumed, samples, job(name, 0.01, checkpoint=tmp_path / "c"), seen.append)
    assert [progress["epoch"] for progress in seen] == list(range(epoch + 1, 5))
    assert bits(resumed) == bits(whole)
    assert course.losses == losses


def test_a_users_loader_goes_on_bit_for_bit_too(samples: Samples, tmp_path: Path) -> None:
    loader = samples_of(DataLoader(TensorDataset(*samples.raw), batch_size=16, shuffle=True), "train")
    assert isinstance(loader, LoaderSamples)
    whole = fresh(0.2)
    train(whole, loader, job(), quiet)

    def dies(progress: Any) -> None:
        if progress["epoch"] == 3:
            raise Killed

    with pytest.raises(Killed):
        train(fresh(0.2), loader, job(checkpoint=tmp_path / "c"), dies)
    torch.rand(5)
    resumed = fresh(0.2)
    train(resumed, loader, job(checkpoint=tmp_path / "c"), quiet)
    assert bits(resumed) == bits(whole)


def test_a_training_that_is_told_to_stop_ends_at_its_next_checkpoint_and_goes_on_bit_for_bit(
    samples: Samples, tmp_path: Path
) -> None:
    whole = fresh(0.2)
    losses = train(whole, samples, job(), quiet).losses
    seen: list[Any] = []
    told = job(checkpoint=tmp_path / "c", stop=lambda: len(seen) >= 2)
    with pytest.raises(Failure, match="stopped after epoch 2 of 4, as asked") as caught:
        train(fresh(0.2), samples, told, seen.append)
    assert caught.value.kind == "stopped"
    resumed = fresh(0.2)
    assert train(resumed, samples, job(checkpoint=tmp_path / "c"), seen.append).losses == losses
    assert [progress["epoch"] for progress in seen] == [1, 2, 3, 4]
    assert bits(resumed) == bits(whole)


def test_a_training_that_is_told_to_stop_in_its_last_epoch_finishes(samples: Samples, tmp_path: Path) -> None:
    seen: list[Any] = []
    train(fresh(), samples, job(checkpoint=tmp_path / "c", stop=lambda: len(seen) == 4), seen.append)
    assert len(seen) == 4


@pytest.mark.parametrize(("spoil", "why"), [
    ("other job", "belongs to another training"), ("other torch", "written by torch 1.0.0"),
    ("no epochs", "0 epochs of 4"), ("other network", "loading state_dict"),
    ("other optimizer", "parameter group"), ("half a moment", ""), ("list", ""),
    ("torn", ""), ("empty", ""), ("text", ""), ("pickle", ""),
])
def test_a_checkpoint_that_is_not_ours_costs_only_time_and_is_named(
    spoil: str, why: str, samples: Samples, tmp_path: Path
) -> None:
    path, other_job = tmp_path / "c", spoil == "other job"
    train(fresh(), samples, job(checkpoint=path, fingerprint="another job" if other_job else "this job"), quiet)
    saved = torch.load(path, weights_only=True)
    match spoil:
        case "other torch":
            torch.save(saved | {"torch": "1.0.0"}, path)
        case "no epochs":
            torch.save(saved | {"losses": []}, path)
        case "other network":
            torch.save(saved | {"model": {"weight": torch.zeros(2, 2)}}, path)
        case "other optimizer":
            torch.save(saved | {"optimizer": torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=9.0).state_dict()}, path)
        case "half a moment":
            del saved["optimizer"]["param_groups"]
            torch.save(saved, path)
        case "list":
            torch.save([1, 2, 3], path)
        case "torn":
            path.write_bytes(path.read_bytes()[:500])
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("hello")
        case "pickle":
            path.write_bytes(b"\x80\x02cposix\nsystem\nU\x04true\x85R.")
    whole, other = fresh(), fresh()
    train(whole, samples, job(), quiet)
    seen: list[Any] = []
    train(other, samples, job(checkpoint=path), seen.append)
    assert bits(other) == bits(whole)
    assert why in seen[0]["checkpoint_ignored"]
    assert "training begins again" in seen[0]["checkpoint_ignored"]


def test_training_learns_and_says_so(samples: Samples) -> None:
    seen: list[Any] = []
    course = train(fresh(), samples, job(), seen.append)
    assert [(p["epoch"], p["of"], p["step"], p["steps"]) for p in seen] == [(k, 4, 6, 6) for k in (1, 2, 3, 4)]
    assert [p["loss"] for p in seen] == course.losses
    assert course.losses[-1] < course.losses[0]
    assert 0 < course.first_step_at <= course.last_step_at


def test_a_long_epoch_reports_within(samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REPORT_EVERY", 0.0)
    seen: list[Any] = []
    train(fresh(), samples, job(), seen.append)
    assert [p["step"] for p in seen] == [1, 2, 3, 4, 5, 6, 6] * 4


@pytest.mark.parametrize("every", [0.0, 99.0])
def test_a_loss_that_is_not_finite_is_the_end_and_says_why(
    every: float, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REPORT_EVERY", every)
    with pytest.raises(Failure, match="training diverged: the loss of epoch") as caught:
        train(fresh(), samples, job(rate=900.0), quiet)
    assert (caught.value.kind, caught.value.do) == ("task", "lower the learning rate")


def test_outputs_that_do_not_fit_the_classes_are_named(samples: Samples) -> None:
    with pytest.raises(Failure, match=r"outputs of shape \(16, 10\) for 16 samples and 11 classes"):
        train(fresh(), samples, job(classes=11), quiet)


def test_labels_that_are_no_classes_are_not_rounded_into_some() -> None:
    loader = samples_of(DataLoader(TensorDataset(torch.zeros(9, 1, 8, 8), torch.rand(9))), "train")
    with pytest.raises(Failure, match=r"the labels have type torch.float32") as caught:
        train(fresh(), loader, job(), quiet)
    assert caught.value.kind == "data"


def test_batch_normalisation_never_meets_a_single_sample() -> None:
    x = torch.randn(33, 1, 8, 8)
    model = nn.Sequential(nn.Conv2d(1, 4, 8), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 10))
    train(model, TensorSamples(x, torch.arange(33) % 10), job(), quiet)


def test_frozen_parameters_stay(samples: Samples) -> None:
    model = DigitsNet()
    model.conv1.requires_grad_(requires_grad=False)
    before = model.conv1.weight.detach().clone()
    train(model, samples, job(), quiet)
    assert torch.equal(model.conv1.weight, before)


def test_small_networks_stay_in_float32_and_unknown_devices_are_named() -> None:
    assert choose(DigitsNet(), "cpu") == CPU
    assert choose(nn.Linear(2, 2), "auto").channels_last is False
    for name in ("tpu", "cuda:99", "cuda:x"):
        with pytest.raises(Failure, match="device"):
            choose(DigitsNet(), name)
