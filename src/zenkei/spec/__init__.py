"""job.yaml to JobSpec: parse, canonical form and hash, members, JSON Schema, and a first file.

Pure but for the YAML library: no clock, no files (callers pass `read`). The table of keys in
`keys` is the one source for everything here.
"""

from zenkei.spec import limits
from zenkei.spec.codec import canonical, digest, digest_of, from_canonical
from zenkei.spec.editing import changes, edited
from zenkei.spec.expand import command, members, variables
from zenkei.spec.jsonschema import schema
from zenkei.spec.parsing import from_flags, parse
from zenkei.spec.problems import Code
from zenkei.spec.starter import init
from zenkei.spec.vouching import vouched

__all__ = [
    "Code",
    "canonical",
    "changes",
    "command",
    "digest",
    "digest_of",
    "edited",
    "from_canonical",
    "from_flags",
    "init",
    "limits",
    "members",
    "parse",
    "schema",
    "variables",
    "vouched",
]
