# The C++ extension (cpu/module.cpp): addresses and sizes in, memory of the caller filled; or tensors in and out.

from typing import Any, Literal, overload

from torch import Tensor

def use_exchange(capsule: object, tensor: type, parameter: type) -> None: ...
def mark_validated(indptr: Tensor, indices: Tensor, t_indptr: Tensor, t_indices: Tensor) -> bool: ...
def is_validated(indptr: Tensor, indices: Tensor, t_indptr: Tensor, t_indices: Tensor) -> bool: ...
def forget(indices: int) -> None: ...
@overload
def linear(
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    x: Tensor,
    bias: Tensor | None,
    relu: bool,
    keep: Literal[False],
    threads: int,
) -> Tensor | None: ...
@overload
def linear(
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    x: Tensor,
    bias: Tensor | None,
    relu: bool,
    keep: Literal[True],
    threads: int,
) -> tuple[Tensor, Tensor | None] | None: ...
def linear_backward(
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    x: Tensor,
    grad: Tensor,
    y: Tensor | None,
    need_values: bool,
    need_x: bool,
    need_bias: bool,
    threads: int,
) -> tuple[Tensor | None, Tensor | None, Tensor | None] | None: ...
def spmm(
    dtype: int,
    threads: int,
    indptr: int,
    indices: int,
    rows: int,
    cols: int,
    csr_indptr: int,
    csr_indices: int,
    values: int,
    bias: int,
    x: int,
    y: int,
    batch: int,
    x_stride: int,
    y_stride: int,
    relu: bool,
) -> None: ...
def spmm_sddmm(
    dtype: int,
    threads: int,
    indptr: int,
    indices: int,
    rows: int,
    cols: int,
    csr_indptr: int,
    csr_indices: int,
    values: int,
    a: int,
    b: int,
    da: int,
    dvalues: int,
    batch: int,
    a_stride: int,
    b_stride: int,
    da_stride: int,
) -> None: ...
def relu_gradient(
    dtype: int,
    threads: int,
    g: int,
    y: int,
    out: int,
    dbias: int,
    rows: int,
    batch: int,
    g_stride: int,
    y_stride: int,
    out_stride: int,
    /,
) -> None: ...
def copy_transposed(bytes: int, threads: int, source: int, target: int, rows: int, cols: int, stride: int) -> None: ...
def spspmm(
    dtype: int,
    threads: int,
    t_indptr: int,
    t_indices: int,
    values: int,
    place: int,
    indices: int,
    code: int,
    batch: int,
    slots: int,
    bias: int,
    relu: bool,
    y: int,
    inputs: int,
    outputs: int,
    /,
) -> bool: ...
def spspmm_backward(
    dtype: int,
    threads: int,
    t_indptr: int,
    t_indices: int,
    values: int,
    indices: int,
    code: int,
    batch: int,
    slots: int,
    dy: int,
    dcode: int,
    dvalues: int,
    inputs: int,
    outputs: int,
    /,
) -> bool: ...
def spspmm_if_sparse(
    dtype: int,
    threads: int,
    t_indptr: int,
    t_indices: int,
    values: int,
    place: int,
    x: int,
    batch: int,
    inputs: int,
    b_stride: int,
    f_stride: int,
    most_active: float,
    bias: int,
    relu: bool,
    y: int,
    outputs: int,
    /,
) -> bool: ...
@overload
def hoyer(
    x: Tensor, sparseness: float, norm: float, magnitude: bool, keep: Literal[False], threads: int, /
) -> Tensor | None: ...
@overload
def hoyer(
    x: Tensor, sparseness: float, norm: float, magnitude: bool, keep: Literal[True], threads: int, /
) -> tuple[Tensor, Tensor] | None: ...
def hoyer_product(
    grad: Tensor, y: Tensor, beta: Tensor, sparseness: float, norm: float, magnitude: bool, threads: int, /
) -> Tensor | None: ...
@overload
def top_k(x: Tensor, k: int, magnitude: bool, keep: Literal[False], threads: int, /) -> Tensor | None: ...
@overload
def top_k(x: Tensor, k: int, magnitude: bool, keep: Literal[True], threads: int, /) -> tuple[Tensor, Tensor] | None: ...
def top_k_product(grad: Tensor, kept: Tensor, threads: int, /) -> Tensor | None: ...
def srelu(x: Tensor, t_l: Tensor, a_l: Tensor, t_r: Tensor, a_r: Tensor, threads: int, /) -> Tensor | None: ...
def srelu_product(
    grad: Tensor, x: Tensor, t_l: Tensor, a_l: Tensor, t_r: Tensor, a_r: Tensor, threads: int, /
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor] | None: ...
def hoyer_forward(
    dtype: int,
    threads: int,
    x: int,
    s: int,
    beta: int,
    radius: int,
    radius_per_row: bool,
    outer: int,
    n: int,
    inner: int,
    magnitude: bool,
) -> tuple[int, int]: ...
def hoyer_backward(
    dtype: int,
    threads: int,
    v: int,
    s: int,
    beta: int,
    radius: int,
    radius_per_row: bool,
    out: int,
    outer: int,
    n: int,
    inner: int,
    magnitude: bool,
) -> None: ...
def lq_noise(
    dtype: int,
    threads: int,
    count: int,
    d: int,
    x: int,
    y: int,
    seed: int,
    p: float,
    q: float,
    slope: float,
    epsilon: float,
    skip_zeros: bool,
) -> None: ...
def conv_forward(
    dtype: int,
    threads: int,
    indptr: int,
    indices: int,
    values: int,
    bias: int,
    x: int,
    y: int,
    layer: list[int],
) -> None: ...
def conv_backward(
    dtype: int,
    threads: int,
    t_indptr: int,
    t_indices: int,
    csc_permutation: int,
    values: int,
    x: int,
    dy: int,
    dx: int,
    dvalues: int,
    layer: list[int],
) -> None: ...
def online_learn(
    threads: int,
    units: int,
    n: int,
    m: int,
    x: int,
    x_stride: int,
    targets: int,
    numbers: int,
    delta: int,
    delta_stride: int,
    signs: int,
    signs_stride: int,
    seeds: int,
    weights: int,
    steps: int,
    report: int,
    history: int,
    every: int,
    records: int,
    first_record: int,
    status: int,
    max_steps: int,
    rate: float,
    tolerance: float,
    chance: int,
    older: bool,
    seconds: float,
) -> None: ...
def divisive_forward(
    dtype: int,
    threads: int,
    u: int,
    z: int,
    local: int,
    divisor: int,
    threshold: int,
    images: int,
    channels: int,
    height: int,
    width: int,
    sigma: float,
    window: int,
    rank: int,
) -> None: ...
def divisive_backward(
    dtype: int,
    threads: int,
    g: int,
    u: int,
    local: int,
    divisor: int,
    threshold: int,
    du: int,
    images: int,
    channels: int,
    height: int,
    width: int,
    sigma: float,
    window: int,
    straight: bool,
) -> None: ...
def winners_forward(
    dtype: int,
    threads: int,
    u: int,
    cost: int,
    least: int,
    outer: int,
    channels: int,
    inner: int,
    winners: int,
    rest: float,
) -> None: ...
def winners_backward(
    dtype: int,
    threads: int,
    g: int,
    u: int,
    least: int,
    du: int,
    outer: int,
    channels: int,
    inner: int,
    winners: int,
    rest: float,
) -> None: ...
def srelu_forward(
    dtype: int,
    threads: int,
    x: int,
    t_l: int,
    a_l: int,
    t_r: int,
    a_r: int,
    y: int,
    outer: int,
    units: int,
    inner: int,
) -> None: ...
def srelu_backward(
    dtype: int,
    threads: int,
    d: int,
    x: int,
    t_l: int,
    a_l: int,
    t_r: int,
    a_r: int,
    dx: int,
    out: int,
    outer: int,
    units: int,
    inner: int,
) -> None: ...
def sample_sorted(positions: int, count: int, seed: int, out: int, /) -> None: ...
def transpose(indptr: int, indices: int, rows: int, cols: int, t_indptr: int, t_indices: int, /) -> None: ...
def csc_permutation(indptr: int, t_indptr: int, t_indices: int, rows: int, cols: int, out: int, /) -> None: ...
def flat_indices_of(indptr: int, indices: int, rows: int, cols: int, out: int, /) -> None: ...
def merge(a: int, a_count: int, b: int, b_count: int, out: int, from_a: int, /) -> None: ...
def csr_of(flat_indices: int, count: int, rows: int, cols: int, indptr: int, indices: int, /) -> None: ...
def split(list: int, chosen: int, count: int, yes: int, no: int, /) -> None: ...
def empty_at(occupied: int, count: int, ranks: int, wanted: int, out: int, /) -> None: ...
def follow(bytes: int, source: int, stays: int, before: int, place: int, count: int, out: int, /) -> None: ...
def check(indptr: int, indices: int, rows: int, cols: int, nnz: int, /) -> tuple[int, int]: ...
def isa() -> str: ...
def vector_bytes() -> int: ...
def use_isa(wanted: int, /) -> None: ...

