"""The commands of `reid`: what each is for, where its work and its configuration are, and examples of it.

Nothing is imported for it: the list, the help and the errors of a command line read no more than this and `conf/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CONFIG_DIR = next(folder / "conf" for folder in Path(__file__).resolve().parents[1:3] if (folder / "conf").is_dir())
"""In the installed package, or beside it in a clone."""


@dataclass(frozen=True)
class Command:
    """One command, of one word (`train`) or two (`gallery rename`).

    Attributes:
        task: the module and the function of it that is called with the configuration, and imported only then.
        config: the file of its keys, `conf/<config>.yaml`.
        keys: those that matter most, in the order of its help; keys of groups are `<group>.<key>`.
        sweeps: whether `-m` makes sense. Hydra writes and prints the command lines of a sweep as they are: with the
            passwords of cameras and servers.
        own: the file has keys of several commands, and this one takes those that `config_types` declares for it.
    """

    name: str
    does: str
    task: str
    config: str
    examples: tuple[str, ...]
    keys: tuple[str, ...] = ()
    sweeps: bool = False
    own: bool = False


def _command(
    name: str,
    does: str,
    keys: str,
    *examples: str,
    task: str = "",
    config: str = "",
    sweeps: bool = False,
    own: bool = False,
) -> Command:
    """`keys` with spaces between them; module, function and configuration are called like the command's last word
    unless something else is said."""
    word = name.rpartition(" ")[2]
    return Command(name, does, task or f"{word}:{word}", config or word, examples, tuple(keys.split()), sweeps, own)


def _link(action: str, does: str, keys: str, *examples: str) -> Command:
    """Of what was linked."""
    task = "link:list_" if action == "list" else f"link:{action}"
    return _command(f"link {action}", does, f"{keys} gallery", *examples, task=task, config="link", own=True)


def _review(action: str, does: str, keys: str, *examples: str) -> Command:
    """Of people's answers."""
    return _command(
        f"review {action}", does, f"{keys} gallery", *examples, task=f"review:{action}", config="review", own=True
    )


def _gallery(action: str, does: str, keys: str, *examples: str) -> Command:
    """`keys`: its own; those of the store are behind them."""
    task = f"gallery:{action}_" if action in ("list", "import") else f"gallery:{action}"
    keys += " gallery" if action in ("list", "trash", "purge", "export") else " gallery stores.uri stores.name"
    return _command(f"gallery {action}", does, keys, *examples, task=task, config="gallery", own=True)


