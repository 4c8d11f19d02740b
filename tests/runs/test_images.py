"""Networks of images in runs: trained, stopped, resumed, loaded and shown as all others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gossamer import data, report
from gossamer.cli import main
from gossamer.connectivity import NormalizedSparseConv2d, SparseConv2d, SparseLayer
from gossamer.errors import InputError
from gossamer.models import VGG, HaHBlock, WideResidual, from_architecture
from gossamer.runs import Options, RunFolder, Watch, load_data, load_model, resume, train
from gossamer.runs.folder import Job
from gossamer.runs.inputs import image_of, inputs_of, samples_of
from gossamer.training import Epoch
from gossamer.training.architecture import architecture

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = (6, 8, 2)
"""Height, width and channels: all different, so that an exchange shows."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 120 images in which the place of a bright patch is the class."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    x = rng.integers(0, 100, (120, *SIZE), dtype=np.uint8)
    for image, label in zip(x, labels, strict=True):
        image[2 * label : 2 * label + 2, 2:6, label % 2] += 150
    path = tmp_path_factory.mktemp("images") / "patches.npz"
    np.savez(path, x=x, y=labels)
    return path


@pytest.fixture(scope="module")
def options(images: Path) -> Options:
    return Options(
        data=str(images), model="vgg:4-M-6", hidden=(), hebbian_blocks=1, hebbian_cost=10.0, density=0.6, dropout=0.1,
        augment="shift:1,flip", activation="topk:3", epochs=3, batch_size=20, learning_rate=0.01, threads=1,
    )  # fmt: skip


CHANGES: dict[str, dict[str, Any]] = {
    "VGG": {},
    "joint gradient, dense": {"hebbian_gradient": "joint", "density": 1.0, "rewire": "none", "patience": 1},
    "WRN": {"model": "wide-residual:10-1", "hebbian_blocks": 0, "hebbian_cost": 1.0, "rewire": "RigL", "epochs": 2},
    "pruned": {"prune": "gradual:0.2", "rewire": "none", "allocate": "uniform"},
}


class StopAfter(Watch):
    """Presses Ctrl-C after an epoch of the sparse network."""

    def __init__(self, epoch: int) -> None:
        self.where = Job("sparse", 0), epoch

    def epoch(self, job: Job, epoch: Epoch) -> None:
        if (job, epoch.epoch) == self.where:
            raise KeyboardInterrupt


