// Command licences lists the licences of all modules that the program is made of, and of
// those that its tests need, and fails if one is unknown, or asks more of who passes the
// program on than to pass on a text.
//
//	go run ./.ci/licences
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
)

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

// module is one of those that go list tells of.
type module struct {
	path, version string
	use           string   // "shipped", or "tests"
	texts         []string // files that a licence may stand in
}

func run(out io.Writer) error {
	modules := map[string]*module{}
	for _, of := range []struct {
		use  string
		args []string
	}{{"shipped", []string{"./cmd/modelbucket"}}, {"tests", []string{"-test", "-tags=peers", "./..."}}} {
		if err := collect(modules, of.use, of.args); err != nil {
			return err
		}
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "MODULE\tVERSION\tUSE\tLICENCES")
	var refused []string
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		m := modules[path]
		found, err := m.licences()
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", m.path, m.version, m.use, strings.Join(found, ", "))
		if len(found) == 0 || slices.ContainsFunc(found, func(name string) bool { return !allowed(name, m.use) }) {
			refused = append(refused, m.path)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(refused) > 0 {
		return fmt.Errorf("with a licence that is unknown, or none of those allowed: %s", strings.Join(refused, ", "))
	}
	fmt.Fprintf(out, "licences.modules: %d, all allowed\n", len(modules))
	return nil
}

// collect adds the modules of packages, and of all that they import.
func collect(modules map[string]*module, use string, args []string) error {
	c := exec.Command("go", append([]string{"list", "-deps", "-json=Dir,Module"}, args...)...)
	c.Stderr = os.Stderr
	text, err := c.Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		var p struct {
			Dir    string
			Module *struct {
				Path, Version, Dir string
				Main               bool
			}
		}
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if p.Module == nil || p.Module.Main { // Go's own, which is BSD-3-Clause, and ours
			continue
		}
		m := modules[p.Module.Path]
		if m == nil {
			m = &module{path: p.Module.Path, version: p.Module.Version, use: use}
			modules[m.path] = m
		}
		if err := m.lookFrom(p.Dir, p.Module.Dir); err != nil {
			return err
		}
	}
}

var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]es?|copying|unlicense)([.-].*)?$`)

// lookFrom takes up the files from a package's folder up to its module's: what was taken
// over from others may have a licence of its own there.
func (m *module) lookFrom(dir, top string) error {
	for ; ; dir = filepath.Dir(dir) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if !e.IsDir() && filepath.Ext(path) != ".go" && licenceFile.MatchString(e.Name()) && !slices.Contains(m.texts, path) {
				m.texts = append(m.texts, path)
			}
		}
		if dir == top || len(dir) < len(top) {
			return nil
		}
	}
}

// licences are the names of those that stand in a module's files; "unknown" is a file
// that has none.
func (m *module) licences() ([]string, error) {
	var all []string
	for _, path := range m.texts {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		found := classify(string(text))
		if len(found) == 0 {
			found = []string{"unknown: " + filepath.Base(path)}
		}
		all = append(all, found...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// permissive licences ask for no more than that their texts go along.
var permissive = map[string]bool{"Apache-2.0": true, "MIT": true, "BSD-2-Clause": true, "BSD-3-Clause": true, "ISC": true, "Unlicense": true, "CC0-1.0": true}

// allowed tells whether a module may be used. Tests may need what the Mozilla Public
// License is for: it asks that changes of its own files be passed on, and we pass on none
// of them.
func allowed(name, use string) bool { return permissive[name] || name == mpl && use == "tests" }

const mpl = "MPL-2.0"

// marks are sentences by which a licence is known: all of them have to be there.
var marks = []struct {
	name string
	all  []string
}{
	{"AGPL", []string{"gnu affero general public license"}},
	{"LGPL", []string{"gnu lesser general public license"}},
	{"LGPL", []string{"gnu library general public license"}},
	{"GPL", []string{"gnu general public license"}},
	{mpl, []string{"mozilla public license", "version 2 0"}},
	{"MPL", []string{"mozilla public license version 1"}},
	{"EPL", []string{"eclipse public license"}},
	{"CDDL", []string{"common development and distribution license"}},
	{"EUPL", []string{"european union public licence"}},
	{"SSPL", []string{"server side public license"}},
	{"BUSL", []string{"business source license"}},
	{"Commons Clause", []string{"commons clause"}},
	{"Elastic", []string{"elastic license"}},
	{"CC", []string{"creative commons attribution"}},
	{"Apache-2.0", []string{"apache license version 2 0", "terms and conditions for use reproduction and distribution"}},
	{"Apache-2.0", []string{"licensed under the apache license version 2 0"}},
	{"MIT", []string{"permission is hereby granted free of charge to any person obtaining a copy", "to deal in the software without restriction", "the software is provided as is"}},
	{"ISC", []string{"permission to use copy modify and or distribute this software for any purpose with or without fee is hereby granted"}},
	{"ISC", []string{"permission to use copy modify and distribute this software for any purpose with or without fee is hereby granted"}},
	{"BSD-3-Clause", []string{"redistribution and use in source and binary forms with or without modification are permitted", "neither the name", "this software is provided by"}},
	{"Unlicense", []string{"this is free and unencumbered software released into the public domain"}},
	{"CC0-1.0", []string{"cc0 1 0 universal"}},
}

var notAWord = regexp.MustCompile(`[^a-z0-9]+`)

// classify names the licences that a text holds.
func classify(text string) (found []string) {
	words := notAWord.ReplaceAllString(strings.ToLower(text), " ")
	has := func(mark string) bool { return strings.Contains(words, mark) }
	for _, l := range marks {
		if !slices.ContainsFunc(l.all, func(mark string) bool { return !has(mark) }) {
			found = append(found, l.name)
		}
	}
	if has("redistribution and use in source and binary forms with or without modification are permitted") && !slices.Contains(found, "BSD-3-Clause") {
		found = append(found, "BSD-2-Clause")
	}
	if slices.Contains(found, mpl) { // its text speaks of these, as licences of others
		found = slices.DeleteFunc(found, func(name string) bool { return name == "GPL" || name == "LGPL" || name == "AGPL" })
	}
	slices.Sort(found)
	return slices.Compact(found)
}
