import os

with open(os.path.join(os.environ["ZENKEI_OUTPUT_DIR"], "node"), "w", encoding="utf-8") as file:
    file.write(os.environ["ZENKEI_NODE"])
if os.environ["ZENKEI_ATTEMPT"].endswith("/1"):
    raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
