"""Steps per second of the online rule: compiled against vectorised NumPy on one unit, and over units and threads.

python docs/benchmarks/online_rule.py [--units 1000]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from gossamer.associative.online import learn_online
from gossamer.associative.problem import Associations, random_associations

N = 400


def numpy_rate(problem: Associations, kappa: float, gap: float, steps: int) -> float:
    """The rule with w = 1 and h = 0 in NumPy, with signed patterns made once and NumPy's own random numbers."""
    rng = np.random.default_rng(0)
    patterns = problem.labels[:, None] * problem.inputs
    j = (1 + gap) * rng.uniform(-1, 1, problem.n_inputs)
    violated = np.flatnonzero(patterns @ j < kappa)
    start, done = time.process_time(), 0
    while done < steps and (len(violated) or abs(np.abs(j).mean() - 1) > 1e-3):
        if len(violated):
            j += 0.1 * patterns[violated[rng.integers(len(violated))]]
        size = np.abs(j)
        free = (size != 0) & (size != gap)
        if free.any():
            j -= np.where(free, np.sign(j), 0.0) * (0.1 * (size.mean() - 1))
        if gap:
            size = np.abs(j)
            weak = np.flatnonzero((size > 0) & (size < gap))
            u = rng.random(len(weak))
            j[weak] = np.where(u > 0.98, 1.0, np.where(u < 0.02, -1.0, 0.0)) * gap * np.sign(j[weak])
        violated = np.flatnonzero(patterns @ j < kappa)
        done += 1
    return done / (time.process_time() - start)


def compiled_rate(problem: Associations, kappa: float, gap: float, steps: int) -> float:
    """The same, compiled, of the calling process's time."""
    start = time.process_time()
    result = learn_online(problem, robustness=kappa, gap=gap, generator=0, max_steps=steps)
    return float(result.steps[0] / (time.process_time() - start))


def main() -> None:
    """Print both tables; times of the processor do not depend on other work of the machine, clock times do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=1000)
    units = parser.parse_args().units
    torch.set_num_threads(1)
    print("one unit, one thread, best of 5:    m   kappa  delta  compiled     NumPy  ratio")
    for m, kappa, gap in [(120, 30.0, 0.0), (200, 6.0, 1.5), (400, 6.0, 2.5), (630, 20.0, 0.0)]:
        problem = random_associations(N, m, np.random.default_rng(1))
        pairs = [(compiled_rate(problem, kappa, gap, 40_000), numpy_rate(problem, kappa, gap, 2000)) for _ in range(5)]
        fast, slow = (max(rates) for rates in zip(*pairs, strict=True))
        print(f"{m:38d} {kappa:7g} {gap:6g} {fast:9.0f} {slow:9.0f} {fast / slow:6.0f}")
    rng = np.random.default_rng(0)
    problems = [random_associations(N, 120, rng) for _ in range(units)]
    print("units to their stop conditions, m = 120, kappa = 6, delta = 1.5")
    for count, threads in [(units // 5, 1), (units // 5, 2), (units, 2)]:
        torch.set_num_threads(threads)
        start, used = time.perf_counter(), time.process_time()
        result = learn_online(problems[:count], robustness=6.0, gap=1.5, generator=1)
        seconds, used = time.perf_counter() - start, time.process_time() - used
        steps = result.steps.sum()
        print(
            f"{count} units, {threads} threads: {seconds:.2f} s, {steps / seconds:.0f} steps/s; {used:.2f} s of the "
            f"processor, {steps / used:.0f} steps/s; {result.success.mean():.0%} solved"
        )


if __name__ == "__main__":
    main()
