"""What makes the step faster leaves its numbers and names alone; what cannot work is refused before any work."""

import copy

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel
from reid_lightning.training.acceleration import (
    check_clipping,
    check_precision,
    check_sync_batchnorm,
    compile_in_place,
    set_matmul_precision,
)

CPU = torch.device("cpu")


def network(backbone="test_resnet", *, ibn="a", neck="bnneck"):
    torch.manual_seed(0)
    return ReIDModel(backbone, ibn=ibn, last_stride=2, embedding_dim=8, neck=neck)


def pictures(count, size=32):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(count))


@pytest.fixture
def counter(monkeypatch):
    """Counts compilations in the place of the real compiler, which takes a minute for what it does not change here."""
    torch._dynamo.reset()
    counter = CompileCounter()
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *given, mode=None, **options: real(*given, **options, backend=counter))
    compile_in_place(nn.Linear(2, 2), "default", device=CPU)  # the trial at its beginning
    counter.clear()
    yield counter
    torch._dynamo.reset()


def test_a_network_is_one_graph_with_the_same_numbers_and_names_and_validates_without_another(counter):
    compiled = network()
    plain = copy.deepcopy(compiled)
    compile_in_place(compiled, "default", device=CPU)
    counter.clear()
    assert compiled.state_dict().keys() == plain.state_dict().keys()

    def train():
        for model in (compiled, plain):
            model.train().zero_grad()
            model(pictures(4)).embeddings.square().sum().backward()

    train()
    with torch.compiler.set_stance("force_eager"), torch.no_grad():
        for count in (8, 8, 3):  # as validation has them
            torch.testing.assert_close(compiled.eval().embed(pictures(count)), plain.eval().embed(pictures(count)))
    train()
    assert counter.frame_count == 1
    for ours, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-4, rtol=1e-4)
    for name, value in compiled.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name], msg=name)


def test_a_vision_transformer_is_one_graph(counter):
    model = network("test_vit", ibn=None).train()
    compile_in_place(model, "default", device=CPU)
    counter.clear()
    model(pictures(2, 160))
    assert counter.frame_count == 1


def test_a_copy_of_a_compiled_network_is_a_plain_network(counter):
    model = network()
    compile_in_place(model, "default", device=CPU)
    counter.clear()
    average = copy.deepcopy(model)
    average.eval()(pictures(2))
    assert counter.frame_count == 0


@pytest.mark.slow
def test_the_real_compiler_gives_the_same_gradients():
    torch.ones(1, requires_grad=True).sum().backward()  # as above
    torch._dynamo.reset()
    compiled = network().to(memory_format=torch.channels_last)
    plain = copy.deepcopy(compiled)
    compile_in_place(compiled, "default", device=CPU)
    images = pictures(4).to(memory_format=torch.channels_last)
    for model in (compiled, plain):
        model.train()(images).embeddings.square().sum().backward()
    for ours, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4)


def test_null_compiles_nothing(counter):
    model = network()
    compile_in_place(model, None, device=CPU)
    model(pictures(4))
    assert counter.frame_count == 0


def test_an_unknown_mode_is_named(counter):
    with pytest.raises(ReIDError, match=r"compile is 'fast'; expected null or one of default, reduce-overhead"):
        compile_in_place(network(), "fast", device=CPU)


def test_a_machine_without_a_compiler_says_so_at_once(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("No working C++ compiler found\nmore lines")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(ReIDError, match=r"compile=default does not work here \(No working C\+\+ compiler found\)"):
        compile_in_place(network(), "default", device=CPU)


def test_tf32_is_for_accelerators():
    before = torch.get_float32_matmul_precision()
    try:
        set_matmul_precision("high", device=CPU)
        assert torch.get_float32_matmul_precision() == before == "highest"
        set_matmul_precision("high", device=torch.device("cuda"))
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    with pytest.raises(ReIDError, match="float32_matmul_precision is 'tf32'; expected one of highest, high, medium"):
        set_matmul_precision("tf32", device=CPU)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed", "64-true"])
def test_mixed_and_full_precision_are_fine(precision):
    check_precision(precision)


@pytest.mark.parametrize("bits", ["bf16", "16"])
def test_weights_in_16_bits_are_refused(bits):
    with pytest.raises(ReIDError, match=rf"trainer\.precision={bits}-true .* Use {bits}-mixed"):
        check_precision(f"{bits}-true")


def test_clipping_of_scaled_gradients_is_refused():
    for precision, clip, fused in [("bf16-mixed", 1.0, True), ("16-mixed", None, True), ("16-mixed", 1.0, False)]:
        check_clipping(precision, clip=clip, fused=fused)
    with pytest.raises(ReIDError, match=r"gradient_clip_val=1\.0 .* set optimizer\.fused=false"):
        check_clipping("16-mixed", clip=1.0, fused=True)


def test_synchronised_batch_norms_have_the_same_names_and_numbers():
    plain = network()
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(plain))
    norms = [module for module in plain.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    converted = [module for module in synchronised.modules() if isinstance(module, nn.SyncBatchNorm)]
    assert len(converted) == len(norms) > 3
    assert isinstance(synchronised.neck, nn.SyncBatchNorm)
    assert isinstance(synchronised.backbone.layer1[0].bn1.BN, nn.SyncBatchNorm)
    assert isinstance(synchronised.backbone.layer1[0].bn1.IN, nn.InstanceNorm2d)
    assert list(synchronised.state_dict()) == list(plain.state_dict())
    assert not synchronised.neck.bias.requires_grad
    other = network()
    other.load_state_dict(synchronised.state_dict())
    torch.testing.assert_close(other.eval()(pictures(2)), synchronised.eval()(pictures(2)))


def test_torch_itself_cannot_synchronise_batch_norms_on_a_cpu(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        with pytest.raises(ValueError, match="SyncBatchNorm expected input tensor to be on GPU"):
            nn.SyncBatchNorm(3).train()(pictures(2))
    finally:
        torch.distributed.destroy_process_group()


def test_synchronised_batch_norms_are_refused_where_they_cannot_work():
    cuda = torch.device("cuda")
    check_sync_batchnorm(network(), device=CPU, world_size=1)
    check_sync_batchnorm(network(), device=cuda, world_size=2)
    with pytest.raises(ReIDError, match=r"sync_batchnorm=true does not work on cpu"):
        check_sync_batchnorm(network(), device=CPU, world_size=2)
    with pytest.raises(ReIDError, match=r"drop what BatchNormAct2d does .*\(backbone\.bn1\)"):
        check_sync_batchnorm(network("test_efficientnet", ibn=None), device=cuda, world_size=2)
