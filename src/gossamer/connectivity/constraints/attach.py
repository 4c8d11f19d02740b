"""Weights that stay in a set while an optimizer trains them: projected gradient.

    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    attached = gossamer.constraints.attach(net, gossamer.constraints.Hoyer(0.75), optimizer)

From now on every ``optimizer.step()`` ends with a projection, in any training loop. Once the same weights have been
zero for many steps, they need not be stored:

    if attached.stability == 1:
        attached.remove()
        gossamer.compact_(net, optimizer=optimizer)

The layers of ``net`` are sparse ones then, which compute the same and continue to train.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from gossamer.connectivity.constraints.base import Constraint
from gossamer.connectivity.layer import SparseLayer, check_plain
from gossamer.errors import InputError, check_count

__all__ = ["Attached", "attach"]

Where = Callable[[str, nn.Module], bool]


def attach(
    module: nn.Module,
    constraint: Constraint,
    optimizer: torch.optim.Optimizer | None,
    *,
    name: str = "weight",
    where: Where | None = None,
    window: int = 100,
) -> Attached:
    """Project weights into a set, now and after every ``optimizer.step()``.

    Nothing is added to the module: its state dict does not change, and a copy of the module is not constrained. A
    copy or a pickle of the module, the optimizer and the result of this function, made together, is.

    Args:
        module: a layer, or any module with a parameter ``name`` of its own; or a model, of which every `nn.Linear`,
            `nn.Conv2d` and sparse layer is constrained. Of a sparse layer the connections are projected; it may be
            rewired and pruned meanwhile.
        constraint: the set, one of `gossamer.constraints`. Each weight is projected on its own.
        optimizer: the optimizer that trains them; None if `Attached.step` is called by hand.
        name: the parameter, of shape (out, in, …).
        where: ``where(name, layer)`` selects layers of a model (default: all).
        window: the number of steps over which `Attached.stability` is measured.

    Returns:
        The constrained weights.

    Raises:
        InputError: no such parameter, one that ``optimizer`` does not hold, or of a shape that the constraint does not
            allow. Nothing has changed then.

    Example:
        >>> layer = nn.Linear(50, 10)
        >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        >>> attached = gs.constraints.attach(layer, gs.constraints.Hoyer(0.75), optimizer)
        >>> layer(torch.randn(8, 50)).square().sum().backward()
        >>> optimizer.step()
        >>> gs.measures.hoyer(layer.weight.detach()[:3])
        tensor([0.7500, 0.7500, 0.7500])

    References:
        Thom, Palm, "Sparse Activity and Sparse Connectivity in Supervised Learning", JMLR 14 (2013) (projected
        gradient).
    """
    return Attached(_owners(module, name, where), name, constraint, optimizer, window)


def _owners(module: nn.Module, name: str, where: Where | None) -> dict[str, nn.Module]:
    if name in module._parameters or isinstance(module, SparseLayer):
        owners = {"": module}
    else:
        kinds = nn.Linear | nn.Conv2d | SparseLayer
        layers = ((full, m) for full, m in module.named_modules() if isinstance(m, kinds))
        owners = {full: layer for full, layer in layers if where is None or where(full, layer)}
    if not owners:
        raise InputError(
            f"module must have a parameter {name!r}, or nn.Linear, nn.Conv2d or sparse layers"
            + (" at which where(…) is true" if where else "")
        )
    for full, owner in owners.items():
        if isinstance(owner, SparseLayer):
            check_plain(owner, full)
        elif owner._parameters.get(name) is None:
            raise InputError(f"{full or type(owner).__name__!r} must have a parameter {name!r} that no hook computes")
    return owners


class Attached:
    """Constrained weights, as `attach` returns them: their constraint, and the stability of their zeros.

    Args:
        owners: the layers by name.
        name: their parameter.
        constraint: the set.
        optimizer: the optimizer that trains them, or None.
        window: the number of steps over which `stability` is measured.

    Example:
        >>> attached = gs.constraints.attach(nn.Linear(50, 10), gs.constraints.L0(5), None)
        >>> attached.step()
        >>> int((attached.weights[0] != 0).sum())
        50
    """

    def __init__(
        self,
        owners: Mapping[str, nn.Module],
        name: str,
        constraint: Constraint,
        optimizer: torch.optim.Optimizer | None,
        window: int,
    ) -> None:
        self.owners, self.name, self.constraint, self.optimizer = dict(owners), name, constraint, optimizer
        self.window = check_count("window", window, low=1)
        self.steps = 0
        self.stability = 0.0
        """The share of the weights that were never zero among those that were nonzero at some time of the last window.

        It is 1 if the zeros have not changed, and 0 before the first window is full. Where a sparse layer is rewired,
        the steps since then count.
        """
        held = {id(p) for group in optimizer.param_groups for p in group["params"]} if optimizer is not None else None
        for full, owner in self.owners.items():
            if held is not None and id(self._weight(owner)) not in held:
                raise InputError(
                    f"optimizer must hold the {name} of every layer that is constrained, and lacks {full!r}'s"
                )
            constraint.check_layer(owner, full)
        self._project()
        self._always = [weight.detach() != 0 for weight in self.weights]
        self._ever = list(self._always)
        self._patterns = self._indices()
        self._handle: RemovableHandle | None = None
        self._listen()

    @property
    def weights(self) -> list[nn.Parameter]:
        """The constrained parameters, each once."""
        return list({id(weight): weight for weight in map(self._weight, self.owners.values())}.values())

    def _weight(self, owner: nn.Module) -> nn.Parameter:
        weight = owner._parameters["weight_values" if isinstance(owner, SparseLayer) else self.name]
        assert weight is not None
        return weight

    @torch.no_grad()
    def _project(self) -> None:
        """Project all weights, or none if one can't be projected."""
        before = [weight.detach().clone() for weight in self.weights]
        try:
            for owner in {id(self._weight(owner)): owner for owner in self.owners.values()}.values():
                self.constraint.project_(owner if isinstance(owner, SparseLayer) else self._weight(owner))
        except BaseException:
            for weight, old in zip(self.weights, before, strict=True):
                weight.copy_(old)
            raise

    def _indices(self) -> list[torch.Tensor]:
        """Of sparse layers, the tensors that change with the pattern."""
        return [owner.indices for owner in self.owners.values() if isinstance(owner, SparseLayer)]

    @torch.no_grad()
    def step(self) -> None:
        """Project all weights; an optimizer that is attached calls this itself."""
        self._project()
        nonzero = [weight != 0 for weight in self.weights]
        patterns = self._indices()
        if any(now is not before for now, before in zip(patterns, self._patterns, strict=True)):
            self._always = self._ever = nonzero  # of other connections
        self._patterns = patterns
        self._always = [now & before.to(now.device) for now, before in zip(nonzero, self._always, strict=True)]
        self._ever = [now | before.to(now.device) for now, before in zip(nonzero, self._ever, strict=True)]
        self.steps += 1
        if self.steps % self.window == 0:
            always, ever = (sum(int(mask.sum()) for mask in masks) for masks in (self._always, self._ever))
            self.stability = always / ever if ever else 1.0
            self._always = self._ever = nonzero

    def remove(self) -> None:
        """Remove the constraint from the weights."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state of `stability`; the weights are in the module's state.

        Returns:
            Tensors and numbers by name.
        """
        masks = {"always": list(self._always), "ever": list(self._ever)}
        return {"steps": self.steps, "stability": self.stability} | masks

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Args:
            state: the result of `state_dict`.

        Raises:
            InputError: ``state`` is incomplete or that of other weights.
        """
        if missing := {"steps", "stability", "always", "ever"} - set(state):
            raise InputError(f"state must be a state_dict of Attached, and lacks {', '.join(sorted(missing))}")
        shapes = [weight.shape for weight in self.weights]
        for masks in (state["always"], state["ever"]):
            if [mask.shape for mask in masks] != shapes:
                raise InputError(f"state must be of the same weights, {shapes}, got {[mask.shape for mask in masks]}")
        self.steps, self.stability = int(state["steps"]), float(state["stability"])
        self._always, self._ever = list(state["always"]), list(state["ever"])
        self._patterns = self._indices()

    def _listen(self) -> None:
        if self.optimizer is not None:
            self._handle = self.optimizer.register_step_post_hook(lambda *_: self.step())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None, "_listening": self._handle is not None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.__dict__.pop("_listening"):  # copies of an optimizer have no hooks
            self._listen()

    def __repr__(self) -> str:
        return f"Attached({self.constraint}, layers={list(self.owners)}, steps={self.steps})"
