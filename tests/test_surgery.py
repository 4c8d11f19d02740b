"""Other people's tools on networks of ours: equal to the dense network, or refused with a reason."""

from __future__ import annotations

import copy
import functools
import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils import parametrizations, parametrize

import gossamer as gs

pytestmark = pytest.mark.usefixtures("one_thread")


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


LAYERS: dict[str, Callable[[], gs.connectivity.SparseLayer]] = {
    "SparseLinear": lambda: gs.SparseLinear(12, 7, 0.3, generator=seeded()),
    "SparseLinearReLU": lambda: gs.SparseLinearReLU(12, 7, 0.3, generator=seeded()),
    "SparseConv2d": lambda: gs.SparseConv2d(2, 3, 3, density=0.4, generator=seeded()),
    "BridgeoutSparseLinear": lambda: gs.BridgeoutSparseLinear(12, 7, 0.3, p=0.0, generator=seeded()),
}


def samples(layer: nn.Module, n: int = 4) -> Tensor:
    shape = (n, 2, 6, 6) if isinstance(layer, gs.SparseConv2d) else (n, 12)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def trace(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    with torch.no_grad():
        return torch.jit.trace(layer.eval(), samples(layer))  # type: ignore[no-any-return]


def traced_by_fx(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    with torch.no_grad():
        return make_fx(layer.eval())(samples(layer))


def symbolic(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    class Tracer(torch.fx.Tracer):
        def is_leaf_module(self, module: nn.Module, name: str) -> bool:
            return isinstance(module, gs.connectivity.SparseLayer) or super().is_leaf_module(module, name)

    net = nn.Sequential(layer, nn.Identity())
    return torch.fx.GraphModule(net, Tracer().trace(net))


def loaded(layer: gs.connectivity.SparseLayer) -> nn.Module:
    other = copy.deepcopy(layer)
    other.reset_parameters()
    other.load_state_dict(layer.state_dict())
    return other


def averaged(layer: nn.Module) -> nn.Module:
    average = torch.optim.swa_utils.AveragedModel(layer)
    average.update_parameters(layer)
    return average


def parametrized(layer: nn.Module) -> nn.Module:
    return parametrize.register_parametrization(layer, "weight_values", nn.Identity())


SURGERY: dict[str, Callable[..., Any]] = {
    "train": lambda layer: layer.train(),
    "eval": lambda layer: layer.eval(),
    "deepcopy": copy.deepcopy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
    "state_dict": loaded,
    "AveragedModel": averaged,
    "jit.trace": trace,
    "make_fx": traced_by_fx,
    "fx, layers as leaves": symbolic,
    "to_dense": gs.to_dense,
    "parametrize": parametrized,
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("surgery", SURGERY)
@pytest.mark.parametrize("kind", LAYERS)
def test_the_function_is_that_of_the_dense_layer(kind: str, surgery: str) -> None:
    layer = LAYERS[kind]()
    dense = layer.to_dense()
    x = samples(layer)
    expected = dense(x).relu() if kind == "SparseLinearReLU" else dense(x)
    result = SURGERY[surgery](layer)
    for inference in (False, True):
        with torch.inference_mode() if inference else torch.no_grad():
            torch.testing.assert_close(result(x), expected.detach())


@pytest.mark.parametrize("activation", [gs.Hoyer(0.6), gs.TopK(3), gs.SReLU(12)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_tracers_record_activations(activation: nn.Module) -> None:
    x, other = torch.randn(4, 12, generator=seeded()), torch.randn(4, 12)
    with torch.no_grad():
        for result in (torch.jit.trace(activation, x), make_fx(activation)(x)):
            torch.testing.assert_close(result(other), activation(other))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_transformer_encoder_works_in_training_and_in_evaluation(training: bool, masked: bool) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    chosen = lambda name, layer: True  # noqa: E731
    sparse = gs.sparsify_(nn.TransformerEncoder(layer, 2), 0.3, where=chosen).train(training)
    dense = gs.to_dense(sparse)
    x, padding = torch.randn(3, 5, 16), torch.zeros(3, 5, dtype=torch.bool)
    padding[1, 3:] = masked
    mask = padding if masked else None
    with torch.set_grad_enabled(training):
        torch.testing.assert_close(sparse(x, src_key_padding_mask=mask), dense(x, src_key_padding_mask=mask))
        torch.testing.assert_close(sparse.layers[0](x), dense.layers[0](x))


@pytest.mark.parametrize("kind", LAYERS)
def test_a_sparse_layer_has_no_weight_and_says_why(kind: str) -> None:
    layer = LAYERS[kind]()
    assert not hasattr(layer, "weight")
    with pytest.raises(AttributeError, match=r"no dense weight.*to_dense\(\)\.weight"):
        _ = layer.weight


def test_weight_norm_of_the_values() -> None:
    layer = LAYERS["SparseLinear"]()
    x, before = samples(layer), layer.to_dense()
    parametrizations.weight_norm(layer, "weight_values", dim=0)
    torch.testing.assert_close(layer(x), before(x))


@pytest.mark.parametrize("other_length", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_state_loaded_in_inference_mode_is_good_outside_it(kind: str, other_length: bool) -> None:
    layer = LAYERS[kind]()
    source = copy.deepcopy(layer)
    if other_length:
        gs.magnitude_prune_(source, 0.1)
    with torch.inference_mode():
        layer.load_state_dict(copy.deepcopy(source).state_dict())
    x = samples(layer, 1)
    layer(x).sum().backward()
    torch.testing.assert_close(layer.eval()(x), source.eval()(x))
    assert not any(tensor.is_inference() for tensor in (*layer.parameters(), *layer.buffers()))


def built(kind: str) -> Any:
    return LAYERS[kind]()


def unpickled(kind: str) -> Any:
    return pickle.loads(pickle.dumps(LAYERS[kind]()))


def assigned(kind: str) -> Any:
    layer = LAYERS[kind]()
    layer.load_state_dict(copy.deepcopy(layer.state_dict()), assign=True)
    return layer


MADE: dict[str, Callable[[str], Any]] = {
    "built": built,
    "deepcopied": lambda kind: copy.deepcopy(LAYERS[kind]()),
    "double": lambda kind: LAYERS[kind]().double(),
    "unpickled": unpickled,
    "assigned": assigned,
}


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_made_in_inference_mode_works_outside_it(kind: str, made: str) -> None:
    with torch.inference_mode():
        layer = MADE[made](kind)
    x = samples(layer).to(next(layer.parameters()).dtype)
    dense: Any = LAYERS[kind]().to(x.dtype).to_dense()
    expected = dense(x).relu() if kind == "SparseLinearReLU" else dense(x)
    for n in (1, 4):
        for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
            with mode():
                torch.testing.assert_close(layer.eval()(x[:n]), expected[:n])
    expected.sum().backward()
    layer.train()(x).sum().backward()
    at = layer.pattern.flat_indices
    torch.testing.assert_close(layer.weight_values.grad, dense.weight.grad.flatten()[at])
    assert not any(buffer.is_inference() for buffer in layer.buffers())
    if made not in ("unpickled", "assigned"):  # those hold the tensors that they were given, as dense layers do
        torch.optim.SGD(layer.parameters(), 0.1).step()
        layer.reset_parameters()
        layer.set_pattern(layer.pattern, torch.ones(layer.nnz))


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_of_inference_tensors_can_be_made_ordinary(kind: str) -> None:
    with torch.inference_mode():
        layer = assigned(kind)
    assert all(parameter.is_inference() for parameter in layer.parameters())
    for other in (copy.deepcopy(layer), layer.to(torch.float64)):
        assert not any(parameter.is_inference() for parameter in other.parameters())
        other(samples(other).to(other.weight_values.dtype)).sum().backward()
        torch.optim.SGD(other.parameters(), 0.1).step()


def test_a_pattern_made_in_inference_mode_serves_in_training() -> None:
    with torch.inference_mode():
        pattern = gs.Pattern.erdos_renyi(7, 12, 0.3, seeded()).to("cpu")
    values = torch.ones(pattern.nnz, requires_grad=True)
    gs.functional.sparse_linear(torch.ones(2, 12), values, pattern).sum().backward()
    torch.testing.assert_close(values.grad, torch.full_like(values, 2.0))


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_from_the_meta_device_asks_for_a_pattern(kind: str) -> None:
    source = LAYERS[kind]()
    layer = LAYERS[kind]().to("meta").to_empty(device="cpu")
    x = samples(layer)
    for use in (layer.reset_parameters, lambda: layer(x), lambda: layer.eval()(x[:1]), layer.to_dense):
        with pytest.raises(gs.InputError, match="load a state dict or call set_pattern first"):
            use()
    other = copy.deepcopy(layer)
    layer.load_state_dict(source.state_dict())
    torch.testing.assert_close(layer.eval()(x), source.eval()(x))
    other.set_pattern(source.pattern, source.weight_values.detach())
    other.reset_parameters(seeded())
    source.reset_parameters(seeded())
    torch.testing.assert_close(other.eval()(x), source.eval()(x))


SPARSE: dict[str, Callable[[Tensor], Tensor]] = {"COO": Tensor.to_sparse, "CSR": Tensor.to_sparse_csr}


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
@pytest.mark.parametrize("layout", SPARSE)
@pytest.mark.parametrize("kind", ["SparseLinear", "SparseLinearReLU", "BridgeoutSparseLinear"])
def test_sparse_inputs_give_what_dense_ones_do(kind: str, layout: str) -> None:
    layer = LAYERS[kind]()
    for n in (0, 1, 5):
        x = samples(layer, n).relu()
        given = SPARSE[layout](x)
        for training in (True, False):
            with torch.set_grad_enabled(training):
                torch.testing.assert_close(layer.train(training)(given), layer(x), rtol=0, atol=0)
    expected, found = (
        torch.autograd.grad(layer.train()(y).square().sum(), list(layer.parameters())) for y in (x, given)
    )
    torch.testing.assert_close(found, expected)
    a, b = x.clone().requires_grad_(), SPARSE[layout](x).requires_grad_()
    layer(a).sum().backward()
    layer(b).sum().backward()
    assert a.grad is not None
    assert b.grad is not None
    torch.testing.assert_close(b.grad.to_dense(), a.grad)


@pytest.mark.filterwarnings("ignore:Sparse (CSR|CSC) tensor support is in beta:UserWarning")
def test_inputs_of_other_layouts_are_refused_by_name() -> None:
    linear, conv = LAYERS["SparseLinear"](), LAYERS["SparseConv2d"]()
    for training in (True, False):
        with torch.set_grad_enabled(training), pytest.raises(gs.InputError, match=r"x must be .*torch\.sparse_csc"):
            linear.train(training)(samples(linear).to_sparse_csc())
    with pytest.raises(gs.InputError, match=r"x must be dense, got torch\.sparse_coo"):
        conv(samples(conv).to_sparse())


@pytest.mark.parametrize("code", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_float16_on_the_cpu_is_computed_in_float32(kind: str, code: bool) -> None:
    half = LAYERS[kind]().half()
    exact = copy.deepcopy(half).double()
    if code and kind == "SparseConv2d":
        pytest.skip("codes are for linear layers")
    for n in (0, 1, 40):
        x = samples(half, n).relu().half()
        given, wide = (gs.Code.pack(x), gs.Code.pack(x.double())) if code else (x, x.double())
        with torch.no_grad():
            torch.testing.assert_close(half.eval()(given), exact.eval()(wide).half(), rtol=2e-3, atol=1e-4)
        y, z = half.train()(given), exact.train()(wide)
        assert y.dtype == torch.float16
        torch.testing.assert_close(y, z.half(), rtol=2e-3, atol=1e-4)
        found = torch.autograd.grad(y.float().square().sum(), list(half.parameters()))
        expected = torch.autograd.grad(z.square().sum(), list(exact.parameters()))
        assert {gradient.dtype for gradient in found} == {torch.float16}
        torch.testing.assert_close(found, tuple(gradient.half() for gradient in expected), rtol=5e-3, atol=5e-3)
    with pytest.raises(gs.InputError, match=r"float16"):
        half(samples(half))


def test_float16_is_not_computed_by_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    from gossamer.kernels import images, reference

    for module, names in ((reference, ("spmm", "spmm_t", "sddmm")), (images, ("dense_forward", "dense_input"))):
        for name in names:
            monkeypatch.delattr(module, name)
    for kind in LAYERS:
        layer = LAYERS[kind]().half()
        x = samples(layer).half().requires_grad_()
        layer(x).sum().backward()
        assert x.grad is not None
        assert x.grad.dtype == torch.float16


def convolutional() -> nn.Module:
    conv = gs.SparseConv2d(1, 3, 3, density=0.5, generator=seeded())
    hidden = gs.SparseLinearReLU(48, 16, 0.3, generator=seeded())
    out = gs.SparseLinear(16, 4, 0.5, generator=seeded())
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), hidden, out).eval()


# a property that torch's exporter itself copies
EXPORTED = pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")


@EXPORTED
def test_an_exported_program_records_the_operators() -> None:
    net, x = convolutional(), torch.randn(2, 1, 6, 6, generator=seeded())
    program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    more = torch.randn(5, 1, 6, 6, generator=seeded())
    for exported in (program, torch.export.load(file)):
        torch.testing.assert_close(exported.module()(more), net(more))


@EXPORTED
def test_the_dense_equal_runs_in_onnxruntime(tmp_path: Path) -> None:
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name)
    runtime = pytest.importorskip("onnxruntime")
    net, x = convolutional(), torch.randn(2, 1, 6, 6, generator=seeded())
    batch = {0: torch.export.Dim("batch")}
    file = tmp_path / "model.onnx"
    torch.onnx.export(gs.to_dense(net), (x,), file, dynamo=True, verbose=False, dynamic_shapes=(batch,))
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    more = torch.randn(5, 1, 6, 6, generator=seeded())
    (found,) = session.run(None, {session.get_inputs()[0].name: more.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), net(more).detach())


def encoder() -> nn.TransformerEncoder:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True), 2)


def test_what_stays_dense_is_said_unless_it_was_chosen() -> None:
    model = nn.Sequential(nn.Embedding(1000, 16), encoder())
    with pytest.warns(UserWarning, match=r"79% of the parameters stay dense, the largest being 0\.weight"):
        gs.sparsify_(copy.deepcopy(model), 0.3)
    gs.sparsify_(model, 0.3, where=lambda name, layer: True)


def test_a_compacted_encoder_works_in_evaluation() -> None:
    torch.manual_seed(0)
    dense = encoder().eval()
    with torch.no_grad():
        for layer in dense.layers:
            layer.linear1.weight.mul_(torch.rand_like(layer.linear1.weight) < 0.3)
    sparse = gs.compact_(copy.deepcopy(dense))
    dense.use_nested_tensor = False  # which warns
    assert isinstance(sparse.layers[0].linear1, gs.SparseLinear)
    x, padding = torch.randn(3, 5, 16), torch.zeros(3, 5, dtype=torch.bool)
    padding[1, 3:] = True
    with torch.no_grad():
        expected = gs.to_dense(sparse)(x, src_key_padding_mask=padding)
        found = sparse(x, src_key_padding_mask=padding)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(found[~padding], dense(x, src_key_padding_mask=padding)[~padding])


@pytest.mark.parametrize("keep", ["magnitude", "random"])
@pytest.mark.parametrize("make", [torch.optim.Adam, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)])
def test_an_optimizer_goes_on_with_the_parameters_of_sparse_layers(
    make: Callable[..., torch.optim.Optimizer], keep: str
) -> None:
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(48, 5))
    optimizer = make(net.parameters())
    x = torch.randn(8, 1, 6, 6)
    net(x).square().sum().backward()
    optimizer.step()
    weights = [net[0].weight, net[2].weight]
    before = [{key: value.clone() for key, value in optimizer.state[w].items()} for w in weights]
    gs.sparsify_(net, 0.3, keep=keep, generator=seeded(), optimizer=optimizer)
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {id(p) for p in net.parameters()}
    for layer, w, old in zip((net[0], net[2]), weights, before, strict=True):
        new = optimizer.state.get(layer.weight_values, {})
        at = layer.pattern.flat_indices
        expected = {key: value.flatten()[at] if value.shape == w.shape else value for key, value in old.items()}
        torch.testing.assert_close(new, expected if keep == "magnitude" else {})
        assert w not in optimizer.state
    was = net[2].weight_values.detach().clone()
    optimizer.zero_grad()
    net(x).square().sum().backward()
    optimizer.step()
    assert not torch.equal(net[2].weight_values, was)


@pytest.mark.parametrize("replace", [functools.partial(gs.sparsify_, density=0.3), gs.compact_])
def test_an_optimizer_of_other_parameters_is_refused(replace: Callable[..., Any]) -> None:
    net: Any = nn.Sequential(nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 3).requires_grad_(False))
    nn.init.zeros_(net[0].weight)
    with pytest.raises(gs.InputError, match=r"optimizer must hold .* lacks those of Linear\(in_features=12"):
        replace(net, optimizer=torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.1))
    with pytest.raises(gs.InputError, match=r"optimizer must be one of torch\.optim"):
        replace(net, optimizer="adam")
    assert type(net[0]) is nn.Linear
    replace(net, optimizer=torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1))
    assert isinstance(net[0], gs.SparseLinear)


