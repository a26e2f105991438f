data = b"x" * (90 << 20)
print(len(data))
