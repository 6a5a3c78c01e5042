package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The folders are the architecture. Each part may import only what stands to its right:
//
//	cmd → web → detector → registry → blob
var order = []string{"cmd", "web", "detector", "registry", "blob"}

// foreign modules, each with the one part that may import it and the reason.
var foreign = map[string]struct{ part, reason string }{
	"github.com/alecthomas/kong":          {"cmd", "flags end where the command line ends"},
	"github.com/lmittmann/tint":           {"cmd", "who starts the program chooses its log"},
	"golang.org/x/term":                   {"cmd", "only the command line has a terminal"},
	"github.com/labstack/echo/v4":         {"web", "handlers know HTTP, nothing below does"},
	"github.com/prometheus/client_golang": {"web", "the others report through functions"},
	"github.com/coreos/go-oidc/v3":        {"web", "tokens come with requests"},
	"github.com/go-jose/go-jose/v4":       {"web", "tokens come with requests"},
	"github.com/minio/minio-go/v7":        {"blob", "one driver knows S3"},
	"net/http/httptest":                   {"", "a test's tool"},
	"testing":                             {"", "a test's tool; a package that only tests import may use it"},
}

// goPackage is what go list tells of a package.
type goPackage struct {
	ImportPath, Dir, Name, Doc       string
	GoFiles                          []string
	Imports, TestImports, XTestFiles []string
}

// part is the folder of the house that a package stands in.
func (p goPackage) part() string {
	part, _, _ := strings.Cut(strings.TrimPrefix(p.ImportPath, "modelbucket/"), "/")
	return part
}

// onlyTests tells whether a package is there for tests alone.
func (p goPackage) onlyTests() bool { return strings.Contains(p.ImportPath+"/", "test/") }

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Name,Doc,GoFiles,Imports", "./...")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImportsPointDownwards(t *testing.T) {
	for _, p := range packages(t) {
		here := slices.Index(order, p.part())
		if here < 0 {
			if p.ImportPath != "modelbucket/deploy/python" {
				t.Errorf("%s stands in no part of the house: %v", p.ImportPath, order)
			}
			continue
		}
		for _, imported := range p.Imports {
			rest, ours := strings.CutPrefix(imported, "modelbucket/")
			if !ours {
				continue
			}
			part, _, _ := strings.Cut(rest, "/")
			if there := slices.Index(order, part); there >= 0 && there < here {
				t.Errorf("%s imports %s: %s may not know of %s", p.ImportPath, imported, order[here], order[there])
			}
			if strings.HasSuffix(imported, "test") && !p.onlyTests() {
				t.Errorf("%s imports %s, which is for tests alone", p.ImportPath, imported)
			}
		}
	}
}

func TestForeignModulesStayInTheirPart(t *testing.T) {
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			for module, rule := range foreign {
				if imported != module && !strings.HasPrefix(imported, module+"/") || p.part() == rule.part || p.onlyTests() {
					continue
				}
				t.Errorf("%s imports %s: %s", p.ImportPath, imported, rule.reason)
			}
		}
	}
}

func TestEveryPackageIsDocumented(t *testing.T) {
	for _, p := range packages(t) {
		wants := []string{"Package " + p.Name + " "}
		if p.Name == "main" {
			name := filepath.Base(p.ImportPath)
			wants = []string{"Command " + name + " ", strings.ToUpper(name[:1]) + name[1:] + " "}
		}
		if !slices.ContainsFunc(wants, func(want string) bool { return strings.HasPrefix(p.Doc, want) }) {
			t.Errorf("%s: its comment begins with %q, and with none of %q", p.ImportPath, p.Doc, wants)
		}
	}
}

// goFiles calls f for each Go file of the project.
func goFiles(t *testing.T, f func(path string, content []byte)) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		f(filepath.ToSlash(relative), content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesAreShort(t *testing.T) {
	const most = 500
	goFiles(t, func(path string, content []byte) {
		if n := bytes.Count(content, []byte("\n")); n > most {
			t.Errorf("%s has %d lines; %d is the most: is it still one noun?", path, n, most)
		}
	})
}

// What must be known in one place only, and where.
func TestKnowledgeHasOnePlace(t *testing.T) {
	rules := []struct {
		text, reason string
		allowed      []string // prefixes of paths
	}{
		{"http.Status", "only web knows HTTP's status codes", []string{"web/", "blob/s3", "blob/blobtest/"}},
		{`"_versions`, "only layout.go builds keys", []string{"registry/layout.go"}},
		{`"_aliases`, "only layout.go builds keys", []string{"registry/layout.go"}},
		{"ErrorResponse", "only blob reads the codes of S3", []string{"blob/"}},
		{"TODO", "what is to be done is done, or is no comment", nil},
		{"FIXME", "what is to be mended is mended", nil},
	}
	goFiles(t, func(path string, content []byte) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		for _, rule := range rules {
			allowed := slices.ContainsFunc(rule.allowed, func(prefix string) bool { return strings.HasPrefix(path, prefix) })
			if !allowed && bytes.Contains(content, []byte(rule.text)) {
				t.Errorf("%s contains %s: %s", path, rule.text, rule.reason)
			}
		}
	})
}

// No package has state of its own, or does something because it was imported.
func TestNoStateInPackages(t *testing.T) {
	goFiles(t, func(path string, content []byte) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, content, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range file.Decls {
			if f, ok := declaration.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function", path)
			}
		}
	})
}

func TestMainIsShort(t *testing.T) {
	content, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := bytes.Cut(content, []byte("func main() {\n"))
	if n := bytes.Count(body, []byte("\n")); n < 2 || n > 4 {
		t.Errorf("func main has %d lines", n+1)
	}
}
