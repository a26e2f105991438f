"""Compares what two runs left, by kind of file, without ever running anything that stands in them.

`files` compares two lists of files by kind (`arrays`, `tables`, `documents`, `tensors`, `plain`),
`series` metrics step by step. Files are strangers': sizes are checked before anything is allocated,
big ones are streamed, Python objects are never loaded. What cannot be read as its kind is compared
by its bytes, and the answer says so. `python -m zenkei.data.compare` does it in a process of its
own with limits (`child` starts it).
"""
