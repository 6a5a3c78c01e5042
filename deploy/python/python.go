// Package python holds the Python client, one file that people copy, so that a node can
// hand it out at /modelbucket.py.
package python

import _ "embed"

//go:embed modelbucket.py
var file []byte

// File is modelbucket.py as it stands here.
func File() []byte { return file }
