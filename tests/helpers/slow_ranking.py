"""Rankings by sorting, obvious and slow, and embeddings whose products are exact."""

import torch


def slow_query(scores, right, junk, ap):
    """AP, place of the first match and inverse negative penalty of one query, by sorting: obvious and slow."""
    order = sorted((row for row in range(len(scores)) if not junk[row]), key=lambda row: (-scores[row], row))
    places = [place for place, row in enumerate(order, start=1) if right[row] and not junk[row]]
    if not places:
        return None
    total = 0.0
    for found, place in enumerate(places, start=1):
        precision = found / place
        earlier = 1.0 if place == 1 else (found - 1) / (place - 1)
        total += precision if ap == "step" else (precision + earlier) / 2
    return total / len(places), places[0], len(places) / places[-1]


def small_integers(generator, count, dim):
    """Integer vectors: products are exact, and ties abound."""
    return torch.randint(-2, 3, (count, dim), generator=generator).double()
