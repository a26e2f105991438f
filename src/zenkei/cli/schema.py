"""`zenkei schema`: the JSON Schema of job files, for completion in editors. No daemon needed."""

from __future__ import annotations

import json

from zenkei import spec
from zenkei.cli import session
from zenkei.cli.arguments import Parser


def schema(argv: list[str]) -> int:
    args = Parser("schema", "The JSON Schema of job files.").parse_args(argv)
    if args.json:
        session.print_json(spec.schema())
    else:
        print(json.dumps(spec.schema(), indent=2, ensure_ascii=False))
    return 0
