"""The command line: one module for each noun, imported only when its verb is typed."""
