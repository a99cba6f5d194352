"""Side information: the table against a slow loop, unknown names, rebuilding, export, and what cannot have it."""

from __future__ import annotations

import copy

import pytest
import torch

from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel
from reid_lightning.models.side_information import SideInformation

CAMERAS, VIEWPOINTS = ["c001", "c002", "c003"], ["front", "rear"]
BOTH = {"cameras": CAMERAS, "viewpoints": VIEWPOINTS, "weight": 3.0}


def small_vit(side_information: dict | None, backbone: str = "test_vit") -> ReIDModel:
    torch.manual_seed(0)
    return ReIDModel(backbone, ibn=None, last_stride=2, side_information=side_information).eval()


def test_a_table_by_hand() -> None:
    sides = SideInformation(1, cameras=["a", "b"], viewpoints=["x", "y"], weight=2.0)
    sides.table.data = torch.tensor([[[1.0], [2.0]], [[5.0], [8.0]]])  # mean 4
    cameras = torch.tensor([0, 0, 1, 1, 0, -1, -1])
    viewpoints = torch.tensor([0, 1, 0, 1, -1, 1, -1])
    # Half known: the mean over the rest; (1 + 2) / 2 - 4 for camera a, (2 + 8) / 2 - 4 for viewpoint y.
    expected = 2.0 * torch.tensor([-3.0, -2.0, 1.0, 4.0, -2.5, 1.0, 0.0])
    torch.testing.assert_close(sides(cameras, viewpoints), expected[:, None])
    torch.testing.assert_close(sides(None, torch.tensor([1])), torch.tensor([[2.0]]))


def test_only_cameras() -> None:
    sides = SideInformation(4, cameras=CAMERAS)
    assert sides.table.shape == (3, 1, 4)
    for camera, name in enumerate(CAMERAS):
        cameras, viewpoints = sides.positions([name], ["front"])
        expected = 3.0 * (sides.table[camera, 0] - sides.table.mean(dim=(0, 1)))
        torch.testing.assert_close(sides(cameras, viewpoints)[0], expected)
        torch.testing.assert_close(sides(cameras, None)[0], expected)


@pytest.mark.parametrize("backbone", ["test_vit", "test_vit2", "vit_small_patch16_dinov3"])
def test_every_token_gets_the_vector_after_the_position_embedding(backbone: str) -> None:
    model = small_vit(BOTH, backbone)
    model.backbone.blocks = model.backbone.blocks[:1]
    seen = []
    model.backbone.blocks[0].register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0]))
    images, cameras, viewpoints = torch.rand(2, 3, 32, 48), torch.tensor([2, 0]), torch.tensor([1, 0])
    with torch.no_grad():
        model(images)
        model(images, cameras, viewpoints)
        added = model.side_information(cameras, viewpoints)
    plain, given = seen
    for picture in range(2):
        for token in range(plain.shape[1]):
            expected = plain[picture, token] + added[picture]
            torch.testing.assert_close(given[picture, token], expected, atol=1e-5, rtol=1e-5)
    assert added.abs().min() > 0


def test_nothing_is_added_where_nothing_is_known() -> None:
    model, images = small_vit(BOTH), torch.rand(3, 3, 32, 32)
    unknown, cameras = torch.full((3,), -1), torch.tensor([0, 1, -1])
    with torch.no_grad():
        plain = model.embed(images)
        torch.testing.assert_close(model.embed(images, unknown, unknown), plain, atol=1e-6, rtol=0)
        given = model.embed(images, cameras)
        assert torch.equal(model.embed(images), plain)  # and the last batch's cameras are forgotten
    differs = (given - plain).abs().amax(dim=1)
    assert differs[:2].min() > 1e-3 and differs[2] < 1e-6


