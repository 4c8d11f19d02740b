"""Whole images from the codes of their patches: reconstruction and denoising."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from gossamer.errors import check_fraction
from gossamer.models.dictionary import Coder
from gossamer.models.patches import map_patches, noise_level

__all__ = ["Denoising"]

Floats = NDArray[np.floating[Any]]

_DTYPES = (np.float64, np.float32)


class Denoising:
    """Methods for images of a transformer that codes patches by ``components_``."""

    components_: Floats
    n_features_in_: int

    def transform(self, X: ArrayLike) -> Floats:
        """Compute codes."""
        raise NotImplementedError

    def inverse_transform(self, X: ArrayLike) -> Floats:
        """Reproduce samples from codes."""
        raise NotImplementedError

    def _coded(self, x: Floats, coder: Coder, *, k: int | None = None, tolerance: float = 0.0) -> Floats:
        raise NotImplementedError

    def _patch_shape(self, features: int) -> tuple[int, ...]:
        raise NotImplementedError

    def reconstruct(self, image: ArrayLike, *, stride: int = 1) -> Floats:
        """Reconstruct an image from the codes of all its patches, averaged where they overlap.

        Args:
            image: (height, width), or (height, width, channels) where patches have channels.
            stride: pixels from one patch to the next, from 1 to the size of a patch.

        Returns:
            An image of the same shape.

        Raises:
            InputError: ``image`` is smaller than a patch, or ``stride`` is outside its range.
        """
        return self._mapped(image, stride, lambda x: self.inverse_transform(self.transform(x)))

    def denoise(self, image: ArrayLike, noise: float | None = None, *, stride: int = 1) -> Floats:
        """Remove Gaussian noise from an image.

        Each patch is fitted by orthogonal matching pursuit until the residual could be noise, and patches are averaged
        where they overlap. The limit is ours: the energy of noise σ on d pixels is σ²χ² with d degrees of freedom, and
        a patch is left at its mean plus one standard deviation, σ² (d + √(2d)).

        Args:
            image: (height, width), or (height, width, channels) where patches have channels.
            noise: its standard deviation in the units of the image; None to estimate it (`noise_level`), which takes
                fine texture for noise.
            stride: pixels from one patch to the next; larger is faster and less clean.

        Returns:
            An image of the same shape.

        Raises:
            InputError: ``image`` is smaller than a patch, or an argument is outside its range.

        References:
            Elad, Aharon, "Image denoising via sparse and redundant representations over learned dictionaries", IEEE
            Trans. Image Process. 15 (2006).
        """
        check_is_fitted(self)
        pixels = _image(image)
        level = noise_level(pixels) if noise is None else check_fraction("noise", noise, high=math.inf, open_high=True)
        tolerance = (self.n_features_in_ + math.sqrt(2 * self.n_features_in_)) * level**2
        return self._mapped(pixels, stride, lambda x: self._coded(x, "omp", tolerance=tolerance) @ self.components_)

    def _mapped(self, image: ArrayLike, stride: int, function: Callable[[Floats], Floats]) -> Floats:
        check_is_fitted(self)
        return map_patches(_image(image), self._patch_shape(self.n_features_in_), function, stride=stride)


def _image(image: ArrayLike) -> Floats:
    """Floating point and finite."""
    pixels: Floats = check_array(image, dtype=_DTYPES, allow_nd=True, input_name="image")
    return pixels
