package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const mit = `Permission is hereby granted, free of charge, to any person obtaining a copy of this software … to deal
in the Software without restriction, … THE SOFTWARE IS PROVIDED "AS IS", …`

func TestClassify(t *testing.T) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	goLicence, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "LICENSE"))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		text string
		want []string
	}{
		{mit, []string{"MIT"}},
		{"// " + mit, []string{"MIT"}},
		{string(goLicence), []string{"BSD-3-Clause"}},
		{"Redistribution and use in source and binary\n   forms, with or without modification, are permitted provided", []string{"BSD-2-Clause"}},
		{"Apache License\n Version 2.0\nTERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION\n" + mit, []string{"Apache-2.0", "MIT"}},
		{"GNU AFFERO GENERAL PUBLIC LICENSE", []string{"AGPL"}},
		{"Mozilla Public License, version 2.0 … GNU General Public License, Version 2.0", []string{"MPL-2.0"}},
		{"Mozilla Public License Version 1.1", []string{"MPL"}},
		{mit + ` "Commons Clause" License Condition v1.0`, []string{"Commons Clause", "MIT"}},
		{"All rights reserved.", nil},
		{"", nil},
	} {
		if got := classify(row.text); !slices.Equal(got, row.want) {
			t.Errorf("%.40q is %v, want %v", row.text, got, row.want)
		}
	}
}

func TestAllowed(t *testing.T) {
	for _, name := range []string{"AGPL", "LGPL", "GPL", "MPL", "MPL-2.0", "Commons Clause", "unknown: LICENSE", ""} {
		if allowed(name, "shipped") || name != "MPL-2.0" && allowed(name, "tests") {
			t.Errorf("%s is let pass", name)
		}
	}
	if !allowed("MIT", "shipped") || !allowed("MPL-2.0", "tests") {
		t.Error("what is allowed is refused")
	}
}
