"""`zenkei dataset`: names, versions, tags and grants. The verbs that move content: `datawork`."""

from __future__ import annotations

from typing import Any

from zenkei.cli import datawork, render, session
from zenkei.cli.arguments import Parser
from zenkei.cli.nouns import Action, act
from zenkei.client.client import segment
from zenkei.client.failure import usage
from zenkei.model.dataset import Reference, parse_reference
from zenkei.model.errors import InvalidInput

Json = dict[str, Any]
LIST_HEAD = ("NAME", "LATEST", "VERSIONS", "FILES", "SIZE", "CHANGED", "OWNER", "DESCRIPTION")
LOG_HEAD = ("VERSION", "TAGS", "FILES", "SIZE", "STORED", "WHEN", "BY", "DIGEST", "MESSAGE")
SHORT = 15
"""`b3:` and 12 digits."""


def dataset(argv: list[str]) -> int:
    return act("dataset", ACTIONS["dataset"], argv)


def create(argv: list[str]) -> int:
    """A name; `zenkei dataset commit` makes its first version."""
    parser = Parser("dataset create", "Make a dataset without any version yet.")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--description", default="", metavar="TEXT", help="what it is")
    args = parser.parse_args(argv)
    body = {"name": args.name, "description": args.description}
    found = session.open().post("/v1/datasets", body)
    return _done(args, found, f"dataset {found['name']}: `zenkei dataset commit` adds a version")


def list_(argv: list[str]) -> int:
    parser = Parser("dataset ls", "Datasets that you may read.")
    args = parser.parse_args(argv)
    answer = session.open().get("/v1/datasets")
    if args.json:
        session.print_json(answer)
        return 0
    rows = answer["datasets"]
    if rows:
        print(render.table(LIST_HEAD, [_list_row(row) for row in rows], right={1, 2, 3, 4}))
    else:
        print("no dataset yet: `zenkei dataset add NAME DIRECTORY` makes one of a directory")
    return 0


def show(argv: list[str]) -> int:
    parser = Parser("dataset show", "A dataset: its versions, tags, and who may use it.")
    parser.add_argument("name", metavar="NAME")
    args = parser.parse_args(argv)
    found = session.open().get(_path(args.name))
    if args.json:
        session.print_json(found)
        return 0
    tags = ", ".join(f"{tag} = {number}" for tag, number in found["tags"].items())
    grants = ", ".join(f"{one['to']} ({one['permission']})" for one in found["grants"])
    lines = [
        f"dataset {found['name']}: {found['description'] or 'no description'}",
        f"  owner     {found['owner']}",
        f"  open to   {grants or 'nobody else'}",
        f"  versions  {found['count']}",
        f"  tags      {tags or '-'}",
    ]
    print("\n".join(map(render.clean, lines)))
    if found["versions"]:
        print(_log_table(found, found["versions"][-5:]))
    return 0


def log(argv: list[str]) -> int:
    parser = Parser("dataset log", "Versions of a dataset, newest last.")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--events", action="store_true", help="who did what: tags, grants, commits")
    args = parser.parse_args(argv)
    client = session.open()
    if args.events:
        answer = client.get(f"{_path(args.name)}/history", limit=1000)
        if args.json:
            session.print_json(answer)
        for event in [] if args.json else answer["events"]:
            print(render.clean(_event_line(event)))
        return 0
    found = client.get(_path(args.name))
    if args.json:
        session.print_json({"versions": found["versions"], "tags": found["tags"]})
    elif found["versions"]:
        print(_log_table(found, found["versions"]))
    else:
        print(f"no version yet: `zenkei dataset commit {args.name} DIRECTORY`")
    return 0


def tag(argv: list[str]) -> int:
    parser = Parser("dataset tag", "Let a tag name a version, or take a tag away.")
    parser.add_argument("version", metavar="NAME[@VERSION|:TAG]", help="such as digits@3")
    parser.add_argument("tag", metavar="TAG")
    parser.add_argument("--delete", action="store_true", help="take the tag away")
    args = parser.parse_args(argv)
    meant = reference(args.version)
    client = session.open()
    if args.delete:
        found = client.delete(f"{_path(meant.name)}/tags/{segment(args.tag)}")
        return _done(args, found, f"{meant.name} has no tag {args.tag} any more")
    body = {"version": which(meant), "tag": args.tag}
    found = client.post(f"{_path(meant.name)}/tags", body)
    return _done(args, found, f"{meant.name}:{args.tag} is version {found['number']}")


