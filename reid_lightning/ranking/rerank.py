"""k-reciprocal re-ranking: pictures whose neighbours are each other's neighbours move together.

Sparse throughout: a picture shares neighbours with a few dozen others, so nothing is as large as (queries + gallery)^2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.ranking.checks import check_embeddings, check_pair
from reid_lightning.ranking.neighbours import Neighbours, nearest_neighbours, repeat
from reid_lightning.ranking.precision import empty_matrix
from reid_lightning.ranking.scores import SMALLEST_NORM, Metric, squared_lengths

_ENTRIES = 1 << 19  # numbers in the temporary tensors of one step, so that memory is bounded


@dataclass(frozen=True)
class KReciprocal:
    """The settings of `k_reciprocal_rerank`, to be passed around."""

    k1: int = 20
    k2: int = 6
    lambda_value: float = 0.3

    def __post_init__(self) -> None:
        for name in ("k1", "k2"):
            if getattr(self, name) < 1:
                raise ReIDError(f"{name} is {getattr(self, name)}; expected 1 or more neighbours.")
        if not 0 <= self.lambda_value <= 1:
            raise ReIDError(f"lambda_value is {self.lambda_value}; expected a share of the first distance, 0 to 1.")

    def __call__(self, query: Tensor, gallery: Tensor, *, metric: Metric) -> Tensor:
        """Distances (queries, gallery) of `k_reciprocal_rerank`."""
        return k_reciprocal_rerank(
            query, gallery, k1=self.k1, k2=self.k2, lambda_value=self.lambda_value, metric=metric
        )

    def describe(self) -> str:
        """In words, for everything that prints a result."""
        return f"k-reciprocal re-ranking (k1={self.k1}, k2={self.k2}, lambda={self.lambda_value:g})"


def k_reciprocal_rerank(
    query_embeddings: Tensor,
    gallery_embeddings: Tensor,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    metric: Metric = "euclidean",
) -> Tensor:
    """Distances after k-reciprocal re-ranking; Zhong et al., "Re-ranking Person Re-identification with k-reciprocal
    Encoding", CVPR 2017, as their published code has it. Numbers of equations are theirs.

    With d the squared Euclidean distances among queries and gallery together, each row divided by its maximum, and
    N(i, k) the k nearest of picture i and i itself:

        R(i, k)  = {j in N(i, k): i in N(j, k)}                                            (3)
        R*(i)    = R(i, k1) and every R(c, k1/2) of a c in R(i, k1) that has more than
                   two thirds of its members in R(i, k1)                                    (4)
        V(i, j)  = exp(-d(i, j)) for j in R*(i), else 0; rows scaled to a sum of 1          (7)
        V(i)    <- mean of V(j) over i and its k2 - 1 nearest                              (11)
        jaccard  = 1 - sum_j min(V(q, j), V(g, j)) / sum_j max(V(q, j), V(g, j))           (10)
        result   = (1 - lambda) jaccard + lambda d                                         (12)

    The published code, which this follows, scales the rows of V and asks in (4) for more than two thirds, the paper for
    at least two thirds.

    Implementations differ in the power of the Euclidean distance that they take for d, which moves the mAP by up to a
    tenth of a point. d^2, as here: Zhong's; TransReID's (V rounded to float16); fast-reid's, which squares what it
    is given, on Euclidean distances. d^4: torchreid's, which squares the squared distances it is given; fast-reid's on
    cosine distances, because (1 - cos)^2 is d^4 / 4 for unit vectors.

    Args:
        query_embeddings: (queries, dim), any floating type; computed in float32 (float64 stays).
        gallery_embeddings: (gallery, dim), on the same device.
        k1: neighbours that count; its half is rounded half to even. k1 and k2 may exceed the number of pictures.
        k2: pictures, the picture itself among them, whose encodings are averaged; 1 leaves encodings as they are.
        lambda_value: share of the first distance in the result, 0 to 1.
        metric: "euclidean", or "cosine": d^2 = 2 - 2 cos (a zero vector is equally far from everything).

    A picture is its own nearest neighbour. Ties: of equally near pictures, queries go before the gallery and each side
    in its order. All pictures take part, junk of a query too: the method knows neither identities nor cameras.

    Returns:
        (queries, gallery) float32, lower is closer, on the embeddings' device. Memory: that, one copy of the embeddings
        and about 100 MiB.

    Raises:
        ReIDError: settings, sizes or widths do not fit, or embeddings are not finite.
    """
    KReciprocal(k1, k2, lambda_value)
    embeddings, squares, queries = _prepare(query_embeddings, gallery_embeddings, metric)
    pictures = len(embeddings)
    result = empty_matrix(queries, pictures - queries, like=squares.float())
    count = min(max(k1 + 1, k2), pictures)
    nearest = nearest_neighbours(embeddings, squares, count=count, corner=result)
    farthest = nearest.farthest.clamp(min=torch.finfo(squares.dtype).tiny)  # all pictures may be one point
    encoding = _encode(embeddings, squares, nearest, farthest, k1=k1)
    encoding = _average(encoding, nearest.rows[:, :k2])
    result.mul_(lambda_value / farthest[:queries, None])
    for start, shared in _shared(encoding, queries):
        shared.clamp_(max=1)
        jaccard = shared.div_(2 - shared).neg_().add_(1)  # the sum of maxima is 2 - the sum of minima
        result[start : start + len(jaccard)].add_(jaccard, alpha=1 - lambda_value)
    return result


def _prepare(query: Tensor, gallery: Tensor, metric: Metric) -> tuple[Tensor, Tensor, int]:
    """Embeddings of queries and gallery together (pictures, dim), their squared lengths, the number of queries."""
    if metric not in ("cosine", "euclidean"):
        raise ReIDError(f"metric is {metric!r}; expected 'cosine' or 'euclidean'.")
    query, query_norms = check_embeddings("query_embeddings", query)
    gallery, gallery_norms = check_embeddings("gallery_embeddings", gallery)
    check_pair(query, gallery)
    dtype = torch.promote_types(query.dtype, gallery.dtype)
    embeddings = empty_matrix(len(query) + len(gallery), query.shape[1], like=query.new_empty(0, dtype=dtype))
    torch.cat([query, gallery], out=embeddings)
    if metric == "cosine":
        embeddings.div_(torch.cat([query_norms, gallery_norms])[:, None].clamp(min=SMALLEST_NORM))
        return embeddings, torch.ones_like(embeddings[:, 0]), len(query)
    return embeddings, squared_lengths(embeddings), len(query)


@dataclass(frozen=True)
class _SparseRows:
    """A sparse matrix by rows: row i has the `lengths[i]` entries from `starts[i]` on."""

    starts: Tensor
    lengths: Tensor
    columns: Tensor
    values: Tensor

    @classmethod
    def of(cls, row: Tensor, column: Tensor, value: Tensor, *, rows: int) -> _SparseRows:
        """From the places of its entries, `row` ascending."""
        lengths = torch.bincount(row, minlength=rows)
        return cls(lengths.cumsum(0) - lengths, lengths, column, value)

    def entries(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of `rows` (n,), one after the other: the place in `rows`, column and value of every entry."""
        lengths = self.lengths[rows]
        owner = repeat(torch.arange(len(rows), device=rows.device), lengths)
        at = torch.arange(len(owner), device=rows.device)
        at += repeat(self.starts[rows] - lengths.cumsum(0) + lengths, lengths)
        return owner, self.columns.index_select(0, at), self.values.index_select(0, at)  # several times as fast as [at]


