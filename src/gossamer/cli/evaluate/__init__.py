"""``gossamer evaluate``: the robustness of a run's networks to noise, corruptions and attacks."""
