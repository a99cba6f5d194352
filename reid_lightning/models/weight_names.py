"""Parameter names of other code bases in ours: the same weights were published under several names.

Each translation here gives the same function of a picture; what a network has no counterpart for keeps its name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from torch import Tensor

# torchvision's published DenseNets have keys of a time when module names could hold dots.
_OLD_DENSENET = re.compile(r"(\bdenselayer\d+\.(?:norm|conv))\.([12]\.)")
# IBN-Net's and fast-reid's squeeze-and-excitation has linear layers without bias, timm's 1x1 convolutions with one.
_SQUEEZE = re.compile(r"(.*\bse\.fc)\.([02])\.weight")
_CLIP = (
    ("conv1.", "patch_embed.proj."),
    ("class_embedding", "cls_token"),
    ("positional_embedding", "pos_embed"),
    ("transformer.resblocks.", "blocks."),
    ("ln_pre.", "norm_pre."),
    ("ln_post.", "norm."),
    (".ln_", ".norm"),
    (".in_proj_", ".qkv."),
    (".out_proj.", ".proj."),
    (".c_fc.", ".fc1."),
    (".c_proj.", ".fc2."),
)
_CLIP_CLASS_TOKEN = "class_embedding"
_JIGSAW_BLOCK = "b1.0.norm1.weight"


# EfficientNets as their first PyTorch port names them: blocks are counted through all stages, and the three (in the
# first stage two) batch norms of a block from 0.
_COUNTED_BLOCK = re.compile(r"_blocks\.(\d+)\.")
_STAGE_BLOCK = re.compile(r"blocks\.(\d+)\.(\d+)\.")
_EFFICIENTNET_STEM = "_conv_stem.weight"
_EFFICIENTNET_ENDS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_EFFICIENTNET_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_EFFICIENTNET_FIRST_BLOCK = _EFFICIENTNET_BLOCK | {"_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def translated(tensors: Mapping[str, Tensor], wanted: Iterable[str] = ()) -> dict[str, Tensor]:
    """`tensors` of a file under our names, with the prefix that they have there; `wanted`: names of a backbone."""
    result: dict[str, Tensor] = {}
    for key, value in _jigsaw(_clip(_efficientnet(tensors, wanted))).items():
        if value.ndim == 2 and (match := _SQUEEZE.fullmatch(key)):
            name = f"{match[1]}{1 if match[2] == '0' else 2}"
            result[f"{name}.weight"] = value[:, :, None, None]
            result[f"{name}.bias"] = value.new_zeros(len(value))
        else:
            result[_OLD_DENSENET.sub(r"\1\2", key)] = value
    return result


def common_prefix(names: Iterable[str], wanted: Iterable[str]) -> str:
    """The prefix ("module.", "model.backbone.", ...) under which most of `wanted` are among `names`; "" for none.

    Of prefixes with as many (a student and its teacher, for instance) the first in `names`.
    """
    wanted = frozenset(wanted)
    counts: Counter[str] = Counter()
    for name in names:
        starts = [0, *(match.end() for match in re.finditer(r"\.", name))]
        counts.update(name[:start] for start in starts if name[start:] in wanted)
    return counts.most_common(1)[0][0] if counts else ""


def _efficientnet(tensors: Mapping[str, Tensor], wanted: Iterable[str]) -> Mapping[str, Tensor]:
    """lukemelas' EfficientNet-PyTorch and its kind; `wanted` says how many blocks each stage of the network has."""
    prefix = next((key.removesuffix(_EFFICIENTNET_STEM) for key in tensors if key.endswith(_EFFICIENTNET_STEM)), None)
    if prefix is None:
        return tensors
    found = {(int(match[1]), int(match[2])) for key in wanted if (match := _STAGE_BLOCK.match(key))}
    places = [f"blocks.{stage}.{block}" for stage, block in sorted(found)]
    result = {}
    for key, value in tensors.items():
        name = key.removeprefix(prefix)
        if (match := _COUNTED_BLOCK.match(name)) and int(match[1]) < len(places):
            table = (
                _EFFICIENTNET_BLOCK
                if f"{prefix}{match[0]}_expand_conv.weight" in tensors
                else _EFFICIENTNET_FIRST_BLOCK
            )
            part, _, rest = name.removeprefix(match[0]).partition(".")
            name = f"{places[int(match[1])]}.{table.get(part, part)}.{rest}"
        else:
            part, _, rest = name.partition(".")
            name = f"{_EFFICIENTNET_ENDS.get(part, part)}.{rest}"
        result[prefix + name] = value
    return result


def _clip(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """CLIP's vision transformer, which OpenAI calls `visual` and CLIP-ReID `image_encoder`."""
    prefix = next((key.removesuffix(_CLIP_CLASS_TOKEN) for key in tensors if key.endswith(_CLIP_CLASS_TOKEN)), None)
    if prefix is None:
        return tensors
    result = {}
    for key, value in tensors.items():
        if key.startswith(prefix):
            for theirs, ours in _CLIP:
                key = key.replace(theirs, ours)
            if key in (f"{prefix}cls_token", f"{prefix}pos_embed"):
                value = value.reshape(1, -1, value.shape[-1])
        result[key] = value
    return result


def _jigsaw(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """TransReID with its jigsaw branch: `b1` is the trained last block and norm of the whole picture, those of `base`
    have stayed as they were."""
    prefix = next((key.removesuffix(_JIGSAW_BLOCK) for key in tensors if key.endswith(_JIGSAW_BLOCK)), None)
    if prefix is None:
        return tensors
    block = re.compile(re.escape(f"{prefix}base.blocks.") + r"(\d+)\.")
    last = max((int(match[1]) for key in tensors if (match := block.match(key))), default=0)
    trained = {f"{prefix}b1.0.": f"{prefix}base.blocks.{last}.", f"{prefix}b1.1.": f"{prefix}base.norm."}
    result = {key: value for key, value in tensors.items() if not key.startswith((*trained, *trained.values()))}
    for branch, place in trained.items():
        result |= {place + key.removeprefix(branch): tensors[key] for key in tensors if key.startswith(branch)}
    return result
