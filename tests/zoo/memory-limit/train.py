data = []
while True:
    data.append(bytearray(b"x" * (1 << 20)))
