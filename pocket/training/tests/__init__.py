"""`python -m unittest discover -s training/tests -t .`, from `pocket/`."""
