"""An interactive shell on a terminal of its own, with zenkei's completion, that TABs are typed at.

Used by the test of completions. Where a shell is missing, `install_shells.sh` installs it, as root.
Ctrl-B writes the line as it stands into a file, so that nobody has to read it off a terminal.
"""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE_S = 60.0
PROMPT = "prompt: "
KILL_LINE, SHOW_LINE, TAB = b"\x15", b"\x02", b"\t"
STARTS = {
    # shell: (file of its settings, what stands in it, command)
    "bash": (
        "bashrc",
        """eval "$(zenkei completion bash)"
bind 'set completion-ignore-case off'
bind -x '"\\C-b": printf "%s\\n" "$READLINE_LINE" >> "$SHOWN"'
PS1='{prompt}'
""",
        ("bash", "--noprofile", "--rcfile", "{folder}/bashrc", "-i"),
    ),
    "zsh": (
        ".zshrc",
        """autoload -Uz compinit; compinit -u -D
eval "$(zenkei completion zsh)"
setopt menu_complete
show() { print -r -- "$BUFFER" >> "$SHOWN" }
zle -N show; bindkey '^B' show
PS1='{prompt}'
""",
        ("zsh", "-i"),
    ),
    "fish": (
        "fish/config.fish",
        """zenkei completion fish | source
set -g fish_greeting
function fish_prompt; echo -n '{prompt}'; end
bind \\cb 'commandline >> "$SHOWN"'
""",
        ("fish", "-i"),
    ),
}


def installed(shell: str) -> bool:
    """Whether the shell is here; it is installed if it can be."""
    if shutil.which(shell) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        command = ["/bin/sh", str(HERE / "install_shells.sh")]
        subprocess.run(command, capture_output=True, check=False, timeout=100)
    return shutil.which(shell) is not None


class Shell:
    """A shell that waits for keys."""

    def __init__(self, terminal: int, shown: Path) -> None:
        self._terminal = terminal
        self._shown = shown
        self._lines = len(self._seen())
        self._screen = b""

    def ready(self) -> None:
        """Until the prompt stands there."""
        self._until(lambda: PROMPT.encode() in self._screen, "the prompt")

    def typed(self, text: str, tabs: int = 1) -> str:
        """The line after `text` and so many TABs."""
        os.write(self._terminal, KILL_LINE + text.encode() + TAB * tabs + SHOW_LINE)
        self._lines += 1
        self._until(lambda: len(self._seen()) >= self._lines, f"the line after {text!r}")
        return self._seen()[-1]

    def _seen(self) -> list[str]:
        return self._shown.read_text().splitlines() if self._shown.exists() else []

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"no {what}: {self._screen[-2000:]!r}"
            if select.select([self._terminal], [], [], 0.05)[0]:
                self._screen += os.read(self._terminal, 65536)


@contextmanager
def started(shell: str, folder: Path, environ: Mapping[str, str]) -> Iterator[Shell]:
    """folder: for the shell's settings. environ: with a PATH on which `zenkei` is found."""
    name, settings, command = STARTS[shell]
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(settings.replace("{prompt}", PROMPT))
    places = {"ZDOTDIR": folder, "XDG_CONFIG_HOME": folder, "SHOWN": folder / "shown"}
    env = {**environ, **{k: str(v) for k, v in places.items()}, "TERM": "xterm"}
    argv = [word.replace("{folder}", str(folder)) for word in command]
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.chdir(folder)
            os.execvpe(argv[0], argv, env)
        finally:
            os._exit(127)
    try:
        found = Shell(terminal, folder / "shown")
        found.ready()
        yield found
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
