package main

import (
	"os"
	"path/filepath"
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
			setup(env)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"tidy":   tidy,
			"status": status,
			"node":   nodeCommand,
		},
	}
}
