package blobtest

import (
	"os/exec"
	"syscall"
)

// dieWithParent sees to it that no server outlives a test process that was killed.
func dieWithParent(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
