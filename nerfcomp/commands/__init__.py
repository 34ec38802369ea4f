"""What the programs do: `program` finds a subcommand of ``compress.py`` and loads the one module that it lives in."""
