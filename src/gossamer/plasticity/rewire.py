"""Rewiring: drop connections, grow as many elsewhere, and leave everything else unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gossamer.connectivity.distributed import check_resizable
from gossamer.errors import InputError, check_choice, check_count
from gossamer.kernels import split
from gossamer.plasticity import drop as drops
from gossamer.plasticity import grow as grows
from gossamer.plasticity.carry import LayerChange, Prepared, core_degrees, prepare
from gossamer.plasticity.commit import commit
from gossamer.plasticity.drop import Drop
from gossamer.plasticity.evidence import Evidence, Statistic, generator_for
from gossamer.plasticity.first_weights import NewWeights, first_weights
from gossamer.plasticity.flat_indices import contained
from gossamer.plasticity.grow import Grow, Sequential
from gossamer.plasticity.inputs import Inputs
from gossamer.plasticity.layers import Where, bare, sparse_layers
from gossamer.plasticity.observer import Observer
from gossamer.plasticity.optimizers import check_held, check_replaceable, optimizers_in
from gossamer.plasticity.ranks import check_agreement
from gossamer.plasticity.redistribute import Share, grown_counts
from gossamer.plasticity.similarity import affordable_samples

__all__ = ["Record", "Regrown", "Rewire"]

Regrown = Literal["new", "keeps"]
Record = Literal["counts", "degrees", "indices"]

_LAST_SAMPLES = 1024  # of training, whose inputs are kept from step to step


class Rewire:
    """Change which connections of a network exist, while their number stays constant.

    In one `step`, in each sparse layer, linear or convolutional, ``drop`` chooses the connections to remove and
    ``grow`` as many empty positions to fill. Surviving connections keep their weights and their optimizer state to the
    bit; new connections start with weight 0 and state 0. Call it once an epoch, after validation and not after the last
    epoch (Mocanu et al. 2018), or as often as the rule in use asks for. A step clears the weights' gradients, so don't
    call it while gradients of several batches are being accumulated. Copies of the network don't follow: see
    `AveragedModel` and `align_`. Time and memory of a step are linear in the connections with uniform growth.

    Args:
        net: the model, with whole weights on each rank (no FSDP); layers of density 1, frozen layers and those at which
            ``where(name, layer)`` is false stay unchanged.
        optimizer: the optimizer that trains ``net``; None if there is none. Its state follows, also that of optimizers
            which it wraps; one whose state can't, such as LBFGS, is refused unless ``reset_state``.
        drop: a rule of `gossamer.drop`, with the fraction of connections to move; default ``signed_magnitude(0.3)``.
        grow: a rule of `gossamer.grow`; default ``uniform()``. With ``none()`` the network shrinks.
        where: which layers to rewire (default: all).
        inputs: samples on which similarities are measured, as ``net`` reads them: a tensor, or an iterable of batches
            that can be gone through at every step (a DataLoader, whose first element counts). Without them, the last
            training batches are kept for it, augmented if training augments them. Either way they pass through the
            network as it is at the step, in evaluation mode.
        samples: at most so many of them, drawn from a tensor and the first of an iterable (default: 10,000 of
            ``inputs``, which give C to about 0.01, or in wide networks fewer, for which half a GiB suffices, but no
            fewer than 100; or the last 1024 rows of training).
        seed: decisions depend on (seed, layer, step) and on the measurements of the rules, and on no other generator.
        new_weights: first weights of new connections: ``"zero"``; ``"he"``, uniform on ±√(6 / n_in); ``"xavier"``,
            uniform on ±√(6 / (n_in + n_out)); ``"normal"``, N(0, 1) / 10.
        regrown: a connection that is dropped and grown in one step is a ``"new"`` connection, or ``"keeps"`` weight
            and state.
        redistribute: None, and every layer keeps its number of connections; or ``"magnitude"`` or ``"gradient"``: the
            connections that any layer dropped are grown where |W| or |∂L/∂W| of the survivors is large in the mean, and
            only their sum over the layers is constant. See `gossamer.plasticity.redistribute`. Full layers then
            take part too. Not for a net in DistributedDataParallel, whose buffers have fixed lengths.
        reset_state: clear the optimizer's whole state at each step, as if it were made anew.
        record: the record of each step and layer: ``"counts"``, in `log`; also the ``"degrees"``, for
            `core_degrees`; or also the ``"indices"`` that were dropped and grown, in `log`.
        group: the ranks that train together, if torch.distributed is in use. Statistics are summed over them, and after
            each step they verify that their connections are equal.

    Attributes:
        steps: number of steps so far.
        log: a dictionary for each step and layer, with step, layer, nnz, dropped and grown.

    Raises:
        InputError: an argument is outside its range, or the optimizer's state can't follow.

    Example:
        >>> net = nn.Sequential(gs.SparseLinear(100, 50, density=0.1), nn.ReLU(), nn.Linear(50, 10))
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        >>> rewire = gs.Rewire(net, optimizer, drop=gs.drop.magnitude(0.2), grow=gs.grow.uniform())
        >>> (change,) = rewire.step()
        >>> len(change.dropped), len(change.grown), net[0].nnz
        (100, 100, 500)

    References:
        Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse connectivity inspired by
        network science", Nature Communications 9:2383 (2018).
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        drop: Drop | None = None,
        grow: Grow | Sequential | None = None,
        *,
        where: Where | None = None,
        inputs: Inputs | None = None,
        samples: int | None = None,
        seed: int = 0,
        new_weights: NewWeights = "zero",
        regrown: Regrown = "new",
        redistribute: Share | None = None,
        reset_state: bool = False,
        record: Record = "counts",
        group: dist.ProcessGroup | None = None,
    ) -> None:
        self.net, self.optimizer, self.inputs, self.group = bare(net), optimizer, inputs, group
        self.drop = drops.signed_magnitude(0.3) if drop is None else drop
        self.grow = grows.uniform() if grow is None else grow
        if not isinstance(self.net, nn.Module):
            raise InputError(f"net must be a module, got {net!r}")
        if not (optimizer is None or isinstance(optimizer, torch.optim.Optimizer)):
            raise InputError(f"optimizer must be one of torch.optim or None, got {optimizer!r}")
        if not (where is None or callable(where)):
            raise InputError(f"where must be a function (name, layer) -> bool or None, got {where!r}")
        if not isinstance(self.drop, Drop):
            raise InputError(f"drop must be a rule of gossamer.drop, such as drop.magnitude(0.3), got {drop!r}")
        if not isinstance(self.grow, Grow | Sequential):
            raise InputError(f"grow must be a rule of gossamer.grow, such as grow.uniform(), got {grow!r}")
        self.seed = check_count("seed", seed)
        self.new_weights = check_choice("new_weights", new_weights, ("zero", "he", "xavier", "normal"))
        self.regrown = check_choice("regrown", regrown, ("new", "keeps"))
        if redistribute is not None:
            check_choice("redistribute", redistribute, ("magnitude", "gradient"))
            if isinstance(net, nn.parallel.DistributedDataParallel):
                raise InputError("redistribute must be None for a net in DistributedDataParallel")
            if not self._grows:
                raise InputError("redistribute must be None where nothing is grown (grow.none)")
        self.redistribute = redistribute
        self.reset_state = reset_state
        self.record = check_choice("record", record, ("counts", "degrees", "indices"))
        self.layers = sparse_layers(self.net, where)
        default = _LAST_SAMPLES if inputs is None else affordable_samples(self.layers.values())
        self.samples = default if samples is None else check_count("samples", samples, low=1)
        check_replaceable(self.layers.items())
        if optimizer is not None:
            trained = [(name, layer) for name, layer in self.layers.items() if layer.weight_values.requires_grad]
            check_held(optimizer, trained, reset=reset_state and redistribute is None)
        self.log: list[dict[str, Any]] = []
        self.steps = 0
        self._scores: list[float] = []
        self._degrees: dict[str, list[Tensor]] = {}
        needs = (*self.drop.needs, *self.grow.needs)
        self._observer = Observer(net, self.layers, needs, keep=self.samples if inputs is None else 0)

    @torch.no_grad()
    def step(self, score: float | None = None) -> list[LayerChange]:
        """Rewire every layer once.

        The changes of all layers are computed first and put in place together. If a rule can't decide (NaN weights, no
        gradient), it raises `InputError` and nothing has changed; after an interruption (Ctrl-C) network, optimizer and
        this object are as they were before the step, or as after it.

        Args:
            score: the score of the last validation, higher is better; `gossamer.grow.sequential` needs it.

        Returns:
            The changes, one for each layer that was rewired.

        Raises:
            InputError: a rule can't decide.
        """
        scores = self._scores if score is None else [*self._scores, float(score)]
        grow = self.grow.at(scores)
        if not grow.grows:
            check_resizable(self.layers.values(), "a net in it needs a rule of growth; with grow.none, train first")
        return self._step(grow if grow.grows else None, scores)

    @torch.no_grad()
    def final_prune(self) -> list[LayerChange]:
        """Drop once more and grow nothing, as the network of Mocanu et al. 2018 is delivered after training.

        Returns:
            The changes, one for each layer.
        """
        return self._step(None, self._scores)

    def _step(self, grow: Grow | None, scores: list[float]) -> list[LayerChange]:
        if self.redistribute is not None:
            check_resizable(self.layers.values(), "a net in it needs redistribute=None; without, train first")
        evidence = self._evidence(self.drop.needs if grow is None else (*self.drop.needs, *grow.needs))
        to_drop = [self.drop(e, self.steps) for e in evidence]
        counts = [0 if grow is None else int(mask.sum()) for mask in to_drop]
        if self.redistribute is not None and grow is not None and evidence:
            counts = grown_counts(evidence, to_drop, self.redistribute)
        planned = [self._plan(e, mask, n, grow) for e, mask, n in zip(evidence, to_drop, counts, strict=True)]
        changes = [change for change, _ in planned]
        patterns = {name: layer.pattern for name, layer in self.layers.items()}
        check_agreement(patterns | {change.layer: prepared.pattern for change, prepared in planned}, self.group)
        commit([*(prepared.put for _, prepared in planned), self._finish(changes, scores)])
        return changes

    @property
    def _grows(self) -> bool:
        return not isinstance(self.grow, Grow) or self.grow.grows

    # ---- evidence of the rules ---------------------------------------------------------------------------------------

    def _evidence(self, needs: Iterable[Statistic]) -> list[Evidence]:
        movable = self.redistribute is not None or not self._grows
        chosen = {
            name: layer
            for name, layer in self.layers.items()
            if layer.weight_values.requires_grad and 0 < layer.nnz < layer.in_features * layer.out_features + movable
        }
        generator = generator_for(self.seed, -1, self.steps)
        distinct = tuple(dict.fromkeys(needs))
        statistics = self._observer.measure(chosen, distinct, self.inputs, self.samples, generator, self.group)
        return [
            Evidence(name, layer, generator_for(self.seed, index, self.steps), statistics[name])
            for index, (name, layer) in enumerate(self.layers.items())
            if name in chosen
        ]

    # ---- one layer ---------------------------------------------------------------------------------------------------

    def _plan(self, e: Evidence, to_drop: Tensor, count: int, grow: Grow | None) -> tuple[LayerChange, Prepared]:
        survives, values = ~to_drop, None
        if self.drop.kick is not None:
            values = self.drop.kick(e, to_drop, self.drop.fraction_at(self.steps))
        kept, dropped = split(e.flat_indices, survives)
        degrees = core_degrees(kept, e.layer)
        grown = dropped[:0] if grow is None else grow(e, kept, dropped, count)
        if self.regrown == "keeps" and grown.numel():
            survives.masked_scatter_(to_drop, contained(dropped, grown))
            grown = grown[~contained(grown, dropped)]
            kept, dropped = split(e.flat_indices, survives)
        weights = first_weights(self.new_weights, grown.numel(), e.layer, e.generator)
        optimizer = None if self.reset_state else self.optimizer
        prepared = prepare(e.name, e.layer, kept, survives, grown, weights, optimizer, values)
        return LayerChange(e.name, self.steps, prepared.pattern.nnz, dropped, grown, degrees), prepared

    # ---- record and state --------------------------------------------------------------------------------------------

    def _finish(self, changes: Iterable[LayerChange], scores: list[float]) -> Callable[[], None]:
        """Return the bookkeeping after the layers have changed, as a function that may be called again."""
        step, length, entries, degrees = self.steps, len(self.log), [], dict(self._degrees)
        for change in changes:
            entry: dict[str, Any] = {"step": change.step, "layer": change.layer, "nnz": change.nnz}
            entry |= {"dropped": change.dropped.numel(), "grown": change.grown.numel()}
            if self.record == "indices":
                entry |= {"dropped_indices": change.dropped, "grown_indices": change.grown}
            entries.append(entry)
            before = [] if self.record == "counts" else degrees.get(change.layer, [])
            degrees[change.layer] = [*before, change.core_degrees]

        def finish() -> None:
            if self.reset_state and self.optimizer is not None:
                for optimizer in optimizers_in(self.optimizer):
                    optimizer.state.clear()
            self._observer.forget()
            self.log[length:] = entries
            self._degrees, self._scores, self.steps = degrees, scores, step + 1

        return finish

    def core_degrees(self, layer: str) -> Tensor:
        """Return the surviving connections of each input of a layer after each removal.

        Args:
            layer: qualified name of a layer that has been rewired.

        Returns:
            Counts (steps, in_features), int32; of the last step only, unless they are recorded (``record="degrees"`` or
            ``"indices"``).

        Raises:
            InputError: no such layer has been rewired.
        """
        if layer not in self._degrees:
            raise InputError(f"layer must be one that has been rewired, got {layer!r}")
        return torch.stack(self._degrees[layer])

    def state_dict(self) -> dict[str, Any]:
        """Return the state besides network, optimizer and arguments, from which a resumed run continues exactly.

        Returns:
            Numbers, strings and tensors by name.
        """
        return {
            "layers": self._sizes(),
            "seed": self.seed,
            "steps": self.steps,
            "scores": list(self._scores),
            "log": [dict(entry) for entry in self.log],
            "degrees": {layer: list(rows) for layer, rows in self._degrees.items()},
            **self._observer.state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken; load network and optimizer too.

        Args:
            state: the result of `state_dict`.

        Raises:
            InputError: ``state`` is incomplete or that of other layers.
        """
        if missing := {"layers", "seed", "steps", "scores", "log", "degrees", "inputs", "gradients"} - set(state):
            raise InputError(f"state must be a state_dict of Rewire, and lacks {', '.join(sorted(missing))}")
        sizes = {name: list(size) for name, size in state["layers"].items()}
        if sizes != self._sizes():
            raise InputError(f"state must be that of a network with the layers {self._sizes()}, got {sizes}")
        self.seed, self.steps = int(state["seed"]), int(state["steps"])
        self._scores = [float(score) for score in state["scores"]]
        self.log = [dict(entry) for entry in state["log"]]
        self._degrees = {layer: list(rows) for layer, rows in state["degrees"].items()}
        self._observer.load(state)

    def _sizes(self) -> dict[str, list[int]]:
        return {name: [layer.out_features, layer.in_features] for name, layer in self.layers.items()}

    def remove_hooks(self) -> None:
        """Remove the hooks on the network; only rules that measure something without ``inputs`` have some."""
        self._observer.remove()

    def __repr__(self) -> str:
        return f"Rewire(drop={self.drop.name}, grow={self.grow.name}, layers={list(self.layers)}, steps={self.steps})"
