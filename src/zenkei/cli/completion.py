"""`zenkei completion bash|zsh|fish`: a script for the shell; what it offers, `_complete` says."""

from __future__ import annotations

from zenkei.cli import session
from zenkei.cli.arguments import Parser

BASH = """\
# zenkei completion for bash; in ~/.bashrc:  eval "$(zenkei completion bash)"
_zenkei() {
  local IFS=$'\\n'
  COMPREPLY=($(zenkei _complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _zenkei zenkei
"""
ZSH = """\
#compdef zenkei
# zenkei completion for zsh; in ~/.zshrc:  eval "$(zenkei completion zsh)"
_zenkei() {
  local -a offered
  offered=("${(@f)$(zenkei _complete "${(@)words[2,$CURRENT]}" 2>/dev/null)}")
  if [[ -n "${offered[1]}" ]]; then compadd -V zenkei -- "${offered[@]}"; else _files; fi
}
if [[ "$funcstack[1]" == _zenkei ]]; then _zenkei "$@"; else compdef _zenkei zenkei; fi
"""
FISH = """\
# zenkei completion for fish; in ~/.config/fish/config.fish:  zenkei completion fish | source
function __zenkei_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l offered (zenkei _complete $words[2..-1] 2>/dev/null)
    if set -q offered[1]
        printf '%s\\n' $offered
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c zenkei -f -k -a '(__zenkei_complete)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def completion(argv: list[str]) -> int:
    parser = Parser("completion", "A completion script for your shell.")
    parser.add_argument("shell", choices=sorted(SCRIPTS), help="bash, zsh or fish")
    args = parser.parse_args(argv)
    if args.json:
        session.print_json({"shell": args.shell, "script": SCRIPTS[args.shell]})
    else:
        print(SCRIPTS[args.shell], end="")
    return 0
