import gzip
import pathlib

pathlib.Path("images.gz").write_text("<html>404</html>", encoding="utf-8")
with gzip.open("images.gz") as images:
    print(images.read())
