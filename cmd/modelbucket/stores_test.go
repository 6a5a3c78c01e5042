package main

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"modelbucket/blob/blobtest"
)

// The main job, with two nodes, on the embedded store and on real S3 servers.
func TestMainJob(t *testing.T) {
	t.Run("dir", func(t *testing.T) { mainJob(t, "dir:"+filepath.Join(t.TempDir(), "data")) })
	t.Run("versitygw", func(t *testing.T) { mainJob(t, blobtest.StartVersityGW(t).NewBucket(t)) })
	t.Run("minio", func(t *testing.T) { mainJob(t, blobtest.StartMinIO(t).NewBucket(t)) })
}

func mainJob(t *testing.T, store string) {
	events := absolute(t, "demo/events.json")
	testscript.Run(t, scripts("testdata/stores", func(env *testscript.Env) {
		env.Setenv("MODELBUCKET_STORE", store)
		env.Setenv("EVENTS", events)
	}))
}

// scripts are the parameters that all scripts have in common.
func scripts(folder string, setup func(*testscript.Env)) testscript.Params {
	return testscript.Params{
		Dir:                 folder,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Values[running{}] = map[string]*testNode{}
			env.Setenv("HOME", env.WorkDir)
			detectors, err := filepath.Abs("../../detector")
			if err != nil {
				return err
			}
			env.Setenv("HOSTILE", filepath.Join(detectors, "joblib/testdata/hostile"))
			env.Setenv("STACKS", filepath.Join(detectors, "sklearn/testdata/stacks"))
			env.Setenv(raceOptions, quickExit)
			env.Values[damaged{}] = new(bool)
			setup(env)
			env.Defer(func() { checkStore(env) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"tidy":   tidy,
			"status": status,
			"node":   nodeCommand,
			"damage": func(ts *testscript.TestScript, _ bool, args []string) {
				*ts.Value(damaged{}).(*bool) = true
				ts.Check(damage(ts.MkAbs("modelbucket-data"), args[0]))
			},
		},
	}
}

// damaged is the key of whether a script did harm to its store.
type damaged struct{}

// damage writes a wrong byte into the one file of the store that has this name, or with
// "-NAME" removes it.
func damage(store, name string) error {
	name, remove := strings.CutPrefix(name, "-")
	done := 0
	err := filepath.WalkDir(store, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasPrefix(d.Name(), name) {
			return err
		}
		done++
		if remove {
			return os.Remove(file)
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		content[0] ^= 1
		return os.WriteFile(file, content, 0o666)
	})
	if err == nil && done != 1 {
		err = fmt.Errorf("%d files of the store are called %s", done, name)
	}
	return err
}

// checkStore looks at what a script leaves behind: unless it did harm on purpose, the
// whole bucket has to be in order.
func checkStore(env *testscript.Env) {
	store := cmp.Or(env.Getenv("MODELBUCKET_STORE"), "dir:"+filepath.Join(env.WorkDir, "modelbucket-data"))
	if path, isDir := strings.CutPrefix(store, "dir:"); isDir {
		if _, err := os.Stat(path); err != nil {
			return // the script made none
		}
	}
	if *env.Values[damaged{}].(*bool) {
		return
	}
	code, _, stderr := call(context.Background(), nil, nil, "--store", store, "check", "--digests")
	if code != exitDone {
		env.T().Fatal(fmt.Sprintf("after the script, check ends with %d: %s", code, stderr))
	}
}