def _encode(embeddings: Tensor, squares: Tensor, nearest: Neighbours, farthest: Tensor, *, k1: int) -> _SparseRows:
    """V (pictures, pictures), equation 7."""
    pictures = len(nearest.rows)
    whole = _reciprocal(nearest.rows[:, : k1 + 1])
    half = _reciprocal(nearest.rows[:, : round(k1 / 2) + 1])
    half = torch.cat([half, torch.full_like(half[:1], pictures)])  # what stands in for nobody has no members
    rows, columns, weights = [], [], []
    size = max(1, _ENTRIES // (whole.shape[1] * half.shape[1]))
    for start in range(0, pictures, size):
        row, column = _expand(whole[start : start + size], half)
        row = row + start
        same = nearest.rows[row] == column[:, None]
        distances = (nearest.distances[row] * same).sum(dim=1)
        missing = (~same.any(dim=1)).nonzero().squeeze(1)
        distances[missing] = _pair_distances(embeddings, squares, row[missing], column[missing])
        rows.append(row)
        columns.append(column)
        weights.append(torch.exp(-distances / farthest[row]))
    row, weight = torch.cat(rows), torch.cat(weights)
    sums = torch.zeros_like(squares).scatter_add_(0, row, weight)
    return _SparseRows.of(row, torch.cat(columns), weight / sums[row], rows=pictures)


def _reciprocal(neighbours: Tensor) -> Tensor:
    """R(i, k), equation 3: (pictures, k + 1) ascending, with the number of pictures where there are fewer."""
    pictures, count = neighbours.shape
    parts = []
    for part in torch.arange(pictures, device=neighbours.device).split(max(1, _ENTRIES // count**2)):
        mine = neighbours[part]
        mutual = (neighbours[mine] == part[:, None, None]).any(dim=2)
        parts.append(mine.masked_fill(~mutual, pictures).sort(dim=1).values)
    return torch.cat(parts)


def _expand(whole: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """R*(i), equation 4, of some pictures: every (i, member), i counted from the first of them, both ascending.

    `whole` (some, k1 + 1) are their R(i, k1), `half` (pictures + 1, k1/2 + 1) everybody's R(c, k1/2).
    """
    nobody = len(half) - 1
    members = half[whole]
    flat = members.flatten(1)
    place = torch.searchsorted(whole, flat).clamp_(max=whole.shape[1] - 1)
    inside = ((whole.gather(1, place) == flat) & (flat < nobody)).view(members.shape).sum(dim=2)
    accepted = 3 * inside > 2 * (members < nobody).sum(dim=2)
    union = torch.cat([whole, members.masked_fill(~accepted[:, :, None], nobody).flatten(1)], dim=1).sort(dim=1).values
    new = union < nobody
    new[:, 1:] &= union[:, 1:] != union[:, :-1]
    return new.nonzero(as_tuple=True)[0], union[new]


def _pair_distances(embeddings: Tensor, squares: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Squared distances (pairs,) of the pictures `first` and `second`."""
    distances = squares[first] + squares[second]
    size = max(1, _ENTRIES // embeddings.shape[1])
    for part in torch.arange(len(first), device=first.device).split(size):
        distances[part] -= 2 * (embeddings[first[part]] * embeddings[second[part]]).sum(dim=1)
    return distances


def _average(encoding: _SparseRows, neighbours: Tensor) -> _SparseRows:
    """Local query expansion, equation 11: the mean encoding of `neighbours` (pictures, k2), the picture among them."""
    pictures, count = neighbours.shape
    rows, columns, values = [], [], []
    for start, end in _spans(encoding.lengths[neighbours].sum(dim=1)):
        owner, column, value = encoding.entries(neighbours[start:end].flatten())
        places, entry = ((start + owner // count) * pictures + column).unique(return_inverse=True)
        rows.append(places // pictures)
        columns.append(places % pictures)
        values.append(value.new_zeros(len(places)).scatter_add_(0, entry, value) / count)
    return _SparseRows.of(torch.cat(rows), torch.cat(columns), torch.cat(values), rows=pictures)


def _shared(encoding: _SparseRows, queries: int) -> Iterator[tuple[int, Tensor]]:
    """sum_j min(V(q, j), V(g, j)) for some queries, from the one named first, and the gallery: (some, gallery)."""
    pictures = len(encoding.lengths)
    gallery = pictures - queries
    row, column, value = encoding.entries(torch.arange(queries, pictures, device=encoding.lengths.device))
    order = column.argsort()
    holders = _SparseRows.of(column[order], row[order], value[order], rows=pictures)  # of picture j: who encodes it
    every_query = torch.arange(queries, device=encoding.lengths.device)
    query, column, _ = encoding.entries(every_query)
    pairs = torch.zeros_like(every_query).scatter_add_(0, query, holders.lengths[column])
    for start, end in _spans(pairs + gallery):
        query, column, value = encoding.entries(every_query[start:end])
        times = holders.lengths[column]
        _, place, other = holders.entries(column)
        place += repeat(query * gallery, times)
        shared = value.new_zeros((end - start) * gallery)
        shared.scatter_add_(0, place, repeat(value, times).minimum(other))
        yield start, shared.view(-1, gallery)


def _spans(costs: Tensor) -> Iterator[tuple[int, int]]:
    """Runs (start, end) of rows that hold about `_ENTRIES` numbers together, where single rows hold `costs` (rows,)."""
    start = 0
    for length in (costs.cumsum(0) // _ENTRIES).unique_consecutive(return_counts=True)[1].tolist():
        yield start, start + length
        start += length
