"""Export a bundle: `python export.py checkpoint=<bundle folder or .ckpt> formats=[safetensors,onnx,pt2]`."""

from reid_lightning.commands.main import door

export = door("export")

if __name__ == "__main__":
    export()
