"""complete.py DIRECTORY bash|zsh TEXT...: types each TEXT, a tab and a return at an interactive shell with completion switched
on, and prints the words that the shell then gave to criuctl, as JSON: an array for each TEXT. DIRECTORY is for the shell's
start-up files.
"""
import json
import os
import pty
import sys

directory, shell, *texts = sys.argv[1:]
words = os.path.join(directory, "words")
criuctl = f"criuctl() {{ printf '%s\\0' \"$@\" >{words}.new; mv {words}.new {words}; }}\n"
ready = "ready> "

if shell == "bash":
    start = f". /usr/share/bash-completion/bash_completion\nPS1='{ready}'\n"
    argv, variables = ["bash", "--noprofile", "--rcfile", os.path.join(directory, ".bashrc"), "-i"], {}
else:
    # compinit reads a line of each of a thousand files, a minute's work under emulation. Here it reads only the directory of
    # packages and the completion system itself; the other functions are loaded by name.
    start = f"""
all=($fpath)
fpath=(/usr/share/zsh/vendor-completions ${{(M)fpath:#*/Completion(|/Base|/Zsh)}})
autoload -Uz compinit
compinit -u -D
fpath=($all)
autoload -Uz _files _path_files _pids
PROMPT='{ready}'
"""
    argv, variables = ["zsh", "--no-globalrcs", "-i"], {"ZDOTDIR": directory}
with open(os.path.join(directory, f".{shell}rc"), "w") as file:
    file.write(start + criuctl)

pid, terminal = pty.fork()
if pid == 0:
    os.execvpe(argv[0], argv, {**os.environ, **variables, "TERM": "dumb"})


def read_until(end):
    """The shell reads keys only after its prompt."""
    screen = ""
    while end not in screen:
        try:
            screen += os.read(terminal, 65536).decode(errors="replace")
        except OSError:
            sys.exit(f"{shell} has ended: {screen}")


completed = []
read_until(ready)
for text in texts:
    os.write(terminal, f"{text}\t\n".encode())
    # A shell may draw its prompt again after a completion.
    while not os.path.exists(words):
        read_until(ready)
    with open(words) as file:
        completed.append(file.read().split("\0")[:-1])
    os.remove(words)
os.write(terminal, b"exit\n")
os.waitpid(pid, 0)
print(json.dumps(completed))
