import pytest
import torch

from reid_lightning.ranking import sparse_coding
from reid_lightning.ranking.sparse_coding import squared_residuals


def slow_weights(signal, atoms, alpha):
    """Plain coordinate descent until the optimality conditions hold: obvious and slow."""
    weights = [0.0] * len(atoms)
    rest = signal.clone()
    for _ in range(200_000):
        for number, atom in enumerate(atoms):
            length = float(atom @ atom)
            if length == 0:
                continue
            rest += weights[number] * atom
            correlation = float(atom @ rest)
            weights[number] = max(abs(correlation) - alpha, 0.0) / length * (1 if correlation > 0 else -1)
            rest -= weights[number] * atom
        slack = 0.0
        for weight, atom in zip(weights, atoms, strict=True):
            correlation = float(atom @ rest)
            wrong = abs(correlation) - alpha if weight == 0 else abs(correlation - alpha * (1 if weight > 0 else -1))
            slack = max(slack, wrong)
        if slack < 1e-7 * alpha:
            return torch.tensor(weights, dtype=torch.float64)
    raise AssertionError("the slow oracle did not converge")


def slow_squared_residuals(signals, dictionaries, alpha=1.0):
    found = torch.empty(len(signals), dictionaries.shape[1], dtype=torch.float64)
    for row, signal in enumerate(signals.double()):
        for column, atoms in enumerate(dictionaries.double().unbind(1)):
            found[row, column] = (signal - slow_weights(signal, atoms, alpha) @ atoms).square().sum()
    return found


def draw(generator, signals, atoms, dictionaries, *, dim, length, alike):
    """Signals and atoms of about `length` around one direction: cosines of about `alike`."""

    def vectors(*shape):
        noise = torch.randn(*shape, dim, generator=generator, dtype=torch.float64)
        return length * (alike**0.5 * centre + (1 - alike) ** 0.5 * noise / dim**0.5)

    centre = torch.nn.functional.normalize(torch.randn(dim, generator=generator, dtype=torch.float64), dim=0)
    return vectors(signals), vectors(atoms, dictionaries)


@pytest.mark.parametrize("length", [0.5, 3.0, 30.0])
@pytest.mark.parametrize("alike", [0.0, 0.6, 0.9])
@pytest.mark.parametrize("atoms", [1, 2, 6, 11])
def test_equals_plain_coordinate_descent(length, alike, atoms):
    generator = torch.Generator().manual_seed(atoms)
    signals, dictionaries = draw(generator, 5, atoms, 2, dim=40, length=length, alike=alike)
    signals[0] = dictionaries[-1, 0]  # lies in the track itself: next to nothing is left
    signals[1] = -dictionaries[0, 1]
    signals[2] = 0
    expected = slow_squared_residuals(signals, dictionaries)
    torch.testing.assert_close(squared_residuals(signals, dictionaries), expected, rtol=2e-5, atol=1e-12)


def test_one_atom_by_hand():
    signals = torch.tensor([[3.0, 4.0], [2.0, 0.0], [-3.0, 0.0], [0.4, 1.0]])
    dictionaries = torch.tensor([[[2.0, 0.0]]])
    # w = (6 - 1) / 4, (4 - 1) / 4, -(6 - 1) / 4 and 0, because the last correlation, 0.8, does not exceed 1
    torch.testing.assert_close(
        squared_residuals(signals, dictionaries), torch.tensor([[0.25 + 16], [0.25], [0.25], [1.16]]).double()
    )
    # alpha = 2: w = (6 - 2) / 4, (4 - 2) / 4, -(6 - 2) / 4, 0
    torch.testing.assert_close(
        squared_residuals(signals, dictionaries, alpha=2.0), torch.tensor([[1.0 + 16], [1.0], [1.0], [1.16]]).double()
    )