class Stages:  # what the next two have in common
    def sparse(
        self,
        inputs: int,
        outputs: int,
        indptr: int,
        indices: int,
        t_indptr: int,
        t_indices: int,
        permutation: int,
        weights: int,
        bias: int,
        relu: bool,
        /,
    ) -> None: ...
    def dense(self, inputs: int, outputs: int, weights: int, bias: int, relu: bool, /) -> None: ...
    def curve(self, units: int, kind: int, slope: float, /) -> None: ...
    def hoyer(self, units: int, radius: float, norm: float, magnitude: bool, /) -> None: ...
    def top_k(self, units: int, k: int, magnitude: bool, /) -> None: ...
    def srelu(self, units: int, t_l: int, a_l: int, t_r: int, a_r: int, /) -> None: ...
    def dropout(self, units: int, least: int, scale: float, batch_major: bool, /) -> None: ...

class TrainingStep32(Stages):
    def __init__(self) -> None: ...
    def parameter(
        self,
        values: int,
        gradient: int,
        first: int,
        second: int,
        count: int,
        group: int,
        steps: float,
        fresh: bool,
        /,
    ) -> int: ...
    def train(
        self,
        threads: int,
        x: int,
        row_step: int,
        col_step: int,
        indptr: int,
        indices: int,
        shift: int,
        task: int,
        classes: int,
        targets: int,
        weight: int,
        order: int,
        count: int,
        batch: int,
        bits: int,
        recipes: int,
        groups: int,
        adam: bool,
        decoupled: bool,
        max_norm: float,
        losses: int,
        credits: int,
    ) -> None: ...

