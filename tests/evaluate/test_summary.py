from __future__ import annotations

import torch
from torch import nn

from gossamer import Pattern, SparseConv2d, SparseLinear
from gossamer.evaluate import summary


def network() -> nn.Sequential:
    mask = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]])
    first = SparseLinear(3, 4, pattern=Pattern.from_mask(mask), generator=torch.Generator().manual_seed(0))
    second = nn.Linear(4, 2)
    with torch.no_grad():
        first.weight_values.fill_(1.0)
        assert first.bias is not None
        first.bias.copy_(torch.tensor([0.0, 0.0, -1.0, 0.0]))
    return nn.Sequential(first, nn.ReLU(), nn.PReLU(), second)


def cells(table: str) -> list[list[str]]:
    rows = [line.split("  ") for line in table.splitlines()]
    return [[cell.strip() for cell in row if cell.strip()] for row in rows]


def test_a_literal_table() -> None:
    x = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    found = summary(network(), x)
    storage, work = map(cells, str(found).split("\n\n"))
    assert storage[0] == ["layer", "kind", "size", "density", "connections", "weights", "indices", "isolated"]
    assert storage[2] == ["0", "SparseLinear", "3→4", "0.3333", "4", "32 B", "68 B", "1 / 1"]
    assert storage[3] == ["3", "Linear", "4→2", "1", "8", "40 B", "0 B", "0 / 0"]
    assert storage[4] == ["other", "4 B"]
    assert storage[6] == ["total", "12", "76 B", "68 B"]
    assert len(storage) == 7
    assert work[0] == ["layer", "MACs", "active MACs", "active in", "active out", "dead out"]
    assert work[2] == ["0", "4", "3", "83.3%", "62.5%", "1"]
    assert work[3] == ["3", "8", "5", "62.5%"]  # whether outputs of the last layer are positive means nothing
    assert work[5] == ["total", "12", "8"]
    assert found.isolated == {"0": (1, 1), "3": (0, 0)}
    assert found.activation["0"].dead_units == 1
    assert found.cost.total.connections == 12


def test_tables_fit_100_columns() -> None:
    wide = SparseLinear(200_000, 100_000, 1e-7, generator=torch.Generator().manual_seed(0))
    layers = {f"encoder.layers.{i}.self_attention.output_projection": wide for i in range(2)}
    model = nn.ModuleDict({name.replace(".", "_"): layer for name, layer in layers.items()})
    for line in str(summary(model)).splitlines():
        assert len(line) <= 100
    assert "enc…tion  " in str(summary(model))
    assert "200000→100000" in str(summary(model))


def test_columns_are_aligned_and_lines_have_no_trailing_blanks() -> None:
    lines = str(summary(network(), torch.ones(2, 3))).split("\n\n")[0].splitlines()
    assert set(lines[1]) == {"─"}
    assert len(lines[1]) == max(map(len, lines)) == len(lines[0])
    assert all(line == line.rstrip() for line in lines)
    end = lines[0].index("connections") + len("connections")
    for line in (lines[2], lines[3], lines[6]):
        assert line[end - 1].isdigit()
        assert line[end : end + 1] in ("", " ")


def test_without_data_nothing_is_said_about_activation() -> None:
    found = summary(network())
    assert found.activation == {}
    assert "active" not in str(found)
    assert "dead" not in str(found)
    assert "isolated" in str(found)
    assert "MACs" in str(found)


def test_a_layer_that_does_not_run_is_listed_without_activation() -> None:
    model = network()
    model.add_module("spare", nn.Linear(2, 2))
    model.forward = lambda x: model[3](model[2](model[1](model[0](x))))  # type: ignore[method-assign]
    found = summary(model, torch.ones(2, 3))
    assert "spare" not in found.activation
    assert any(line.startswith("spare") for line in str(found).splitlines())
    assert found.cost.total.active_macs_per_sample is None


def test_sizes_have_units() -> None:
    text = str(summary(SparseLinear(1000, 1000, 0.5, generator=torch.Generator().manual_seed(0))))
    assert "(model)" in text
    assert "500,000" in text
    assert "2.0 MB" in text
    assert "4.0 MB" in text


def test_a_model_without_linear_layers() -> None:
    lines = str(summary(nn.PReLU())).splitlines()
    assert lines[2].split() == ["other", "4", "B"]
    assert lines[-1].split() == ["total", "0", "4", "B", "0", "B", "0"]


def test_a_literal_table_of_convolutions() -> None:
    mask = torch.tensor([[1, 0, 0, 1, 0, 0, 0, 0], [0] * 8])
    sparse = SparseConv2d(2, 2, 2, pattern=Pattern.from_mask(mask), bias=False)
    with torch.no_grad():
        sparse.weight_values.fill_(1.0)
    model = nn.Sequential(sparse, nn.ReLU(), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2 * 2 * 3, 1, bias=False))
    x = torch.ones(2, 2, 3, 4)
    x[:, 0, :, 0] = 0
    storage, work = map(cells, str(summary(model, x)).split("\n\n"))
    assert work[0][:4] == ["layer", "positions", "MACs", "active MACs"]
    assert storage[2] == ["0", "SparseConv2d", "2×2×2→2", "0.125", "2", "8 B", "64 B", "1 / 1"]
    assert work[2] == ["0", "6", "12", "10", "87.5%", "50.0%", "1"]
    assert storage[3] == ["4", "Linear", "12→1", "1", "12", "48 B", "0 B", "0 / 0"]
    assert work[3] == ["4", "1", "12", "6", "50.0%"]
    assert storage[6] == ["total", "14", "72 B", "64 B"]
    assert work[5] == ["total", "24", "16"]
    without = str(summary(model)).splitlines()
    assert "positions" not in without[0]
    assert without[2].split()[-4:] == ["B", "1", "/", "1"]  # no multiply-adds
    assert without[6].split()[-1] == "B"
