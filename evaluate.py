"""Evaluate a model, embeddings or a ranking: `python evaluate.py checkpoint=<bundle folder or .ckpt> [data=...]`."""

from reid_lightning.commands.main import door

evaluate = door("evaluate")

if __name__ == "__main__":
    evaluate()
