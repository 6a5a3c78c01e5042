//go:build !linux

package blobtest

import "os/exec"

// dieWithParent: only Linux can tie a child to its parent; elsewhere a server outlives
// a test process that was killed.
func dieWithParent(*exec.Cmd) {}
