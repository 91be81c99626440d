"""The verbs of the command line. Importing them is cheap: heavy imports happen when one runs."""
