package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

type versionCommand struct{}

// Run prints what this program was built from.
func (versionCommand) Run(p *program) error {
	v := programVersion()
	switch {
	case p.JSON:
		return p.printJSON(map[string]string{"version": v, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
	case p.Quiet:
		_, err := fmt.Fprintln(p.stdout, v)
		return err
	}
	_, err := fmt.Fprintf(p.stdout, "modelbucket %s %s %s/%s\n", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// programVersion is the module's version, or the commit that it was built from.
func programVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+changes"
		}
	}
	if revision != "" {
		return revision + modified
	}
	if v := info.Main.Version; v != "" {
		return v
	}
	return "unknown"
}
