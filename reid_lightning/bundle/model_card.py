"""The page that travels with a bundle: what the model is, how it was measured, on what, and how to use it."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from reid_lightning.errors import count

CHOSEN_ON = "best epoch chosen on"
MEASURED_ON = "one epoch validated on"
VALIDATION_MAP = "validation mAP"
"""Keys of `BundleOptions.data`: one of the first two, and the third where that names other pictures than those of the
figures."""


def model_card(options: Mapping[str, Any]) -> str:
    """The card of a bundle in Markdown; `options` is what its `opts.yaml` holds."""

    def table(values: Mapping[str, Any]) -> str:
        rows = (f"| {_in_one_line(key)} | {_in_one_line(value)} |" for key, value in values.items())
        return "\n".join(["| | |", "| --- | --- |", *rows])

    return f"""# Vehicle re-identification model `{_in_one_line(options["fingerprint"])}`

Pictures of one vehicle go in, L2-normalised embeddings of {options["embedding_dim"]} numbers come out; compare them by
cosine similarity. Only embeddings of this very fingerprint can be compared with each other.

```python
from reid_lightning.search import load_reid_model

model = load_reid_model("opts.yaml", "model.safetensors", device="cpu")
embeddings = model.embed([picture_1, picture_2])  # PIL pictures of any size -> (2, {options["embedding_dim"]})
```

## Measured

{table(_in_percent(options["metrics"]))}

## Threshold

{_thresholds(options["calibration"])}

## Data

{table(_as_printed(options["data"]))}

## Architecture

{table(options["architecture"])}

## Preprocessing

{table(options["preprocessing"])}

## Limits

The figures above hold for the data named above. Measure on pictures of your own cameras before you rely on a threshold.
"""


def _in_one_line(value: object) -> str:
    """Of names and values that may come from anywhere: without line breaks, HTML or a table's own signs."""
    text = "none" if value is None else html.escape(" ".join(str(value).split()), quote=False)
    return text.replace("|", "\\|").replace("`", "'")


def _thresholds(calibration: Mapping[str, Mapping[str, Any]]) -> str:
    """What a search may take for the same vehicle, a line for each protocol."""
    if not calibration:
        return "None was calibrated: `reid evaluate checkpoint=<this folder> data=<yours> store_threshold=true`."
    lines = []
    for name, values in calibration.items():
        bound = "at least" if values["similarity"] else "at most"
        lines.append(
            f"- {_in_one_line(name)}: {bound} {values['threshold']:.4f} lets through "
            f"{values['measured_false_match_rate']:.2g} of "
            f"{count(values['different_pairs'], 'pair')} of different vehicles "
            f"and {100 * values['true_match_rate']:.1f} % of {count(values['same_pairs'], 'pair')} of one vehicle."
            + (f" Not to be trusted: {_in_one_line(values['warning'])}" if values["warning"] else "")
        )
    return "\n".join(lines)


def _as_printed(data: Mapping[str, Any]) -> dict[str, Any]:
    """As a training prints it: epochs are counted from 1 and figures are percent."""
    epoch, validated = data.get("epoch"), data.get(VALIDATION_MAP)
    printed: dict[str, Any] = {} if not isinstance(epoch, int) else {"epoch": epoch + 1}
    if isinstance(validated, float):
        printed[VALIDATION_MAP] = f"{100 * validated:.1f} %, of the best epoch"
    return {**data, **printed}


def _in_percent(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics as people read them: shares in percent, a line for each rank of the CMC."""
    lines: dict[str, Any] = {}
    for name, value in metrics.items():
        shares = (
            {f"rank-{rank}": share for rank, share in value.items()} if isinstance(value, Mapping) else {name: value}
        )
        lines |= {key: f"{100 * share:.1f} %" if isinstance(share, float) else share for key, share in shares.items()}
    return lines
