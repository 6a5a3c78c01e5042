package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is the longer text.
func (completionCommand) Help() string {
	return `Completes verbs, flags and, as "modelbucket list --quiet" knows them within a second, names of models.

bash: source <(modelbucket completion bash)
zsh: source <(modelbucket completion zsh)
fish: modelbucket completion fish | source`
}

// Run prints the script for a shell.
func (c completionCommand) Run(p *program) error {
	write := map[string]func([]verb) string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[c.Shell]
	_, err := fmt.Fprint(p.stdout, write(verbs(p.parser.Model.Node)))
	return err
}

// verb is a command with the flags that it takes, as a shell needs to know them.
type verb struct {
	words []string // "alias", "set"
	help  string
	flags []string // "--label"
	takes bool     // has arguments
}

func (v verb) name() string { return strings.Join(v.words, " ") }

// verbs lists all commands below a node.
func verbs(n *kong.Node) []verb {
	var all []verb
	for _, leaf := range n.Leaves(true) {
		v := verb{words: strings.Fields(leaf.Path()), help: leaf.Help, takes: len(leaf.Positional) > 0}
		for _, group := range leaf.AllFlags(true) {
			for _, flag := range group {
				v.flags = append(v.flags, "--"+flag.Name)
			}
		}
		slices.Sort(v.flags)
		v.flags = slices.Compact(v.flags)
		all = append(all, v)
	}
	return all
}

// next lists what may follow the words given so far: the further words of verbs.
func next(all []verb, words ...string) []string {
	var found []string
	for _, v := range all {
		if len(v.words) > len(words) && slices.Equal(v.words[:len(words)], words) {
			found = append(found, v.words[len(words)])
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// heads are the first words that further words follow.
func heads(all []verb) []string {
	var found []string
	for _, v := range all {
		if len(v.words) > 1 {
			found = append(found, v.words[0])
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// listNames is how all scripts ask for names. A shell may not wait long for them.
const listNames = `MODELBUCKET_TIMEOUT=1s modelbucket list --quiet 2>/dev/null`

func bashCompletion(all []verb) string {
	var b strings.Builder
	b.WriteString(`# modelbucket completion for bash
_modelbucket() {
	local cur=${COMP_WORDS[COMP_CWORD]} words=() word known names=
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		[[ $word == -* ]] || words+=("$word")
	done
	case "${words[*]:0:2}" in
`)
	for _, head := range heads(all) {
		fmt.Fprintf(&b, "\t%q) known=%q ;;\n", head, strings.Join(next(all, head), " "))
	}
	for _, v := range all {
		pattern := fmt.Sprintf("%q", v.name())
		if len(v.words) == 1 {
			pattern += fmt.Sprintf("|%q*", v.name()+" ")
		}
		names := ""
		if v.takes {
			names = " names=1"
		}
		fmt.Fprintf(&b, "\t%s) known=%q%s ;;\n", pattern, strings.Join(v.flags, " "), names)
	}
	fmt.Fprintf(&b, "\t*) known=%q ;;\n", strings.Join(next(all), " "))
	b.WriteString(`	esac
	[[ -z $names || $cur == -* ]] || known+=" $(` + listNames + `)"
	COMPREPLY=($(compgen -W "$known" -- "$cur"))
	[[ -z $names || $cur == -* ]] || COMPREPLY+=($(compgen -f -- "$cur"))
}
complete -F _modelbucket modelbucket
`)
	return b.String()
}

func zshCompletion(all []verb) string {
	return "autoload -U +X bashcompinit && bashcompinit\n" + bashCompletion(all)
}

func fishCompletion(all []verb) string {
	var b strings.Builder
	b.WriteString("# modelbucket completion for fish\n")
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `\'`) + "'" }
	for _, word := range next(all) {
		help := ""
		for _, v := range all {
			if v.name() == word {
				help = " -d " + quote(v.help)
			}
		}
		fmt.Fprintf(&b, "complete -c modelbucket -n __fish_use_subcommand -f -a %s%s\n", word, help)
	}
	for _, head := range heads(all) {
		fmt.Fprintf(&b, "complete -c modelbucket -n '__fish_seen_subcommand_from %s' -f -a %s\n", head, quote(strings.Join(next(all, head), " ")))
	}
	for _, v := range all {
		condition := quote("__fish_seen_subcommand_from " + v.words[len(v.words)-1])
		for _, flag := range v.flags {
			fmt.Fprintf(&b, "complete -c modelbucket -n %s -l %s\n", condition, strings.TrimPrefix(flag, "--"))
		}
		if v.takes {
			fmt.Fprintf(&b, "complete -c modelbucket -n %s -a '(%s)'\n", condition, "env "+listNames)
		}
	}
	return b.String()
}