def outcome(folder: RunFolder) -> dict[str, Any]:
    """All that must not depend on interruptions: everything but times."""
    results = json.loads(folder.results.read_bytes())
    lines = (folder.path / "metrics.jsonl").read_text().splitlines()
    return {
        "networks": [n | {"training_seconds": 0, "latency_ms": 0} for n in results["networks"]],
        "metrics": [json.loads(line) | {"seconds": 0, "digest": ""} for line in lines],
        "model": folder.model.read_bytes(),
    }


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_stopped_run_ends_like_one_that_was_not(options: Options, tmp_path: Path, change: Mapping[str, Any]) -> None:
    chosen = replace(options, twin=False, **change)
    whole = train(chosen, load_data(chosen), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(chosen, load_data(chosen), tmp_path / "stopped", StopAfter(1))
    assert outcome(resume(tmp_path / "stopped")) == outcome(whole)
    assert whole.options() == chosen
    epochs = report.read(whole.path).epochs
    assert any(epoch.dropped for epoch in epochs) == (chosen.rewire != "none" or chosen.prune is not None)
    if chosen.prune is None:
        assert len({epoch.connections for epoch in epochs}) == 1


def test_the_model_file_answers_as_the_run_measured(options: Options, tmp_path: Path) -> None:
    folder = train(replace(options, epochs=2), load_data(options), tmp_path / "run")
    file, test = load_model(folder.model), load_data(options).test
    assert isinstance(file.model, VGG)
    assert isinstance(file.model.features[0], HaHBlock)
    with torch.no_grad():
        right = int((file.model(file.inputs(test.x)).argmax(1).numpy() == test.y).sum())
    networks = json.loads(folder.results.read_bytes())["networks"]
    assert right == networks[0]["test_correct"]
    assert [n["model"] for n in networks] == ["VGG 4-M-6, 1 HaH block", "VGG 4-M-6"]
    assert [n["hebbian_blocks"] for n in networks] == [1, 0]
    assert networks[0]["fallback"] == "the samples are augmented"


def test_rows_become_images_with_their_channels_first(options: Options, images: Path) -> None:
    loaded = load_data(options)
    image = image_of("vgg", loaded)
    assert image == SIZE
    x = inputs_of(loaded.test.x, image)
    assert x.shape == (len(loaded.test), 2, 6, 8)
    assert x.is_contiguous()
    whole = data.read_rows(str(images), loaded.preprocessing).x
    with np.load(images) as arrays:
        raw = torch.from_numpy(arrays["x"]).permute(0, 3, 1, 2)
    assert torch.equal((inputs_of(whole, image) * 255).round().to(torch.uint8), raw)
    samples = samples_of(loaded.train, image, torch.device("cpu"))
    assert samples.x.shape == (84, 2, 6, 8)
    assert image_of("mlp", loaded) is None
    with pytest.raises(InputError, match="x must have 96 pixels for images"):
        inputs_of(loaded.test.x[:, :9], image)


def test_the_architecture_is_plain_data_and_the_twin_is_dense(options: Options) -> None:
    loaded = load_data(options)
    x = inputs_of(loaded.train.x, SIZE)
    found = architecture(options, x, 3)
    assert found == json.loads(json.dumps(found))
    assert found["mean"] == pytest.approx(x.mean((0, 2, 3)).tolist(), rel=1e-3)
    assert found["std"] == pytest.approx(x.std((0, 2, 3)).tolist(), rel=1e-3)
    sparse = from_architecture(found, torch.Generator().manual_seed(0))
    assert isinstance(sparse.get_submodule("features.block1.conv"), NormalizedSparseConv2d)
    standardized = sparse.standardized(x)  # type: ignore[operator]
    torch.testing.assert_close(standardized.mean((0, 2, 3)), torch.zeros(2), atol=2e-3, rtol=0)
    twin = from_architecture(architecture(options, x, 3, sparse=False))
    assert not any(isinstance(m, SparseLayer | HaHBlock) for m in twin.modules())
    assert [type(m) for m in twin.get_submodule("features.block2").children()] == [nn.Conv2d, nn.ReLU, nn.BatchNorm2d]
    other = replace(options, model="wide-residual:10-1", hebbian_blocks=0, hebbian_cost=1.0)
    residual = from_architecture(architecture(other, x, 3))
    assert isinstance(residual, WideResidual)
    assert any(isinstance(m, SparseConv2d) for m in residual.modules())
    constant = architecture(options, torch.full((5, 2, 6, 8), 0.25), 3)
    assert (constant["mean"], constant["std"]) == ([0.25, 0.25], [1.0, 1.0])


def test_config_has_the_options_of_blocks_where_there_are_blocks(options: Options) -> None:
    text = options.to_toml()
    for line in ('model = "vgg:4-M-6"', "hebbian_blocks = 1", "hebbian_cost = 10.0", 'augment = "shift:1,flip"'):
        assert line in text.splitlines()
    assert Options.from_toml(text) == options
    plain = replace(options, model="mlp", hidden=(5,), hebbian_blocks=0, hebbian_cost=1.0, augment=None)
    assert "hebbian" not in plain.to_toml()
    assert Options.from_toml(plain.to_toml()) == plain
    before = {k: v for k, v in asdict(plain).items() if k not in ("model", "augment") and not k.startswith("hebbian")}
    assert Options.from_values(before, "start.json") == plain  # written before there were image networks


# ---- the command line ----------------------------------------------------------------------------------------------


def test_the_command_line_from_training_to_the_page(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["--model=vgg", "--hebbian-blocks=2", "--hebbian-winners=0.2", "--epochs=1", "--threads=1"]
    words.append("--augment=shift:1")
    assert main(["train", str(images), *words, "--out", str(run)]) == 0
    out, shown = capsys.readouterr()
    assert "VGG 32-32-M-64-64-M, 2 HaH blocks, dense, output dense, relu, no rewiring, Hebbian cost × 1" in shown
    assert "images changed by shift:1" in shown
    assert "With all connections and 2 HaH blocks the network is" in " ".join(out.split())
    page = (run / "report.html").read_text("utf-8")
    assert "VGG 32-32-M-64-64-M, 2 HaH blocks" in page
    assert "<dt>hebbian_blocks</dt><dd>2</dd>" in page
    assert main(["summary", str(run)]) == 0
    assert "features.block2.conv" in capsys.readouterr().out
    assert main(["summary", str(run), "--json"]) == 0
    network = json.loads(capsys.readouterr().out)["networks"][0]
    assert (network["model"], network["hebbian_blocks"]) == ("VGG 32-32-M-64-64-M, 2 HaH blocks", 2)
    assert main(["predict", str(run), str(images), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 120
    assert main(["report", str(run), "--out", str(tmp_path / "page.html")]) == 0


def test_choices_for_images(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["--model=wide-residual:10-1", "--epochs=1", "--no-twin", "--threads=1", "--quiet", "--no-report"]
    words.append("--prune=gradual:0.2")
    assert main(["train", str(images), *words, "--out", str(run)]) == 0
    lines = (run / "config.toml").read_text().splitlines()
    for line in ('activation = "relu"', "hidden = []", 'allocate = "uniform"', 'rewire = "none"', "density = 0.5"):
        assert line in lines


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("wine --model vgg", "model must be 'mlp' for wine, a table without images, got 'vgg'"),
        ("digits --model cnn", "model must be mlp, vgg, vgg16, vgg:32-32-M-64-64-M, wide-residual or"),
        ("digits --model vgg --hebbian-blocks 5", "hebbian_blocks must be a whole number from 0 to 4, got 5"),
        ("digits --hebbian-blocks 2", "hebbian_blocks must be 0 for model 'mlp', got 2: 'vgg' has such blocks"),
        ("digits --model wide-residual --hebbian-blocks 1", "hebbian_blocks must be 0 for model 'wide-residual'"),
        ("digits --model vgg --hebbian-cost 3", "hebbian_cost must be 1.0 without hebbian_blocks, got 3.0"),
        ("digits --model vgg --hebbian-blocks 1 --hebbian-cost nan", "hebbian_cost must be a finite number"),
        ("digits --model vgg --hebbian-blocks 1 --hebbian-winners 0", "hebbian_winners must be in (0, 1], got 0.0"),
        (
            "digits --model vgg --hebbian-blocks 1 --hebbian-gradient x",
            "hebbian_gradient must be one of 'local', 'joint'",
        ),
        ("digits --model vgg16", "image_size must be at least 32 for the 5 poolings in layers, got [8, 8]"),
        ("digits --model wide-residual:12-1", "depth must be 6n + 4"),
        ("digits --model vgg --hidden 30", "hidden must be empty for model 'vgg'"),
        ("digits --model vgg --epsilon 3", "epsilon must be None for model 'vgg', got 3.0: give density"),
        ("digits --model vgg --activation topk:60", "k must be a whole number from 1 to 32, got 60"),
        ("digits --model vgg --augment shift:8", "shift must be below the size of the images, 8 × 8, got 8"),
        ("digits --model vgg --augment turn", "augment must be shift:PIXELS, flip, or both"),
        ("digits --augment flip", "augment must be None for model 'mlp', which reads no images, got 'flip'"),
    ],
)
def test_mistakes_are_named_and_leave_no_folder(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words.split()]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
