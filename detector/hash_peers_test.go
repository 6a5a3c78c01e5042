//go:build peers

package detector_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"modelbucket/detector"
)

// TestHashLikePython digests random events with python3 too.
func TestHashLikePython(t *testing.T) {
	const bodies = 3000
	seed := rand.Uint64()
	t.Logf("seed %d, %d bodies", seed, bodies)
	g := &jsonGenerator{rand.New(rand.NewPCG(seed, 0))}
	var input bytes.Buffer
	var texts []string
	for range bodies {
		var events []string
		for range g.IntN(4) + 1 {
			events = append(events, g.object(0))
		}
		texts = append(texts, "["+strings.Join(events, ",")+"]")
		input.WriteString(texts[len(texts)-1] + "\n")
	}
	python := exec.CommandContext(t.Context(), "python3", "testdata/make_hashes.py", "-")
	python.Stdin = &input
	output, err := python.Output()
	if err != nil {
		t.Fatalf("python3: %v", err)
	}
	var want []struct{ MD5, SHA256 string }
	if err := json.Unmarshal(output, &want); err != nil || len(want) != bodies {
		t.Fatalf("python3 answered %d digests: %v", len(want), err)
	}
	for i, text := range texts {
		got, err := collect(t, text, detector.JSON)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got.MD5 != want[i].MD5 || got.SHA256 != want[i].SHA256 {
			t.Errorf("%s: digest differs from Python's", text)
		}
	}
}

type jsonGenerator struct{ *rand.Rand }

func (g *jsonGenerator) object(depth int) string {
	var members []string
	names := map[string]bool{}
	for range g.IntN(6) {
		name := g.text()
		if !names[name] {
			names[name] = true
			members = append(members, g.quote(name)+":"+g.value(depth+1))
		}
	}
	return "{" + strings.Join(members, ", ") + "}"
}

func (g *jsonGenerator) value(depth int) string {
	switch n := g.IntN(12); {
	case n == 0 && depth < 4:
		return g.object(depth)
	case n == 1 && depth < 4:
		var elements []string
		for range g.IntN(4) {
			elements = append(elements, g.value(depth+1))
		}
		return "[" + strings.Join(elements, " ,") + "]"
	case n == 2:
		return []string{"null", "true", "false", "-0", "0", "-0.0", "1E5", "0e-9", "1e309"}[g.IntN(9)]
	case n < 5:
		return g.quote(g.text())
	case n == 5:
		digits := strconv.FormatUint(g.Uint64(), 10)
		return strings.Repeat(digits, 1+g.IntN(3))
	case n == 6:
		return strconv.FormatInt(int64(g.Uint64()), 10)
	case n == 7: // as many digits as one likes
		return fmt.Sprintf("%d.%d%d", g.IntN(1000), g.Uint64(), g.Uint64())
	case n == 8:
		return fmt.Sprintf("%d.%de%d", g.IntN(10), g.IntN(1000), g.IntN(50)-25)
	}
	x := math.Float64frombits(g.Uint64())
	if math.IsNaN(x) || math.IsInf(x, 0) {
		x = 1
	}
	return strconv.FormatFloat(x, "efg"[g.IntN(3)], -1, 64)
}

func (g *jsonGenerator) text() string {
	var text []rune
	for range g.IntN(6) {
		switch r := rune(g.IntN(0x11000)); g.IntN(4) {
		case 0:
			text = append(text, r&0x7f)
		case 1:
			text = append(text, 'a'+r%4)
		case 2:
			text = append(text, r<<4&0x1fffff%0x110000)
		default:
			text = append(text, r&0x7ff)
		}
	}
	return strings.ToValidUTF8(string(text), "?")
}

// quote writes a string now with few escapes, now with all.
func (g *jsonGenerator) quote(s string) string {
	if g.IntN(2) == 0 {
		text, err := json.Marshal(s)
		if err != nil {
			panic(err)
		}
		return string(text)
	}
	var quoted strings.Builder
	for _, r := range s {
		switch {
		case r >= 0x10000:
			r -= 0x10000
			fmt.Fprintf(&quoted, `\u%04X\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&quoted, `\u%04x`, r)
		}
	}
	return `"` + quoted.String() + `"`
}
