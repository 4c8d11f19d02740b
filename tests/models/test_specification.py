"""Activation functions and noise from strings."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gossamer import InputError
from gossamer.activation import AllReLU, Hoyer, Sparseout, SReLU, TopK
from gossamer.models import activation_from, dropout_instead, weight_noise_from


def test_activation_from_reads_each_kind() -> None:
    assert isinstance(activation_from("relu"), nn.ReLU)
    assert isinstance(activation_from("none"), nn.Identity)
    assert isinstance(activation_from("hoyer:0.8"), Hoyer)
    assert isinstance(activation_from("sigmoid"), nn.Sigmoid)
    assert isinstance(activation_from("srelu"), SReLU)
    alternating = activation_from("allrelu:0.75", position=2)
    assert isinstance(alternating, AllReLU)
    assert (alternating.alpha, alternating.position) == (0.75, 2)
    top = activation_from(" TopK:3 ")
    assert isinstance(top, TopK)
    assert top.k == 3


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "tanh",
        "hoyer",
        "hoyer:",
        "hoyer:x",
        "hoyer:0",
        "hoyer:1",
        "hoyer:nan",
        "topk",
        "topk:0",
        "topk:1.5",
        "relu:1",
        "srelu:1",
        "allrelu",
        "allrelu:-1",
        "allrelu:inf",
    ],
)
def test_activation_from_refuses_what_is_none(spec: str) -> None:
    with pytest.raises(InputError, match="activation"):
        activation_from(spec)


def test_activation_from_reads_parts_from_left_to_right() -> None:
    noisy = activation_from(" ReLU + sparseout: q=1.5, p=0.3 ")
    assert isinstance(noisy, nn.Sequential)
    assert [type(part) for part in noisy] == [nn.ReLU, Sparseout]
    assert repr(noisy[1]) == "Sparseout(p=0.3, q=1.5, gradient='frozen')"
    exact = activation_from("sparseout:gradient=exact,q=1")
    assert repr(exact) == "Sparseout(p=0.5, q=1, gradient='exact')"
    three = activation_from("srelu+sparseout:q=3+topk:2", 5, generator=torch.Generator())
    assert isinstance(three, nn.Sequential)
    assert [type(part) for part in three] == [SReLU, Sparseout, TopK]
    x = torch.randn(4, 6)
    assert torch.equal(noisy.eval()(x), x.relu())
    assert not torch.equal(noisy.train()(x), x.relu())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("relu+sparseout:q=-1", r"activation 'relu\+sparseout:q=-1': q must be in \[0, inf\), got '-1'"),
        ("sparseout:q=1,p=1", r"p must be in \[0, 1\), got '1'"),
        ("sparseout:q=1,p=nan", r"p must be in \[0, 1\), got 'nan'"),
        ("sparseout:q=inf", r"q must be in \[0, inf\), got 'inf'"),
        ("sparseout:q=x", r"q must be a number in \[0, inf\), got 'x'"),
        ("sparseout:q=1,gradient=true", "gradient must be one of 'frozen', 'exact', got 'true'"),
        ("sparseout:q=1,r=2", r"sparseout takes q, p, gradient, each once, as in sparseout:q=1.5,p=0.3, got 'r=2'"),
        ("sparseout:q=1,q=2", "each once.* got 'q=2'"),
        ("sparseout:1.5", "each once.* got '1.5'"),
        ("sparseout:q=1,", "each once.* got ''"),
        ("sparseout", r"sparseout must have an exponent q in \[0, inf\), as in sparseout:q=1.5,p=0.3, got none"),
        ("sparseout:p=0.3", "must have an exponent q"),
        ("relu+", "activation must be"),
        ("+relu", "activation must be"),
        ("relu+tanh", "activation must be"),
        ("relu+bridgeout:q=1", "bridgeout is noise on weights: give it as weight_noise='bridgeout:q=1'"),
    ],
)
def test_wrong_parts_are_refused_by_argument_value_and_range(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        activation_from(spec)


def test_dropout_stands_for_sparseout_with_the_same_probability() -> None:
    assert dropout_instead("relu") == 0.0
    assert dropout_instead("relu", 0.1) == 0.1
    assert dropout_instead("relu+sparseout:q=1.5,p=0.3") == 0.3
    assert dropout_instead("relu+sparseout:q=1.5,p=0.3", 0.5) == pytest.approx(0.65)


def test_weight_noise_from_reads_bridgeout() -> None:
    assert weight_noise_from(" Bridgeout: p=0.3, q=1.5 ") == (0.3, 1.5)
    assert weight_noise_from("bridgeout:q=1") == (0.5, 1.0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", 'weight_noise must be "bridgeout:q=Q,p=P", such as "bridgeout:q=1.5,p=0.3", got \'\''),
        ("sparseout:q=1", "weight_noise must be"),
        ("bridgeout", r"weight_noise 'bridgeout': bridgeout must have an exponent q in \[0, inf\)"),
        ("bridgeout:q=1,p=1", r"weight_noise 'bridgeout:q=1,p=1': p must be in \[0, 1\), got '1'"),
        ("bridgeout:q=-1", r"q must be in \[0, inf\), got '-1'"),
        ("bridgeout:q=1,gradient=exact", "bridgeout takes q, p, each once, .* got 'gradient=exact'"),
    ],
)
def test_wrong_noise_on_weights_is_refused(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        weight_noise_from(spec)