def test_orthogonal_atoms_shrink_each_alone_by_hand():
    dictionaries = torch.tensor([[[2.0, 0.0, 0.0]], [[0.0, 3.0, 0.0]]])
    signals = torch.tensor([[4.0, 2.0, 1.0]])
    # w = ((8 - 1) / 4, (6 - 1) / 9): what is left is (4 - 3.5, 2 - 5/3, 1)
    expected = torch.tensor([[0.25 + 1 / 9 + 1]], dtype=torch.float64)
    torch.testing.assert_close(squared_residuals(signals, dictionaries), expected)


@pytest.mark.parametrize("atoms", [4, 12])
@pytest.mark.parametrize("length", [3.0, 30.0, 300.0])
def test_an_image_twice_in_a_track_changes_nothing(atoms, length):
    signals, once = draw(torch.Generator().manual_seed(1), 30, atoms, 3, dim=50, length=length, alike=0.7)
    signals[:atoms] = once[:, 1]
    twice = torch.cat([once, once[: atoms // 2]])
    torch.testing.assert_close(squared_residuals(signals, twice), squared_residuals(signals, once), rtol=5e-4, atol=0)


def test_sums_and_differences_of_images_in_a_track():
    signals, dictionaries = draw(torch.Generator().manual_seed(2), 6, 5, 2, dim=30, length=5.0, alike=0.3)
    dictionaries[3] = dictionaries[0] + dictionaries[1]
    dictionaries[4] = dictionaries[1] - dictionaries[2]
    expected = slow_squared_residuals(signals, dictionaries)
    torch.testing.assert_close(squared_residuals(signals, dictionaries), expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(("atoms", "dim"), [(7, 3), (16, 6)])
def test_more_images_than_dimensions(atoms, dim):
    signals, dictionaries = draw(torch.Generator().manual_seed(1), 8, atoms, 2, dim=dim, length=5.0, alike=0.0)
    expected = slow_squared_residuals(signals, dictionaries)
    torch.testing.assert_close(squared_residuals(signals, dictionaries), expected, rtol=1e-4, atol=1e-9)


def test_zero_vectors():
    signals, dictionaries = draw(torch.Generator().manual_seed(4), 4, 3, 3, dim=20, length=5.0, alike=0.5)
    dictionaries[1, 0] = 0
    dictionaries[:, 1] = 0
    found = squared_residuals(signals, dictionaries)
    torch.testing.assert_close(found[:, :1], slow_squared_residuals(signals, dictionaries[[0, 2], :1]))
    torch.testing.assert_close(found[:, 1], signals.square().sum(dim=1))


@pytest.mark.parametrize("atoms", [3, 8, 9, 25])
def test_every_way_leads_to_the_optimum(atoms, monkeypatch):
    """Tables, eliminations and descent, many problems at a time or few."""
    signals, dictionaries = draw(torch.Generator().manual_seed(5), 20, atoms, 4, dim=100, length=10.0, alike=0.6)
    usual = squared_residuals(signals, dictionaries)
    expected = slow_squared_residuals(signals[:2], dictionaries[:, :1])
    torch.testing.assert_close(usual[:2, :1], expected, rtol=1e-6, atol=0)
    for name, value in {"_EXCHANGES": 0, "_TABULATED": 2, "_MATRIX_ELEMENTS": 3 * atoms**2}.items():
        with monkeypatch.context() as patch:
            patch.setattr(sparse_coding, name, value)
            torch.testing.assert_close(squared_residuals(signals, dictionaries), usual, rtol=1e-6, atol=0)


def test_float32_and_half_are_computed_in_float64():
    signals, dictionaries = draw(torch.Generator().manual_seed(6), 5, 4, 2, dim=30, length=30.0, alike=0.7)
    for dtype in (torch.float32, torch.float16):
        signals, dictionaries = signals.to(dtype), dictionaries.to(dtype)
        expected = squared_residuals(signals.double(), dictionaries.double())
        torch.testing.assert_close(squared_residuals(signals, dictionaries), expected, rtol=0, atol=0)
