"""Verbs of two words (`env list`, `secret set`): finds the action and calls it.

Called by the modules of nouns. Such a module has `ACTIONS: {noun: {action: (function, help)}}`,
which completion and the reference read too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from zenkei.client.failure import usage

Action = tuple[Callable[[list[str]], int], str]


def act(noun: str, actions: Mapping[str, Action], argv: list[str], *, default: str = "") -> int:
    """Call the action that argv begins with. default: the action if the first word is none.

    Raises Failure (exit 2) with the nearest action for an unknown one.
    """
    word = argv[0] if argv else ""
    if word in ("-h", "--help"):
        print(_help(noun, actions))
        return 0
    if word in actions:
        return actions[word][0](argv[1:])
    if default and argv:
        return actions[default][0](argv)
    known = ", ".join(actions)
    if not word or word.startswith("-"):
        raise usage(f"`zenkei {noun}` needs one of: {known}", f"`zenkei {noun} --help`")
    from difflib import get_close_matches

    near = get_close_matches(word, actions, 1)
    hint = f"did you mean `zenkei {noun} {near[0]}`?" if near else f"one of: {known}"
    raise usage(f"`{word[:60]}` is not an action of `zenkei {noun}`", hint)


def _help(noun: str, actions: Mapping[str, Action]) -> str:
    width = max(map(len, actions))
    lines = [f"  {name:{width}}  {line}" for name, (_function, line) in actions.items()]
    return "\n".join([f"usage: zenkei {noun} ACTION [options]\n", *lines])
