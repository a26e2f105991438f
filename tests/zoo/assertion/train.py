classes, found = 10, 12
assert classes == found, f"{classes} classes, {found} in the data"