def test_rewiring_and_pruning_refuse_parametrized_layers() -> None:
    net = nn.Sequential(parametrized(LAYERS["SparseLinear"]()))
    for use in (gs.Rewire, lambda net: gs.magnitude_prune_(net, 0.1)):
        with pytest.raises(gs.InputError, match=r"weight_values of layer '0' are computed by a parametrization"):
            use(net)


@pytest.fixture
def group() -> Iterator[None]:
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_the_number_of_connections_stays_behind_a_distributed_wrapper() -> None:
    net, other = (nn.Sequential(LAYERS["SparseLinear"]()) for _ in range(2))
    pruning = gs.GradualMagnitudePruning(net, density=0.1, steps=1)
    rewire = gs.Rewire(net, redistribute="magnitude")
    gs.magnitude_prune_(other, 0.1)
    wrapped = nn.parallel.DistributedDataParallel(net)
    for change in (
        lambda: gs.magnitude_prune_(wrapped.module, 0.1),
        lambda: gs.importance_prune_(net, where=lambda name, layer: True),
        pruning.step,
        rewire.step,
        lambda: net.load_state_dict(other.state_dict()),
    ):
        with pytest.raises(gs.InputError, match=r"can't change inside DistributedDataParallel: .*, wrap then"):
            change()
    assert pruning.steps == rewire.steps == 0
    gs.SET(wrapped).step()
    net.load_state_dict(copy.deepcopy(net.state_dict()))
    gs.magnitude_prune_(other, 0.05)
    for _ in range(2):
        wrapped(samples(net[0])).sum().backward()


@pytest.mark.parametrize("kind", LAYERS)
def test_a_parametrized_layer_keeps_its_pattern(kind: str) -> None:
    layer = LAYERS[kind]()
    twin = copy.deepcopy(layer)
    pruned = copy.deepcopy(layer)
    gs.magnitude_prune_(pruned, 0.1)
    plain = copy.deepcopy(pruned)
    for other in (layer, twin, pruned):
        parametrizations.weight_norm(other, "weight_values", dim=0)
    twin.parametrizations.weight_values.original0.data.mul_(2)
    copied = copy.deepcopy(twin)
    layer.load_state_dict(twin.state_dict())
    x = samples(layer)
    torch.testing.assert_close(layer(x), twin(x))
    torch.testing.assert_close(copied(x), twin(x))
    for use in (
        layer.reset_parameters,
        lambda: layer.set_pattern(layer.pattern, torch.ones(layer.nnz)),
        lambda: layer.load_state_dict(pruned.state_dict()),
        lambda: layer.load_state_dict(plain.state_dict(), strict=False),
    ):
        with pytest.raises(gs.InputError, match="computed by a parametrization"):
            use()
    torch.testing.assert_close(layer(x), twin(x))
