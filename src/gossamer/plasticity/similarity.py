"""Cosine similarity of units: the statistics of evolving connectivity.

    C[j, i] = |⟨u_i, z_j⟩| / (‖u_i‖ ‖z_j‖)     vectors over all samples, not centred; 0 if one of them is zero

for output j and input i of a layer (Pieterse & Mocanu, arXiv 1903.07138v1). u and z depend on ``activation``:

``"pre"``    z: the output of the layer, bias included, before any activation function. u: the output of the layer
             before it, likewise; for a layer with none before it, its input. As in that paper's program.
``"post"``   z: the input of the next layer (for the last one, the output of the network). u: the input of the layer
             itself. As in CTRE (Atashgahi et al. 2022).

"Before" and "next" are found by following the first batch through the autograd graph, so branches are distinguished; a
layer that reads a mixture of several layers' outputs (a residual sum) falls back to its own input, and one whose output
no layer of the same width reads to its own output.

For a convolution u and z are images: output j is a channel and input i a position of the kernel, which respond at every
position of every sample (see `convolved`; ours). If the images of u or z have not the shape of the layer's own images,
because pooling or reshaping stands between, the layer falls back likewise.

Of a layer the smaller of two things is kept: activations, (inputs + outputs) · samples numbers, or sums of
their products, inputs · outputs numbers (see `pairs`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gossamer.connectivity import SparseConv2d, SparseLayer
from gossamer.connectivity.layer_input import layer_input
from gossamer.errors import InputError, check_choice
from gossamer.plasticity.convolved import add_products_, patches
from gossamer.plasticity.evidence import PairScores, Statistic
from gossamer.plasticity.pairs import Factored, Score, Summed
from gossamer.plasticity.ranks import sum_over_ranks_

__all__ = ["Activation", "Cosine", "CosineSums", "affordable_samples", "measure_cosines"]

Activation = Literal["pre", "post"]
Call = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Cosine(Statistic):
    """The statistic C, the cosine similarity of the activations of two units; see the module's docstring.

    Attributes:
        activation: ``"pre"`` or ``"post"``, the activations that are compared.
        absolute: whether opposite units count as alike; otherwise C is the positive part of the cosine.

    Example:
        >>> gs.plasticity.Cosine("post")
        Cosine(activation='post', absolute=True)
    """

    activation: Activation = "pre"
    absolute: bool = True

    def __post_init__(self) -> None:
        check_choice("activation", self.activation, ("pre", "post"))


def affordable_samples(layers: Iterable[SparseLayer]) -> int:
    """Return for how many samples C of all ``layers`` is measured within half a GiB: 100 at least, 10,000 at most."""
    shapes = [(layer.out_features, layer.in_features) for layer in layers]
    numbers = (1 << 29) // 4
    if sum(n_out * n_in for n_out, n_in in shapes) <= numbers:
        return 10_000
    return min(10_000, max(100, numbers // sum(n_out + n_in for n_out, n_in in shapes)))


class CosineSums:
    """Gathers z (batch, outputs) and u (batch, groups · inputs) by batches, then returns C.

    With several ``groups``, the outputs of each have their own part of u, and sums are kept from the start.
    """

    def __init__(self, outputs: int, inputs: int, like: Tensor, groups: int = 1) -> None:
        dtype = torch.promote_types(like.dtype, torch.float32)
        self.inputs, self.groups = inputs, groups
        self.z = [torch.empty(outputs, 0, dtype=dtype, device=like.device)]
        self.u = [torch.empty(groups * inputs, 0, dtype=dtype, device=like.device)]
        self.squares = torch.zeros(outputs + groups * inputs, dtype=torch.float64, device=like.device)
        self.sums: Tensor | None = None

    def add(self, z: Tensor, u: Tensor) -> None:
        """Add one batch."""
        z, u = z.t().to(self.z[0]), u.t().to(self.u[0])
        self.squares += torch.cat([x.square().sum(1).double() for x in (z, u)])
        self.z.append(z.clone(memory_format=torch.contiguous_format))
        self.u.append(u.clone(memory_format=torch.contiguous_format))
        samples = sum(part.shape[1] for part in self.z)
        if self.sums is not None or self.groups > 1 or samples * (len(z) + len(u)) > len(z) * len(u):
            self._collapse()

    def _collapse(self) -> None:
        """Turn activations into sums of products."""
        if self.sums is None:
            self.sums = self.z[0].new_zeros(len(self.z[0]), self.inputs)
        for z, u in zip(self.z[1:], self.u[1:], strict=True):
            add_products_(self.sums, z, u, self.groups)
        del self.z[1:], self.u[1:]

    def finish(self, name: str, group: dist.ProcessGroup | None = None) -> Callable[[bool], PairScores]:
        """Return C over the samples of all ranks, as a function of ``absolute``; nothing can be added afterwards."""
        collapsed = float(self.sums is not None or self.groups > 1)  # if one rank has only sums, all turn to sums
        totals = sum_over_ranks_(torch.cat([self.squares, self.squares.new_tensor([collapsed])]), group)
        scale, dtype = totals[:-1], self.z[0].dtype
        if not bool(scale.to(dtype).isfinite().all()):
            raise InputError(f"activations around layer {name!r} must be finite, and their squares too")
        scale = torch.where(scale > 0, scale.rsqrt(), 0.0).to(dtype)[:, None]
        z_scale, u_scale = scale[: len(self.z[0])], scale[len(self.z[0]) :]
        if totals[-1] > 0:
            self._collapse()
            assert self.sums is not None
            matrix = sum_over_ranks_(self.sums, group).mul_(z_scale)
            matrix.unflatten(0, (self.groups, -1)).mul_(u_scale.view(self.groups, 1, self.inputs))
            return lambda absolute: Summed(matrix, Score(absolute, 1.0))
        z = torch.cat(self.z, 1).mul_(z_scale)
        self.z.clear()
        u = torch.cat(self.u, 1).mul_(u_scale)
        self.u.clear()
        return lambda absolute: Factored(z, u, Score(absolute, 1.0), group)


# ---- from a network ------------------------------------------------------------------------------------------------


@dataclass
class _Call:
    """One use of a linear layer or a convolution in a pass."""

    layer: nn.Module
    x: Tensor  # (samples, inputs), or images
    y: Tensor  # (samples, outputs), or images
    reads: Any  # nodes of the autograd graph, in the first pass
    returns: Any


@dataclass
class _Flow:
    """The graph of calls of a pass, which feeds which: found in the first pass, the same in all."""

    layers: list[nn.Module]
    before: list[int | None]  # the call whose output, maybe through element-wise functions, this one reads
    after: list[int | None]  # the call, or -1 for the network's end, that reads this one's output

    @classmethod
    def of(cls, calls: Sequence[_Call], end: Any) -> _Flow:
        """Find the graph from the calls of a pass and the output of the network."""
        origins = {call.returns: index for index, call in enumerate(calls) if call.returns is not None}
        before = [_sole_origin(call.reads, origins) for call in calls]
        after: list[int | None] = [None] * len(calls)
        last = _sole_origin(end, origins)
        if last is not None:
            after[last] = -1
        for index in reversed(range(len(calls))):  # of several readers the first counts
            source = before[index]
            if source is not None:
                after[source] = index
        return cls([call.layer for call in calls], before, after)


def _sole_origin(node: Any, origins: Mapping[Any, int]) -> int | None:
    """The one call that ``node`` of the autograd graph descends from with no other call in between; None if not one."""
    found: set[int] = set()
    seen, stack = set(), [node]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in origins:
            found.add(origins[node])
        else:
            stack.extend(source for source, _ in node.next_functions)
    return found.pop() if len(found) == 1 else None


def measure_cosines(
    net: nn.Module,
    layers: Mapping[str, SparseLayer],
    wanted: Iterable[Cosine],
    batches: Iterable[Call],
    *,
    group: dist.ProcessGroup | None = None,
) -> dict[str, dict[Statistic, PairScores]]:
    """Measure the cosine similarity C of the units of each layer over samples.

    The passes run in evaluation mode (dropout off); modes of all modules are restored, parameters, buffers and random
    generators are left unchanged.

    Args:
        net: the network.
        layers: sparse layers of ``net`` by name.
        wanted: the variants of C to measure.
        batches: the arguments of calls of ``net``, pairs (args, kwargs).
        group: the ranks over whose samples C is measured.

    Returns:
        For each layer and variant, the scores of all pairs (output, input).

    Raises:
        InputError: there are no samples, or ``net`` does not use one of the layers.

    Example:
        >>> net = gs.SparseLinear(4, 3, density=0.5)
        >>> wanted = gs.plasticity.Cosine()
        >>> found = gs.plasticity.measure_cosines(net, {"net": net}, [wanted], [((torch.randn(20, 4),), {})])
        >>> found["net"][wanted].shape
        (3, 4)

    References:
        Pieterse, Mocanu, "Evolving and understanding sparse deep neural networks using cosine similarity", arXiv
        1903.07138v1 (2019).
    """
    wanted = tuple(dict.fromkeys(wanted))
    activations = tuple(dict.fromkeys(cosine.activation for cosine in wanted))
    sums = {
        (name, activation): CosineSums(layer.out_features, layer.in_features, layer.weight_values, layer.groups)
        for name, layer in layers.items()
        for activation in activations
    }
    names: dict[nn.Module, str] = {layer: name for name, layer in layers.items()}
    reached: set[str] = set()
    flow, samples = None, 0
    with closing(_passes(net, batches)) as passes:  # also after an exception: it leaves the network as it was
        for calls, y, end in passes:
            flow = flow or _Flow.of(calls, end)
            samples += max((len(call.x) for call in calls), default=1)
            if flow.layers != [call.layer for call in calls]:
                raise InputError("net must call the same layers in the same order for every batch of inputs")
            for index, call in enumerate(calls):
                name = names.get(call.layer)
                if name is not None:
                    reached.add(name)
                    for activation in activations:
                        z, u = _pair(calls, index, flow, y, activation)
                        parts = patches(z, u, call.layer) if isinstance(call.layer, SparseConv2d) else [(z.t(), u.t())]
                        for z_part, u_part in parts:
                            sums[name, activation].add(z_part.t(), u_part.t())
    device = next(iter(layers.values())).weight_values.device
    if not sum_over_ranks_(torch.tensor(samples, device=device), group):
        raise InputError("inputs (without them, training) must give at least one sample, got none")
    if samples and (missed := [name for name in layers if name not in reached]):
        raise InputError(f"net must use every layer that is rewired, and did not use {', '.join(map(repr, missed))}")
    out: dict[str, dict[Statistic, PairScores]] = {name: {} for name in layers}
    for (name, activation), gathered in sums.items():
        finished = gathered.finish(name, group)
        out[name] |= {cosine: finished(cosine.absolute) for cosine in wanted if cosine.activation == activation}
    return out


def _pair(
    calls: Sequence[_Call], index: int, flow: _Flow, end: Tensor | None, activation: Activation
) -> tuple[Tensor, Tensor]:
    """(z, u) of one call."""
    call, before, after = calls[index], flow.before[index], flow.after[index]
    if activation == "pre":
        return call.y, call.x if before is None or calls[before].y.shape != call.x.shape else calls[before].y
    z = end if after == -1 else None if after is None else calls[after].x
    z = None if z is None else _samples(call.layer, z)
    return call.y if z is None or z.shape != call.y.shape else z, call.x


def _passes(net: nn.Module, batches: Iterable[Call]) -> Generator[tuple[list[_Call], Tensor | None, Any], None, None]:
    """Yield for each batch the calls of layers in order, the output of the network, and its node in the graph."""
    calls: list[_Call] = []

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], y: Tensor) -> Tensor:
        x = layer_input(args, kwargs)
        passed_on = y.detach().requires_grad_(torch.is_grad_enabled()).clone()  # whose graph starts here
        calls.append(_Call(module, _samples(module, x).clone(), _samples(module, y), x.grad_fn, passed_on.grad_fn))
        return passed_on  # the next operation may change it in place

    linear = [module for module in net.modules() if isinstance(module, SparseLayer | nn.Linear | nn.Conv2d)]
    with ExitStack() as last, ExitStack() as undo:  # two, since an interruption may come just before one is left
        last.callback(undo.close)
        for module in net.modules():
            undo.callback(setattr, module, "training", module.training)
        for module in linear:
            undo.enter_context(module.register_forward_hook(hook, with_kwargs=True))
        net.eval()
        first = True
        for args, kwargs in batches:
            with torch.set_grad_enabled(first):  # a graph, to find the flow between layers
                y = net(*args, **kwargs)
            single = isinstance(y, Tensor)
            yield list(calls), y.detach() if single else None, y.grad_fn if single else None
            calls.clear()
            first = False


def _samples(layer: nn.Module, x: Tensor) -> Tensor:
    """Inputs or outputs of ``layer``: images (N, channels, H, W) of a convolution, otherwise rows (samples, units)."""
    if isinstance(layer, SparseConv2d | nn.Conv2d):
        return x.detach()[None] if x.dim() == 3 else x.detach()
    return x.detach().reshape(-1, *x.shape[-1:])
