"""Groups of commands that ``zoo.cli`` adds to the program."""