class TrainingStep64(TrainingStep32): ...

class Prediction32(Stages):
    def __init__(self) -> None: ...
    def parameter(self, tensor: Tensor, /) -> int: ...
    def pattern(self, indptr: Tensor, indices: Tensor, t_indptr: Tensor, t_indices: Tensor, /) -> bool: ...
    def watch(self, dict: dict[str, Any], owner: object) -> None: ...
    def costs(self, spspmm: float, plain: float, plain_sample: float, plain_one: float, /) -> None: ...
    def __call__(self, x: Tensor, threads: int, /) -> Tensor | Literal[False] | None: ...

class Prediction64(Prediction32): ...

def lstm(
    dtype: int,
    threads: int,
    indptr: int,
    indices: int,
    values: int,
    bias: int,
    units: int,
    steps: int,
    batch: int,
    reverse: bool,
    x: int,
    x_stride: int,
    h0: int,
    c0: int,
    gates: int,
    cells: int,
    y: int,
) -> None: ...
def lstm_backward(
    dtype: int,
    threads: int,
    t_indptr: int,
    t_indices: int,
    t_values: int,
    units: int,
    steps: int,
    batch: int,
    reverse: bool,
    c0: int,
    gates: int,
    cells: int,
    dy: int,
    dy_stride: int,
    dx: int,
    dh0: int,
    dc0: int,
) -> None: ...
def gru(
    dtype: int,
    threads: int,
    indptr: int,
    indices: int,
    values: int,
    bias: int,
    units: int,
    steps: int,
    batch: int,
    reverse: bool,
    x: int,
    x_stride: int,
    h0: int,
    gates: int,
    y: int,
) -> None: ...
def gru_backward(
    dtype: int,
    threads: int,
    t_indptr: int,
    t_indices: int,
    t_values: int,
    units: int,
    steps: int,
    batch: int,
    reverse: bool,
    h0: int,
    gates: int,
    y: int,
    dy: int,
    dy_stride: int,
    dx: int,
    drecurrent: int,
    dh0: int,
) -> None: ...