_ALL = (
    _command(
        "train",
        "Train a model, export the best one and evaluate what was exported.",
        "data.root trainer.max_epochs optimizer.lr loader.identities_per_batch loader.images_per_identity "
        "loader.num_workers input.height input.width model.embedding_dim seed resume hydra.run.dir",
        "",
        "loss=circle model=resnet50",
        "data=veri776 data.root=/data/VeRi trainer.max_epochs=60",
        "-m loss=id,circle seed=1,2,3",
        "resume=runs/train/<run> trainer.max_epochs=80",
        sweeps=True,
    ),
    _command(
        "evaluate",
        "Evaluate a model, embeddings or a ranking: mAP, CMC, ROC, pictures.",
        "checkpoint query_embeddings gallery_embeddings ranking data.root evaluation.flip evaluation.batch_size "
        "evaluation.save_embeddings device backend providers store_threshold",
        "checkpoint=runs/train/<run>/bundle",
        "checkpoint=<bundle> data=veri776 data.root=/data/VeRi",
        "query_embeddings=q.json gallery_embeddings=g.json",
        "ranking=ranking.json",
        sweeps=True,
    ),
    _command(
        "dashboard",
        "Lay out W&B panels over the runs of a sweep, and draw the same ones.",
        "folder project group entity",
        "folder=runs/multirun/<sweep>",
        "folder=runs/multirun/<sweep> entity=<team>",
    ),
    _command(
        "export",
        "Write a model as a bundle: safetensors, ONNX, torch.export; checked.",
        "checkpoint formats hydra.run.dir",
        "checkpoint=runs/train/<run>/bundle formats=[onnx,pt2]",
        "checkpoint=[a.ckpt,b.ckpt]",
        sweeps=True,
    ),
    _command(
        "embed",
        "Embed very many pictures into files, in parts that processes share.",
        "output bundle source gallery part ray ray_workers pictures_per_file batch_size num_workers threads flip "
        "device backend providers data.root",
        "bundle=<bundle> data=veri776 data.root=/VeRi output=embeddings",
        "data=shards data.root=/data/crops output=embeddings part=2/8",
        "gallery=data/gallery output=embeddings ray=auto",
    ),
    _command(
        "adapt",
        "Move a model to your own pictures, without labels.",
        "source gallery bundle share most device",
        "source=my_crops bundle=starter",
        "gallery=data/gallery",
    ),
    _command(
        "register",
        "Find the vehicles of pictures or a video, keep them in a gallery.",
        "source camera gallery bundle start every pictures min_quality device backend providers stores.uri",
        "source=clip.mp4 camera=north",
        "source=rtsp://user:password@10.0.0.8/stream camera=gate",
        "source=my_crops camera=north pictures=crops",
    ),
    _command(
        "search",
        "Find registered vehicles in pictures or a video.",
        "query box gallery bundle plate min_score top_k cameras since until device backend providers stores.uri",
        "query=car.jpg",
        "query=clip.mp4 plate=51G12345",
        "query=clip.mp4 cameras=[north,south] since=2026-01-31",
    ),
    _command(
        "watch",
        "Register what cameras see, for weeks, and tell others of what is on a watch list.",
        "cameras gallery bundle processes every min_score spool metrics_port device backend providers stores.uri",
        "cameras=cameras.yaml",
        "cameras=cameras.yaml detector=yolox processes=4 metrics_port=null",
    ),
    _gallery("list", "List the vehicles.", "", ""),
    _gallery("rename", "Give a vehicle another name.", "vehicle to", "vehicle=unknown-70e9ecbb01ab23cd to=51G12345"),
    _gallery(
        "merge", "Move all that is known of a vehicle to another one.", "vehicle into", "vehicle=LSI5EBC into=LS15EBC"
    ),
    _gallery(
        "delete",
        "Remove a vehicle and its crops; they stay in the trash for seven days.",
        "vehicle now",
        "vehicle=51G12345",
        "vehicle=51G12345 now=true",
    ),
    _gallery("trash", "List what was deleted, merged or renamed and can be restored.", "", ""),
    _gallery("restore", "Undo a deletion, a merge or a new name.", "vehicle into", "vehicle=51G12345"),
    _gallery("purge", "Empty the trash, or remove vehicles from it, for good.", "vehicle", "", "vehicle=51G12345"),
    _gallery(
        "forget",
        "Remove what ended, or if nobody knows was registered, before a time.",
        "before",
        "before=2026-01-31T00:00:00Z",
    ),
    _gallery("check", "Name what is damaged, in the gallery and in its vectors.", "bundle", "", "bundle=latest"),
    _gallery(
        "sync",
        "Embed crops without a vector, forget those that are gone.",
        "bundle device backend providers embeddings",
        "bundle=latest",
        "bundle=latest embeddings=embeddings/gallery",
    ),
    _gallery(
        "rebuild",
        "Embed every crop again, also after a change of the model.",
        "bundle device backend providers",
        "bundle=latest",
        "bundle=<bundle> stores.uri=http://localhost:19530",
    ),
    _gallery(
        "export",
        "Write vehicles with their crops into a zip.",
        "file vehicle",
        "file=gallery.zip",
        "file=a.zip vehicle=A",
    ),
    _gallery(
        "import",
        "Add what a zip of `export` holds.",
        "file bundle device backend providers max_gib",
        "file=gallery.zip bundle=latest",
    ),
    _command(
        "link",
        "Join sightings of all cameras to vehicles, also without plates.",
        "gallery bundle min_score travel_times use_plates again sheet stores.uri stores.name",
        "",
        "gallery=data/gallery travel_times=travel_times.csv sheet=links.jpg",
        own=True,
    ),
    _link("list", "List the vehicles that several sightings were joined to.", "sheet", "", "sheet=links.jpg"),
    _link("show", "Show why the sightings of a vehicle are one.", "vehicle sheet", "vehicle=LS15EBC"),
    _link(
        "undo",
        "Part a linked vehicle, or take one sighting out of it; it stays so.",
        "vehicle sighting by",
        "vehicle=LS15EBC",
        "vehicle=LS15EBC sighting=70e9ecbb01ab23cd by=anna",
    ),
    _command(
        "review",
        "Show the pairs of sightings that are worth asking a person.",
        "gallery most sheet",
        "",
        "gallery=data/gallery most=20 sheet=review.jpg",
        own=True,
    ),
    _review(
        "answer",
        "Say whether two sightings are one vehicle; it is never overruled.",
        "pair says by",
        "pair=70e9ecbb01ab23cd,00e1c0ffee00beef says=same",
    ),
    _review("answers", "List the answers that hold, by whom and when.", "", ""),
    _review("undo", "Take an answer back.", "answer by", "answer=70e9ecbb01ab"),
    _command(
        "app",
        "Serve the application: register, search, gallery in the browser.",
        "gallery bundle detector.path device backend providers stores.uri max_upload_mib max_pictures",
        "",
        "gallery=data/gallery bundle=runs/train/<run>/bundle",
        "detector=yolox plates=eu",
    ),
    _command(
        "data report",
        "Show what a data set holds and what is wrong with it.",
        "data.root",
        "",
        "data=folder data.root=my_crops",
        sweeps=True,
    ),
    _command(
        "data fleet",
        "Draw a fleet in VeRi-776's layout, with ground truth: what data=synthetic reads.",
        "folder size seed workers sheet",
        "",
        "size=tiny sheet=sheet.jpg",
        "folder=data/synthetic seed=1",
        task="drawn_worlds:fleet",
    ),
    _command(
        "data traffic",
        "Draw clips of the same vehicles by two or four cameras, with ground truth.",
        "folder seed vehicles cameras seconds frames_per_second width height",
        "",
        "folder=data/synthetic vehicles=20 seconds=120",
        "cameras=4 vehicles=200 seconds=900",
        task="drawn_worlds:traffic",
    ),
    _command(
        "data shards",
        "Write a data set into a few tar files, for network disks.",
        "output shard_mib data.root",
        "data=veri776 data.root=/data/VeRi output=/data/VeRi-shards",
        sweeps=True,
    ),
    _command(
        "data augmentation_sheet",
        "Draw what augmentation makes of training pictures.",
        "output pictures draws data.root input.height input.width seed",
        "transforms=strong",
        "data=folder data.root=my_crops output=sheet.jpg",
        sweeps=True,
    ),
    _command(
        "detector list",
        "List the files of detectors that are known to work.",
        "folder",
        "",
        task="detector:list_",
        config="detector_file",
        own=True,
    ),
    _command(
        "detector fetch",
        "Fetch the file of a detector, and check it.",
        "name folder address",
        "",
        "address=file:///media/stick/yolox_nano.onnx",
        task="detector:fetch_",
        config="detector_file",
        own=True,
    ),
)

COMMANDS: Mapping[str, Command] = {command.name: command for command in _ALL}
"""By name."""
ROOMS: Mapping[str, str] = {
    "gallery": "Look after the registered vehicles and their vectors.",
    "link": "Sightings of all cameras joined to vehicles.",
    "review": "What people say of pairs of sightings, and what is worth asking them.",
    "data": "Look at data sets, pack them, draw worlds to try things with.",
    "detector": "Files of detectors that are known to work.",
}
"""What the commands of two words that begin alike are for."""
