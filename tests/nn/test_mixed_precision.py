"""Autocast and scaled gradients: which dtypes there are, and that training works."""

from __future__ import annotations

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, nn, optim
from tetragrad.amp import GradScaler, autocast, custom_bwd, custom_fwd
from tetragrad.nn import functional as F
from tetragrad.tensor import mixed_precision

BF16 = tetragrad.bfloat16
FLOAT = tetragrad.float32


def inputs(*shape: int) -> Tensor:
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def test_products_are_narrow_and_sums_wide() -> None:
    x, weight = inputs(2, 3, 4, 4), inputs(4, 4)
    with autocast("cpu"):
        assert (x @ weight).dtype is BF16
        assert tetragrad.einsum("abcd,de->abce", x, weight).dtype is BF16
        assert nn.Linear(4, 2)(x).dtype is BF16
        assert nn.Conv2d(3, 5, 3)(x).dtype is BF16
        assert F.scaled_dot_product_attention(x, x, x).dtype is BF16
        assert (x @ weight).softmax(-1).dtype is FLOAT
        assert nn.LayerNorm(4)(x @ weight).dtype is FLOAT
        assert nn.BatchNorm2d(3)(x @ weight).dtype is BF16
        assert F.mse_loss(x @ weight, x).dtype is FLOAT
        assert (x @ weight).relu().dtype is BF16
        assert (x.double() @ weight.double()).dtype is tetragrad.float64
        assert (x.long() @ weight.long()).dtype is tetragrad.int64
    assert (x @ weight).dtype is FLOAT


def test_modes_nest_and_decorate() -> None:
    x = inputs(2, 2)

    @autocast("cpu", dtype=tetragrad.float16)
    def product() -> Tensor:
        return x @ x

    assert product().dtype is tetragrad.float16
    with autocast("cpu"):
        assert tetragrad.is_autocast_enabled("cpu")
        assert product().dtype is tetragrad.float16
        with autocast("cpu", enabled=False):
            assert (x @ x).dtype is FLOAT
        assert (x @ x).dtype is BF16
        with autocast("reference"):
            assert tetragrad.get_autocast_dtype("cpu") is BF16
    with autocast("reference"):
        assert (x @ x).dtype is FLOAT


def test_recurrent_layers_and_attention_run() -> None:
    x = inputs(2, 3, 8).requires_grad_()
    with autocast("cpu"):
        hidden, _ = nn.LSTM(8, 8, batch_first=True)(x)
        attended, _ = nn.MultiheadAttention(8, 2, batch_first=True)(hidden, x, x)
        loss = attended.sum()
    loss.backward()
    assert loss.dtype is FLOAT
    assert x.grad is not None
    assert x.grad.dtype is FLOAT


def test_weights_and_gradients_stay_wide() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    x, target = inputs(5, 4), Tensor([0, 1, 2, 0, 1])
    F.cross_entropy(model(x), target).backward()
    exact = [weight.grad for weight in model.parameters()]
    model.zero_grad()
    with autocast("cpu"):
        loss = F.cross_entropy(model(x), target)
    loss.backward()
    for weight, expected in zip(model.parameters(), exact, strict=True):
        assert weight.grad is not None
        assert expected is not None
        assert weight.grad.dtype is FLOAT
        assert np.allclose(weight.grad.numpy(), expected.numpy(), atol=0.02)


def test_captures_are_compared_by_the_mode() -> None:
    x = inputs(2, 2)

    @tetragrad.jit
    def product(x: Tensor) -> Tensor:
        return x @ x

    for _ in range(2):
        assert product(x).dtype is FLOAT
    with autocast("cpu"):
        for _ in range(2):
            assert product(x).dtype is BF16
    assert product(x).dtype is FLOAT


def test_functions_choose_their_dtype() -> None:
    class Product(tetragrad.Function):
        @staticmethod
        @custom_fwd(device_type="cpu", cast_inputs=FLOAT)
        def forward(ctx, x, y):  # type: ignore[no-untyped-def]
            ctx.save_for_backward(x, y)
            return x @ y

        @staticmethod
        @custom_bwd(device_type="cpu")
        def backward(ctx, upstream):  # type: ignore[no-untyped-def]
            x, y = ctx.saved_tensors
            return upstream @ y.mT, x.mT @ upstream

    x = inputs(2, 2)
    with autocast("cpu"):
        assert Product.apply(x.bfloat16(), x).dtype is FLOAT


def test_a_gpu_that_is_not_there_disables(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_none(name: object) -> str:
        raise tetragrad.DeviceError("no GPU")

    monkeypatch.setattr(mixed_precision, "device_name", open_none)
    monkeypatch.setattr(tetragrad.amp, "device_name", open_none)
    with pytest.warns(UserWarning, match="changes nothing"), autocast("cuda"):
        assert (inputs(2, 2) @ inputs(2, 2)).dtype is FLOAT
    with pytest.warns(UserWarning, match="scales nothing"):
        scaler = GradScaler()
    assert not scaler.is_enabled()
    assert scaler.scale(Tensor(2.0)).item() == 2.0
    assert scaler.get_scale() == 1.0
    with tetragrad.cuda.amp.autocast(enabled=False):
        assert not tetragrad.cuda.amp.GradScaler(enabled=False).is_enabled()


def test_a_wild_step_changes_nothing() -> None:
    weight = nn.Parameter(Tensor([1.0]))
    optimizer = optim.SGD([weight], lr=0.5)
    scaler = GradScaler("cpu", init_scale=8.0, growth_interval=2)
    scales = []
    for factor in (1.0, float("inf"), 1.0, 1.0):
        optimizer.zero_grad()
        scaler.scale((weight * factor).sum()).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
    assert weight.tolist() == [-0.5]
    assert scales == [8.0, 4.0, 4.0, 8.0]
    other = GradScaler("cpu")
    other.load_state_dict(scaler.state_dict())
    assert other.get_scale() == 8.0


def test_steps_of_a_scaler_have_an_order() -> None:
    weight = nn.Parameter(Tensor([1.0]))
    optimizer, scaler = optim.SGD([weight]), GradScaler("cpu")
    with pytest.raises(tetragrad.TetragradError, match="before any step"):
        scaler.update()
    scaler.scale(weight.sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(tetragrad.TetragradError, match="unscaled already"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(tetragrad.TetragradError, match="without update"):
        scaler.step(optimizer)
    half = nn.Parameter(Tensor([1.0]).half())
    half.sum().backward()
    with pytest.raises(TypeError, match="keep the weights float32"):
        scaler.unscale_(optim.SGD([half]))


def test_other_dtypes_and_devices_are_refused() -> None:
    with pytest.raises(TypeError, match="autocast to int32"):
        autocast("cpu", dtype=tetragrad.int32)
    with pytest.raises(RuntimeError, match="there is no device 'gpu'"):
        autocast("gpu")
