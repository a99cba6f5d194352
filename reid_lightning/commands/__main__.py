"""`python -m reid_lightning.commands <command> ...` is `reid <command> ...`."""

from reid_lightning.commands.main import main

if __name__ == "__main__":
    main()
