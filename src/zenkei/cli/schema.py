"""`zenkei schema [job|cluster]`: JSON Schemas, for completion in editors. No daemon needed."""

from __future__ import annotations

import json

from zenkei.cli import session
from zenkei.cli.arguments import Parser


def schema(argv: list[str]) -> int:
    """Of job files, or of cluster files."""
    parser = Parser("schema", "The JSON Schema of job files, or of cluster files.")
    parser.add_argument(
        "file", nargs="?", default="job", choices=("job", "cluster"), help="default: job"
    )
    args = parser.parse_args(argv)
    if args.file == "cluster":
        from zenkei.spec.cluster import schema as of_files
    else:
        from zenkei.spec import schema as of_files
    found = of_files()
    if args.json:
        session.print_json(found)
    else:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    return 0
