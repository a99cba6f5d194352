"""What makes a training step faster without changing what it computes: compiled networks, TF32; and what cannot work,
refused before the data is read."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from reid_lightning.errors import ReIDError, first_line

CompileMode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
MatmulPrecision = Literal["highest", "high", "medium"]


def compile_in_place(model: nn.Module, mode: CompileMode | None, *, device: torch.device) -> None:
    """Compile the network's forward and backward at its first batch; None leaves it as it is.

    Names in the state_dict stay as they are. Shapes are taken as fixed, as PK batches are: another batch size compiles
    again. Evaluate within `torch.compiler.set_stance("force_eager")`: no second compilation, and the numbers that the
    exported bundle gives. "reduce-overhead" and "max-autotune" replay CUDA graphs where torch can.

    Raises:
        ReIDError: an unknown mode; no compiler on this machine.
    """
    if mode is None:
        return
    if mode not in get_args(CompileMode):
        raise ReIDError(f"compile is {mode!r}; expected null or one of {', '.join(get_args(CompileMode))}.")
    try:
        torch.compile(torch.sin)(torch.zeros(2, device=device))
    except Exception as error:  # whatever the compiler's tool chain raises
        reason = first_line(error)
        raise ReIDError(
            f"compile={mode} does not work here ({reason}). A CPU needs a C++ compiler for it, a GPU needs triton; "
            "compile=null does without."
        ) from error
    model.compile(mode=mode, dynamic=False)


def set_matmul_precision(precision: MatmulPrecision, *, device: torch.device) -> None:
    """How exact products of float32 matrices are on an accelerator: "highest" float32, "high" TF32 (10 bits instead of
    23, several times as fast), "medium" bfloat16. The CPU stays exact, and so do rankings."""
    if precision not in get_args(MatmulPrecision):
        expected = ", ".join(get_args(MatmulPrecision))
        raise ReIDError(f"float32_matmul_precision is {precision!r}; expected one of {expected}.")
    if device.type != "cpu":
        torch.set_float32_matmul_precision(precision)


def check_precision(precision: str) -> None:
    """ReIDError for a `trainer.precision` that holds the weights themselves in 16 bits."""
    if precision in ("bf16-true", "16-true"):
        raise ReIDError(
            f"trainer.precision={precision} keeps weights, statistics of batch norms and an optimiser's averages in 16 "
            f"bits, in which small steps vanish. Use {precision.removesuffix('-true')}-mixed."
        )


def check_clipping(precision: str, *, clip: float | None, fused: bool) -> None:
    """ReIDError where `trainer.gradient_clip_val` would clip gradients that still carry a loss scale: a fused optimiser
    takes the scale away itself, after the clipping."""
    if precision == "16-mixed" and clip and fused:
        raise ReIDError(
            f"trainer.gradient_clip_val={clip} with trainer.precision=16-mixed and optimizer.fused=true would clip "
            "scaled gradients; set optimizer.fused=false, or trainer.precision=bf16-mixed, which needs no scale."
        )


def check_sync_batchnorm(model: nn.Module, *, device: torch.device, world_size: int) -> None:
    """ReIDError where `trainer.sync_batchnorm=true` would fail at the first step, or silently change the network.

    torch synchronises batch norms on CUDA and XPU devices only, and replaces them by its own class: one that does more
    than batch norm (timm's BatchNormAct2d holds the activation as well) would lose the rest.
    """
    if world_size == 1:
        return
    if device.type not in ("cuda", "xpu"):
        raise ReIDError(
            f"trainer.sync_batchnorm=true does not work on {device.type}: torch synchronises batch norms on GPUs only. "
            "Leave it out: each process then normalises by its own pictures."
        )
    plain = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and type(module) not in plain:
            raise ReIDError(
                f"trainer.sync_batchnorm=true would drop what {type(module).__name__} does beside batch norm ({name}). "
                "Leave it out, or choose a network with plain batch norms, such as a ResNet."
            )


def check_accelerator(accelerator: str, devices: int | str | list[int]) -> None:
    """ReIDError when `trainer.accelerator` asks for a GPU that is not there, or for more of them than there are."""
    if accelerator not in ("gpu", "cuda"):
        return
    mps = accelerator == "gpu" and torch.backends.mps.is_available()
    if not torch.cuda.is_available() and not mps:
        raise ReIDError(
            f"trainer.accelerator is {accelerator!r}, but torch sees no GPU on this machine. Use trainer=cpu or "
            "trainer=auto; if there is a GPU, check its driver and that torch is a GPU build."
        )
    count = 1 if mps else torch.cuda.device_count()
    if isinstance(devices, int) and devices > count:
        raise ReIDError(f"trainer.devices is {devices}, but this machine has {count} GPU(s).")