def test_names_from_the_data_build_the_table_later() -> None:
    model = small_vit({"cameras": True, "viewpoints": True})
    before = {name for name, _ in model.named_parameters()}
    model.embed(torch.rand(1, 3, 32, 32))
    with pytest.raises(ReIDError, match="name_sides"):
        model.embed(torch.rand(1, 3, 32, 32), torch.tensor([0]))
    model.name_sides(cameras=CAMERAS, viewpoints=VIEWPOINTS)
    assert {name for name, _ in model.named_parameters()} - before == {"side_information.table"}
    assert model.side_information.table.shape == (3, 2, model.embedding_dim)
    assert model.architecture["side_information"] == BOTH
    positions = model.positions_of(["c003", None, "c009", "c001"], ["rear", "front", None, "side"])
    assert [one.tolist() for one in positions] == [[2, -1, -1, 0], [1, 0, -1, -1]]
    assert all(one.dtype == torch.int64 for one in positions)


def test_architecture_rebuilds_the_network_with_its_names() -> None:
    first = small_vit({"cameras": True, "viewpoints": False, "weight": 1.5})
    first.name_sides(cameras=CAMERAS, viewpoints=[])
    second = ReIDModel(**first.architecture).eval()
    second.load_state_dict(first.state_dict())
    images, (cameras, _) = torch.rand(2, 3, 32, 32), second.positions_of(["c002", "c003"], [None, None])
    with torch.no_grad():
        assert torch.equal(first.embed(images, cameras), second.embed(images, cameras))


def test_networks_without_it_take_no_notice() -> None:
    model = small_vit(None)
    model.name_sides(cameras=CAMERAS, viewpoints=VIEWPOINTS)
    assert "side_information" not in model.architecture
    assert [one.tolist() for one in model.positions_of(["c001"], [None, "front"])] == [[-1], [-1, -1]]
    images, cameras = torch.rand(2, 3, 32, 32), torch.tensor([0, 1])
    with torch.no_grad():
        assert torch.equal(model.embed(images, cameras, cameras), model.embed(images))


def test_the_table_learns() -> None:
    model = small_vit(BOTH).train()
    model(torch.rand(2, 3, 32, 32), torch.tensor([0, 2]), torch.tensor([1, -1])).embeddings.square().sum().backward()
    assert (model.side_information.table.grad.abs().sum(dim=2) > 0).all()  # the centring reaches every pair
    assert [key for key, value in model.named_parameters() if value.requires_grad and value.grad is None] == []


@pytest.mark.slow
def test_it_compiles_as_one_graph() -> None:
    eager = small_vit(BOTH)
    eager.backbone.blocks = eager.backbone.blocks[:1]
    compiled = copy.deepcopy(eager)
    compiled.compile(backend="eager", fullgraph=True, dynamic=False)
    images, cameras, viewpoints = torch.rand(2, 3, 32, 32), torch.tensor([0, -1]), torch.tensor([1, -1])
    with torch.no_grad():
        expected = eager(images, cameras, viewpoints).embeddings
        torch.testing.assert_close(compiled(images, cameras, viewpoints).embeddings, expected)


def test_torch_export_takes_pictures_alone() -> None:
    model, images = small_vit(BOTH), torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        batch = {0: torch.export.Dim("batch", min=1)}
        program = torch.export.export(model, (images[:2],), dynamic_shapes=(batch,))
        torch.testing.assert_close(program.module()(images).embeddings, model(images).embeddings)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ReIDError, match=r"backbone is a ResNet; choose .* model.backbone=vit_base_patch16_224"):
        ReIDModel("resnet18", ibn=None, side_information=BOTH)
    with pytest.raises(ReIDError, match="neither cameras nor viewpoints"):
        small_vit({"weight": 1.0})
    with pytest.raises(ReIDError, match="unexpected keyword argument 'camera'"):
        small_vit({"camera": True})
    with pytest.raises(ReIDError, match="weight='much'"):
        small_vit({"cameras": True, "weight": "much"})
    with pytest.raises(ReIDError, match=r"cameras are \['c001', 'c001'\]; expected two or more different names"):
        small_vit({"cameras": ["c001", "c001"]})
    model = small_vit({"cameras": True, "viewpoints": True})
    with pytest.raises(ReIDError, match=r"viewpoints are \[\].*model.side_information.viewpoints=false"):
        model.name_sides(cameras=CAMERAS, viewpoints=[])
