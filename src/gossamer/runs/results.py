"""Accuracy and costs of a trained network, as stored in ``results.json``."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

import gossamer
from gossamer import kernels
from gossamer.connectivity import SparseLayer
from gossamer.data import Dataset
from gossamer.evaluate import Predictor, accuracy_under_noise, cost, latency, measure_activations
from gossamer.evaluate.unit_activations import Layer as Module
from gossamer.evaluate.unit_activations import linear_layers
from gossamer.machine import available_cpus, busy, load, processor
from gossamer.models import title
from gossamer.runs.schema import FORMAT, Data, Histogram, Layer, Machine, Network, NoiseLevel, Results
from gossamer.training import Fit, evaluate
from gossamer.training.samples import Samples

__all__ = ["describe_machine", "measure", "results"]

_NOISE = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0)  # in units of the preprocessed inputs
_BATCHES = (1, 128)
_MOST_NAMES = 20_000
_BINS = 20
_DENSE = 1 << 24  # numbers of sparse rows that are dense at a time


def measure(fit: Fit, test: Samples, architecture: Mapping[str, Any] | None = None) -> Network:
    """Measure a finished network: accuracy, costs, time, noise, and each of its layers.

    ``architecture``: what names it (see `gossamer.models.named`); None for a network of another making.
    """
    model, options = fit.model, fit.options
    assert isinstance(test.y, Tensor)
    x = cast(Tensor, test.x)  # sparse rows support the same operations
    at_once = max(1, min(512, _DENSE // math.prod(test.x.shape[1:])))
    loss, correct = evaluate(model, test, amp=options.amp)
    activation = measure_activations(model, x, at_once)
    counted = cost(model, fit.optimizer, activation)
    total, modules = counted.total, linear_layers(model)
    answering = Predictor(model) if fit.sparse else model  # the twin answers as it would without this package
    layers = []
    for layer in counted.layers:
        assert layer.shape is not None  # which a total lacks
        assert layer.density is not None
        found = activation.get(layer.name)  # None if the layer has no part in the answer
        fan_in, fan_out = _fans(modules[layer.name])
        layers.append(
            Layer(
                name=layer.name,
                in_features=layer.shape[1],
                out_features=layer.shape[0],
                density=layer.density,
                connections=layer.connections,
                active_fraction=None if found is None else found.output_active_fraction,
                dead_units=0 if found is None else found.dead_units or 0,
                isolated_units=int((fan_in == 0).sum()),
                fan_in=_histogram(fan_in),
                fan_out=_histogram(fan_out),
            )
        )
    return Network(
        network="sparse" if fit.sparse else "dense",
        seed=fit.seed,
        test_accuracy=correct / len(test.y),
        test_loss=loss if math.isfinite(loss) else None,
        test_correct=round(correct),
        parameters=total.parameters,
        connections=total.connections,
        weight_bytes=total.weight_bytes,
        gradient_bytes=total.gradient_bytes,
        optimizer_bytes=total.optimizer_bytes or 0,
        index_bytes=total.index_bytes,
        macs_per_sample=total.macs_per_sample,
        macs_per_sample_active=total.active_macs_per_sample,
        training_seconds=sum(epoch.seconds for epoch in fit.history),
        epochs=len(fit.history),
        latency_ms={batch: 1000 * latency(answering, _batch(x, batch)) for batch in _BATCHES},
        noise=tuple(
            NoiseLevel(sigma, accuracy)
            for sigma, accuracy in accuracy_under_noise(model, x, test.y, _NOISE, batch_size=at_once)
        ),
        layers=tuple(layers),
        step="compiled" if fit.fallback is None else "autograd",
        fallback=fit.fallback,
        model=None if architecture is None else title(architecture),
        hebbian_blocks=0 if architecture is None else architecture.get("hebbian_blocks", 0),
    )


def describe_machine(threads: int, device: torch.device) -> Machine:
    """Describe the machine as it is now."""
    name = processor() or platform.machine()
    return Machine(
        processor=f"{name} ({kernels.info().instruction_set})",
        threads=threads,
        system=f"{platform.system()} {platform.release()}",
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        busy=busy(load(), available_cpus()),
    )


def results(data: Dataset, networks: list[Network], machine: Machine) -> Results:
    """Return the contents of ``results.json``."""
    names = tuple(data.features)
    return Results(
        format=FORMAT,
        gossamer=gossamer.__version__,
        torch=torch.__version__,
        machine=machine,
        data=Data(
            name=data.name,
            train=len(data.train),
            validation=len(data.validation),
            test=len(data.test),
            features=len(names),
            classes=tuple(data.classes),
            image=data.image,
            features_names=names if len(names) <= _MOST_NAMES else None,
        ),
        networks=tuple(networks),
    )


def _batch(x: Tensor, size: int) -> Tensor:
    """``size`` rows of ``x``, repeated if it has fewer."""
    return x[torch.arange(size, device=x.device) % len(x)]


def _fans(layer: Module) -> tuple[Tensor, Tensor]:
    """Count connections into each output, and out of each input, of a convolution each position of its kernel."""
    if isinstance(layer, SparseLayer):
        return layer.pattern.fan_in.cpu(), layer.pattern.fan_out.cpu()
    outputs, inputs = layer.weight.flatten(1).shape
    return torch.full((outputs,), inputs), torch.full((inputs,), outputs)


def _histogram(counts: Tensor) -> Histogram:
    """Bins of equal whole width over the counts that occur; edges halfway between whole numbers."""
    low, high = int(counts.min()), int(counts.max())
    width = max(1, -(-(high - low + 1) // _BINS))
    bins = -(-(high - low + 1) // width)
    found = torch.bincount((counts.long() - low).div(width, rounding_mode="floor"), minlength=bins)
    return Histogram(tuple(found.tolist()), tuple(low - 0.5 + width * i for i in range(bins + 1)))
