"""How the pocket world is made: pictures from our renderer in, a folder of weights that Causeway serves out.

`python -m training STAGE --config FILE --out RUN` runs one stage; every stage goes on where it was stopped.
"""
