import os
import sys

if os.environ["ZENKEI_ATTEMPT"].endswith("/1"):
    print("Licensed number of users already reached. (-4,342)", file=sys.stderr)
    sys.exit(9)
