ready = False
while not ready:
    pass
