package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// testNode is the real program, serving.
type testNode struct {
	greeting
	process *exec.Cmd
	log     string     // the file that it logs to
	said    chan error // of its greeting: it is read, or why not
}

// startNode starts a node on a free port and returns when it is ready.
func startNode(folder, name string, env []string, flags ...string) (*testNode, error) {
	n, err := launchNode(folder, name, env, flags...)
	if err != nil {
		return nil, err
	}
	if err := n.ready(); err != nil {
		n.kill()
		return nil, err
	}
	return n, nil
}

// rateLimits are what bounds the rates of a node's tenants.
var rateLimits = []string{"requests_per_second", "events_per_second", "body_bytes_per_second"}

// launchNode starts a node and does not wait for it. It takes all that it is sent, unless
// a flag says else.
func launchNode(folder, name string, env []string, flags ...string) (*testNode, error) {
	n := &testNode{log: filepath.Join(folder, name+".log"), said: make(chan error, 1)}
	for _, name := range rateLimits {
		flags = append([]string{"--limit=" + name + "=unlimited"}, flags...)
	}
	n.process = exec.Command("bash", append([]string{"-c", `exec modelbucket serve --json --listen=127.0.0.1:0 "$@"`, "serve"}, flags...)...)
	n.process.Dir, n.process.Env = folder, env
	log, err := os.Create(n.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the node has its own
	n.process.Stderr = log
	stdout, err := n.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := n.process.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the node's first line, or with the node
		line, err := bufio.NewReader(stdout).ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &n.greeting)
		}
		n.said <- err
	}()
	return n, nil
}

// ready waits for the node's greeting.
func (n *testNode) ready() error {
	var err error
	select {
	case err = <-n.said:
	case <-time.After(2 * time.Minute):
		err = fmt.Errorf("it says nothing")
	}
	if err != nil {
		text, readErr := os.ReadFile(n.log)
		return fmt.Errorf("node %s: %w; its log (%v):\n%s", filepath.Base(n.log), err, readErr, text)
	}
	return nil
}

// stop has the node end in order.
func (n *testNode) stop() error {
	if err := n.process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return n.process.Wait()
}

func (n *testNode) kill() {
	n.process.Process.Kill()
	n.process.Wait()
}

// mustStart starts a node that ends with its test.
func mustStart(t *testing.T, folder string, env []string, flags ...string) *testNode {
	t.Helper()
	n, err := startNode(folder, "node", env, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.stop(); err != nil {
			t.Errorf("the node ended with %v; see %s", err, n.log)
		}
	})
	return n
}

// running is the key of the nodes that a script has started and not stopped.
type running struct{}

// nodeCommand starts a node and tells the verbs behind it where it is; or has it end.
//
//	node start NAME [FLAG…]
//	node use NAME
//	node stop NAME
func nodeCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: node start NAME [FLAG…] | node use NAME | node stop NAME")
	}
	name, nodes := args[1], ts.Value(running{}).(map[string]*testNode)
	switch args[0] {
	case "start":
		env := append(os.Environ(), "HOME="+ts.Getenv("HOME"))
		for _, variable := range []string{"MODELBUCKET_STORE", "MODELBUCKET_ROOT_TOKEN"} {
			env = append(env, variable+"="+ts.Getenv(variable))
		}
		n, err := startNode(ts.MkAbs("."), name, env, args[2:]...)
		ts.Check(err)
		nodes[name] = n
		ts.Defer(func() {
			if nodes[name] == n {
				n.kill()
			}
		})
		ts.Setenv("MODELBUCKET_SERVER", n.URL)
		if n.RootToken != "" {
			ts.Setenv("MODELBUCKET_TOKEN", n.RootToken)
		}
	case "use":
		ts.Setenv("MODELBUCKET_SERVER", nodes[name].URL)
	case "stop":
		n := nodes[name]
		delete(nodes, name)
		if err := n.stop(); err != nil {
			ts.Fatalf("node %s ended with %v; its log:\n%s", name, err, ts.ReadFile(n.log))
		}
	default:
		ts.Fatalf("node %s", args[0])
	}
}
