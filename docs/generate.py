#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes man pages and shell completions from what kolm's own --help prints, so that they cannot disagree with it."""
import os
import re
import subprocess
import sys


class Verb:
    """One verb as its help describes it."""

    def __init__(self, words, text):
        self.words = words
        self.summary, _, rest = text.partition("\n\nusage: ")
        self.usage, _, rest = rest.partition("\n\noptions:\n")
        body, _, self.notes = rest.partition("\n\n")
        self.options = []
        for line in body.split("\n"):
            match = re.match(r"  (.{28})  (.*)$", line) or re.match(r"  (\S.*|    --.*)()$", line)
            if match and match.group(1).strip():
                self.options.append([match.group(1).strip(), match.group(2)])
            elif self.options and line.strip():
                self.options[-1][1] = line.strip()

    def names(self):
        return [name for left, _ in self.options for name in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", left)]

    def takes_file(self, name):
        left = next(left for left, _ in self.options if name in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", left))
        return bool(re.search(r"\b(FILE|DIR|PATH)\b", left))


def help_of(kolm, words):
    done = subprocess.run([kolm, *words, "--help"], capture_output=True, text=True, env={"HOME": "/nonexistent", "NO_COLOR": "1"}, stdin=subprocess.DEVNULL)
    if done.returncode not in (0, 2):
        sys.exit("kolm %s --help ended with %d: %s" % (" ".join(words), done.returncode, done.stderr))
    return done.stdout


def commands_in(text):
    part = text.partition("commands:\n")[2].partition("\n\n")[0]
    return [(m.group(1), m.group(2)) for m in re.finditer(r"^  (\S+)\s{2,}(.*)$", part, re.M)]


def collect(kolm):
    """{("compute", "pick"): Verb, ...} and {(): [(name, help), ...], ("compute",): ...}."""
    verbs, groups = {}, {(): commands_in(help_of(kolm, []))}
    for name, _ in groups[()]:
        text = help_of(kolm, [name])
        inner = commands_in(text)
        if inner:
            groups[(name,)] = inner
            for sub, _ in inner:
                verbs[(name, sub)] = Verb((name, sub), help_of(kolm, [name, sub]))
        else:
            verbs[(name,)] = Verb((name,), text)
    return verbs, groups


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in text.split("\n"))


EXITS = [("0", "ok"), ("1", "kolm itself could not work: no memory, standard output closed"), ("2", "usage"), ("3", "nothing available"), ("4", "a gate was missed"), ("5", "a backend failed"), ("6", "bad data"),
         ("7", "verification failed"), ("130", "interrupted")]


def verb_page(verb, version):
    name = "kolm-" + "-".join(verb.words)
    first = verb.summary.split("\n")[0]
    out = ['.TH %s 1 "" "kolm %s" "User Commands"' % (name.upper(), version), ".SH NAME", "%s \\- %s" % (roff(name), roff(first.rstrip("."))), ".SH SYNOPSIS", ".B " + roff(verb.usage)]
    out += [".SH DESCRIPTION", roff(verb.summary), ".SH OPTIONS"]
    for left, text in verb.options:
        out += [".TP", ".B " + roff(left), roff(text)]
    if verb.notes.strip():
        out += [".SH NOTES", ".nf", roff(verb.notes.strip()), ".fi"]
    return name, "\n".join(out + [".SH SEE ALSO", ".BR kolm (1)", ""])


def main_page(verbs, groups, version):
    out = ['.TH KOLM 1 "" "kolm %s" "User Commands"' % version, ".SH NAME", "kolm \\- decide where a model is trained or run, run it there, prove what happened", ".SH SYNOPSIS", ".B kolm", "COMMAND [options]", ".SH COMMANDS"]
    for group, members in groups.items():
        for name, text in members:
            if group + (name,) in verbs:
                out += [".TP", ".BR kolm\\-%s (1)" % roff("-".join(group + (name,))), roff(text)]
    out += [".SH ENVIRONMENT"]
    for name, text in (("KOLM_HOME", "where configuration, keys, cache and receipts live; ~/.kolm otherwise"), ("KOLM_BACKEND", "the backend to use, as kolm compute use would set it"),
                       ("KOLM_BACKEND_PATH", "directories with backends, absolute, set apart by colons, searched first"), ("NO_COLOR", "no colours when set"),
                       ("KOLM_*_TOKEN, KOLM_REMOTE_HOST", "credentials and targets of backends; kolm compute info NAME names them")):
        out += [".TP", ".B " + roff(name), roff(text)]
    out += [".SH EXIT STATUS"]
    for code, text in EXITS:
        out += [".TP", ".B " + code, text]
    return "kolm", "\n".join(out + [""])


def bash(verbs, groups):
    out = ["# bash completion of kolm; generated from its help.", "_kolm() {", '    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" verb="${COMP_WORDS[1]}" words="" files=""',
           "    case \"$verb\" in"]
    for group in groups:
        if group:
            out.append("    %s) [ \"$COMP_CWORD\" -gt 2 ] && verb=\"%s ${COMP_WORDS[2]}\" ;;" % (group[0], group[0]))
    out += ["    esac", '    if [ "$COMP_CWORD" -eq 1 ]; then', "        words=\"%s --help --version\"" % " ".join(n for n, _ in groups[()]), "    else case \"$verb\" in"]
    for group, members in groups.items():
        if group:
            out.append("        %s) words=\"%s\" ;;" % (group[0], " ".join(n for n, _ in members)))
    for words, verb in verbs.items():
        out.append("        \"%s\") words=\"%s\"; files=\"%s\" ;;" % (" ".join(words), " ".join(verb.names()), " ".join(n for n in verb.names() if verb.takes_file(n))))
    out += ["    esac; fi", '    case " $files " in *" $prev "*) COMPREPLY=($(compgen -f -- "$cur")); return ;; esac', '    COMPREPLY=($(compgen -W "$words" -- "$cur"))',
            '    [ ${#COMPREPLY[@]} -eq 0 ] && COMPREPLY=($(compgen -f -- "$cur"))', "}", "complete -o filenames -F _kolm kolm", ""]
    return "\n".join(out)


def zsh(verbs, groups):
    def quote(text):
        return text.replace("'", "'\\''").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    out = ["#compdef kolm", "# Generated from kolm's help.", 'local verb="$words[2]"']
    for group in groups:
        if group:
            out.append('[[ "$verb" == %s && $CURRENT -gt 3 ]] && verb="%s $words[3]"' % (group[0], group[0]))
    out += ["local -a choices", "if (( CURRENT == 2 )); then", "  choices=(%s)" % " ".join("'%s:%s'" % (n, quote(t)) for n, t in groups[()]), "  _describe command choices; return", "fi", 'case "$verb" in']
    for group, members in groups.items():
        if group:
            out.append("  %s) choices=(%s); _describe command choices ;;" % (group[0], " ".join("'%s:%s'" % (n, quote(t)) for n, t in members)))
    for words, verb in verbs.items():
        specs = []
        for left, text in verb.options:
            for name in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", left):
                value = ":value:_files" if re.search(r"\b(FILE|DIR|PATH)\b", left) else (":value: " if re.search(r"[ =][A-Z]", left) else "")
                specs.append("'%s[%s]%s'" % (name, quote(text), value))
        out.append("  '%s') _arguments %s '*:file:_files' ;;" % (" ".join(words), " ".join(specs)))
    return "\n".join(out + ["esac", ""])


def fish(verbs, groups):
    def quote(text):
        return text.replace("\\", "\\\\").replace("'", "\\'")
    out = ["# fish completion of kolm; generated from its help."]
    for name, text in groups[()]:
        out.append("complete -c kolm -n __fish_use_subcommand -f -a %s -d '%s'" % (name, quote(text)))
    for group, members in groups.items():
        if group:
            for name, text in members:
                out.append("complete -c kolm -n '__fish_seen_subcommand_from %s' -f -a %s -d '%s'" % (group[0], name, quote(text)))
    for words, verb in verbs.items():
        seen = " ; and ".join("__fish_seen_subcommand_from %s" % w for w in words)
        for left, text in verb.options:
            names = re.findall(r"(?<![\w-])--?[a-z][a-z-]*", left)
            flags = " ".join("-l %s" % n[2:] if n.startswith("--") else "-s %s" % n[1:] for n in names)
            value = " -r" if re.search(r"[ =][A-Z]", left) else ""
            out.append("complete -c kolm -n '%s' %s%s -d '%s'" % (seen, flags, value, quote(text)))
    return "\n".join(out + [""])


def main():
    kolm, out, version = sys.argv[1:4]
    verbs, groups = collect(kolm)
    pages = [main_page(verbs, groups, version)] + [verb_page(v, version) for v in verbs.values()]
    os.makedirs(out, exist_ok=True)
    for name, text in pages:
        with open(os.path.join(out, name + ".1"), "w", encoding="utf-8") as page:
            page.write(text)
    for name, text in (("kolm.bash", bash(verbs, groups)), ("_kolm", zsh(verbs, groups)), ("kolm.fish", fish(verbs, groups))):
        with open(os.path.join(out, name), "w", encoding="utf-8") as script:
            script.write(text)
    print("\n".join(name for name, _ in pages))
    with open(os.path.join(out, "generated.txt"), "w", encoding="utf-8") as listing:
        listing.write("\n".join(name for name, _ in pages) + "\n")


if __name__ == "__main__":
    main()
