"""A batch in pieces learns what it learns in one, as far as its layers look at one picture at a time."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from reid_lightning.errors import ReIDError
from reid_lightning.losses import CircleLoss
from reid_lightning.models import ReIDModel
from reid_lightning.models.micro_batches import forward_in_micro_batches
from reid_lightning.models.reid_model import ReIDOutput

LABELS = torch.arange(12) // 3


def images():
    return torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def loss_of(output):
    return CircleLoss(margin=0.25, gamma=8.0)(output.embeddings, LABELS) + output.features.square().mean()


@pytest.mark.parametrize("pieces", [1, 3, 12])
def test_gradients_are_those_of_the_whole_batch_without_batch_norm(pieces):
    torch.manual_seed(0)
    model = ReIDModel("test_convnext", ibn=None, last_stride=2, pooling="avg", neck="none", embedding_dim=8).train()
    whole = copy.deepcopy(model)
    expected = loss_of(whole(images()))
    expected.backward()
    loss = loss_of(forward_in_micro_batches(model, images(), None, None, micro_batches=pieces))
    loss.backward()
    torch.testing.assert_close(loss, expected)
    for (name, parameter), other in zip(model.named_parameters(), whole.parameters(), strict=True):
        largest = float(other.grad.abs().max())
        torch.testing.assert_close(parameter.grad, other.grad, rtol=0, atol=1e-5 * largest, msg=name)


class Counting(nn.Module):
    """A batch norm and dropout between two matrices; counts the pictures of each pass and what is kept for backward."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4)
        self.passes = []

    def forward(self, vectors, cameras=None):
        self.passes.append((len(vectors), None if cameras is None else cameras.tolist()))
        features = functional.dropout(self.norm(self.first(vectors)), 0.5, self.training)
        return ReIDOutput(features, self.last(features))


def test_a_piece_is_normalised_by_itself_and_counted_once():
    model, slow = Counting(), Counting()
    vectors = torch.randn(6, 4, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(5)
    output = forward_in_micro_batches(model, vectors, micro_batches=3)
    torch.manual_seed(5)  # the same dropout, piece after piece
    expected = [slow(vectors[start : start + 2]) for start in (0, 2, 4)]
    assert torch.equal(output.embeddings, torch.cat([one.embeddings for one in expected]))
    output.embeddings.square().sum().backward()  # computes each piece again, with the dropout that it had
    torch.cat([one.embeddings for one in expected]).square().sum().backward()
    for parameter, other in zip(model.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad)
    assert int(model.norm.num_batches_tracked) == 3
    for name, buffer in slow.named_buffers():
        assert torch.equal(dict(model.named_buffers())[name], buffer), name


def test_every_input_is_cut_and_every_piece_passes_twice():
    model = Counting()
    forward_in_micro_batches(model, torch.randn(4, 4), torch.arange(4), micro_batches=2).embeddings.sum().backward()
    assert sorted(model.passes) == [(2, [0, 1]), (2, [0, 1]), (2, [2, 3]), (2, [2, 3])]
    model.passes.clear()
    forward_in_micro_batches(model, torch.randn(4, 4), None, micro_batches=1)
    assert model.passes == [(4, None)]


def test_activations_are_not_kept():
    def kept(pieces):
        sizes = []

        def keep(tensor):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            forward_in_micro_batches(Counting(), torch.randn(8, 4), micro_batches=pieces)
        return sum(sizes)

    assert kept(4) < kept(1) / 4


@pytest.mark.parametrize("pieces", [0, 5, 24, -2])
def test_pieces_must_divide_the_batch(pieces):
    with pytest.raises(ReIDError, match=rf"module\.micro_batches is {pieces}; expected a divisor of the batch of 12"):
        forward_in_micro_batches(nn.Identity(), images(), micro_batches=pieces)
