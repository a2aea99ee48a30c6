"""Measures efface beside other tools. `run.py` is the command."""
