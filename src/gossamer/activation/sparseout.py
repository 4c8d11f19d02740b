"""Sparseout: dropout whose noise makes activations sparser or denser, by the exponent of its penalty.

    ã = a + sign(a) |a|^{q/2} ξ in training, a afterwards;   ξ = r/(1−p) − 1,   r ~ Bernoulli(1 − p) for each element

On average over masks, to second order, this adds to a linear model's loss a penalty on its features a of
½ A''(η) p/(1−p) Σ_j b_j² |a_j|^q: that of dropout at q = 2; small activations are penalised more for q < 2, large ones
for q > 2. `gossamer.noise` has the derivation, the two gradients, and the behaviour near zero.

References:
    Khan, Stavness, "Sparseout: Controlling Sparsity in Deep Networks", Canadian AI 2019, arXiv 1904.08050; the form
    that follows the sign, and the frozen gradient, are those of its published code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gossamer.noise import Gradient, Noise, check_gradient, check_p, check_q, lq_noise

__all__ = ["Sparseout", "sparseout"]


def sparseout(
    a: Tensor,
    p: float = 0.5,
    q: float = 2.0,
    training: bool = True,
    gradient: Gradient = "frozen",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Add noise to activations that acts, on average, like an L_q penalty.

        ã = a + sign(a) |a|^{q/2} ξ,   ξ = r/(1−p) − 1,   r ~ Bernoulli(1 − p) for each element

    A zero stays zero. A dropped element is a − sign(a) |a|^{q/2}, which is not zero unless q = 2 or |a| = 1, and for
    q < 2 and |a| < 1 has the other sign. NaN stays NaN and affects no other element. Infinities are not supported, nor,
    for q > 2, values whose power overflows.

    On the CPU both gradients keep ``a`` and the seed of the mask, one number; both can be differentiated again, the
    frozen one with its multiplier still a constant. Not supported are: forward-mode differentiation with the exact one;
    `torch.vmap` without a choice of ``randomness``, as for all random functions; a generator by
    ``torch.compile(fullgraph=True)``.

    Args:
        a: activations, floating point, any shape. float16 and bfloat16 are computed in float32.
        p: probability with which an element is dropped, in [0, 1]. p = 0 changes nothing, p = 1 gives zeros.
        q: exponent of the penalty, in [0, ∞): 2 is dropout; without a ``generator``, to the bit where
            `torch.nn.functional.dropout` draws the same mask, as it does on the CPU.
        training: whether there is noise; ``a`` itself is returned if not.
        gradient: ``"frozen"`` treats the noise's multiplier as a constant, ``"exact"`` differentiates it too.
        generator: source of the masks, of the device of ``a`` (default: torch's own).

    Returns:
        ã, in the shape, dtype and layout of ``a``.

    Raises:
        InputError: ``p``, ``q`` or ``gradient`` outside its range, or ``a`` not floating point.

    Example:
        >>> a = torch.tensor([4.0, 0.0, -0.25])
        >>> gs.functional.sparseout(a, p=0.5, q=1.0, generator=torch.Generator().manual_seed(0))
        tensor([ 6.0000,  0.0000, -0.7500])
        >>> gs.functional.sparseout(a, training=False)
        tensor([ 4.0000,  0.0000, -0.2500])

    References:
        Khan, Stavness, "Sparseout: Controlling Sparsity in Deep Networks", Canadian AI 2019, arXiv 1904.08050.
    """
    return lq_noise("a", a, p, q, training, gradient, generator)


class Sparseout(Noise, nn.Module):
    """Sparseout as a layer: noise in training, the identity in evaluation mode; see `sparseout`.

    Args:
        p: probability with which an element is dropped, in [0, 1].
        q: exponent of the penalty, in [0, ∞): below 2 activations become sparser than with dropout, above 2 denser.
        gradient: ``"frozen"`` treats the noise's multiplier as a constant, ``"exact"`` differentiates it too.
        generator: source of the masks, of the device of the input (default: torch's own).

    Raises:
        InputError: ``p``, ``q`` or ``gradient`` is outside its range.

    Example:
        >>> layer = gs.Sparseout(p=0.5, q=1.5).eval()
        >>> layer(torch.tensor([1.0, 2.0]))
        tensor([1., 2.])
    """

    def __init__(
        self,
        p: float = 0.5,
        q: float = 2.0,
        gradient: Gradient = "frozen",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_gradient(gradient)
        self.p, self.q, self.gradient, self.generator = check_p(p), check_q(q), gradient, generator

    def forward(self, a: Tensor) -> Tensor:
        """Add noise in training mode.

        Args:
            a: activations of any shape, such as (batch, features).

        Returns:
            Tensor of the shape, dtype and layout of ``a``.
        """
        return sparseout(a, self.p, self.q, self.training, self.gradient, self.generator)

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"p={self.p:g}, q={self.q:g}, gradient={self.gradient!r}"
