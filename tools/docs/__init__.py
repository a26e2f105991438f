"""Reference pages made from the code they describe: `python -m tools.docs [--check]`."""