def acl(argv: list[str]) -> int:
    parser = Parser("dataset acl", "Who may use a dataset; open it to somebody, or close it.")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--grant", metavar="WHO", help="user:NAME, group:NAME or public")
    parser.add_argument(
        "--permission", choices=("read", "write", "admin"), default="read", help="what is granted"
    )
    parser.add_argument("--revoke", metavar="WHO", help="take back what was granted")
    args = parser.parse_args(argv)
    client, path = session.open(), _path(args.name)
    if args.grant and args.revoke:
        raise usage("--grant and --revoke in one command", "one after the other")
    if args.grant:
        found = client.post(f"{path}/grants", {"to": args.grant, "permission": args.permission})
    elif args.revoke:
        found = client.delete(f"{path}/grants/{segment(args.revoke)}")
    else:
        found = client.get(path)
    if args.json:
        session.print_json({"owner": found["owner"], "grants": found["grants"]})
        return 0
    rows = [(found["owner"], "owner"), *((g["to"], g["permission"]) for g in found["grants"])]
    print(render.table(("WHO", "MAY"), [list(map(str, row)) for row in rows]))
    return 0


def remove(argv: list[str]) -> int:
    parser = Parser("dataset rm", "Remove a version, or with --all a dataset with all of them.")
    parser.add_argument("version", metavar="NAME[@VERSION|:TAG]", help="such as digits@3")
    parser.add_argument("--all", action="store_true", help="the name with all its versions")
    parser.add_argument("--force", action="store_true", help="also a version that has tags")
    args = parser.parse_args(argv)
    meant = reference(args.version)
    client = session.open()
    if args.all:
        if which(meant):
            raise usage("--all is for a name, without a version", f"zenkei dataset rm {meant.name}")
        found = client.delete(_path(meant.name))
        return _done(args, found, f"{meant.name} is gone; `zenkei dataset gc` frees its space")
    if not which(meant):
        hint = f"`zenkei dataset rm {meant.name}@3`, or --all for the name with all versions"
        raise usage("no version is named", hint)
    if meant.tag:
        number = client.get(_path(meant.name))["tags"].get(meant.tag)
        meant = Reference(name=meant.name, number=int(number or 0))
    version = meant.digest or str(meant.number)
    path = f"{_path(meant.name)}/versions/{segment(version)}"
    found = client.delete(path, force=args.force)
    told = f"version {found['number']} of {meant.name} is gone; `zenkei dataset gc` frees its space"
    return _done(args, found, told)


def reference(text: str) -> Reference:
    """Raises Failure (exit 2)."""
    try:
        return parse_reference(text)
    except InvalidInput as error:
        raise usage(error.message, error.hint) from None


def which(meant: Reference) -> str:
    """The part after the name."""
    return str(meant)[len(meant.name) :]


def _path(name: str) -> str:
    return f"/v1/datasets/{segment(reference(name).name)}"


def _done(args: Any, found: Json, told: str) -> int:
    if args.json:
        session.print_json(found)
    else:
        print(render.clean(told))
    return 0


def _list_row(row: Json) -> list[str]:
    newest = row["versions"][-1] if row["versions"] else None
    return [
        row["name"],
        str(row["tags"].get("latest", "-")),
        str(row["count"]),
        f"{newest['files']:,}" if newest else "-",
        render.size(newest["size_bytes"]) if newest else "-",
        render.clock(newest["at_us"]) if newest else "-",
        row["owner"],
        row["description"].partition("\n")[0],
    ]


def _log_table(found: Json, versions: list[Json]) -> str:
    rows = [
        [
            str(one["number"]),
            ",".join(tag for tag, number in found["tags"].items() if number == one["number"]),
            f"{one['files']:,}",
            render.size(one["size_bytes"]),
            "reference" if one["storing"] == "reference" else render.size(one["stored_bytes"]),
            render.clock(one["at_us"]),
            one["by"],
            one["digest"][:SHORT],
            one["message"].partition("\n")[0],
        ]
        for one in versions
    ]
    return render.table(LOG_HEAD, rows, right={0, 2, 3, 4})


def _event_line(event: Json) -> str:
    details = " ".join(f"{key}={value}" for key, value in event["details"].items())
    number = f" version {event['number']}" if event["number"] else ""
    kind = event["kind"].replace("_", " ")
    return f"{render.clock(event['at_us'])}  {event['by']}  {kind}{number}  {details}".rstrip()


ACTIONS: dict[str, dict[str, Action]] = {
    "dataset": {
        "add": (datawork.add, "make a dataset of a directory"),
        "create": (create, "make a dataset without any version yet"),
        "commit": (datawork.commit, "store a directory as the next version"),
        "ls": (list_, "datasets that you may read"),
        "show": (show, "a dataset: versions, tags, who may use it"),
        "log": (log, "versions of a dataset; --events: all that happened"),
        "files": (datawork.files, "files of a version"),
        "diff": (datawork.diff, "what changed between two versions"),
        "export": (datawork.export, "write a version into a directory"),
        "mount": (datawork.mount, "show a version in a directory, read-only"),
        "unmount": (datawork.unmount, "end what mount has begun"),
        "tag": (tag, "let a tag name a version"),
        "acl": (acl, "who may use a dataset"),
        "verify": (datawork.verify, "whether the stored content is there and undamaged"),
        "rm": (remove, "remove a version or a dataset"),
        "gc": (datawork.collect, "free the space of what nothing names any more"),
    }
}
