package joblib_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"

	"modelbucket/detector/joblib"
)

// Many opcodes that each make something: that takes 64 MiB beside the file at most.
func TestFloods(t *testing.T) {
	many := func(n int, part string) string { return strings.Repeat(part, n) }
	numbered := func(n int, form string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, form, i)
		}
		return b.String()
	}
	const short = "\x8c\x04"
	for name, pickle := range map[string]string{
		"values on the stack":   many(49_000, "N"),
		"values dropped":        many(800_000, "N0"),
		"items one by one":      "]" + many(800_000, "Na"),
		"items in batches":      "]" + many(40, "("+many(40_000, "N")+"e"),
		"lists in a list":       "]" + many(600_000, "]a"),
		"lists in one another":  many(30_000, "]") + many(29_999, "a"),
		"tuples":                "]" + many(600_000, "N\x85a"),
		"tuples in one another": "N" + many(400_000, "\x85"),
		"long tuples":           "](" + many(100, "("+many(40_000, "N")+"t0") + "e",
		"dicts":                 "]" + many(600_000, "}a"),
		"entries":               "}" + numbered(300_000, short+"%04xNs"),
		"entries of 6 letters":  "}" + numbered(300_000, "\x8c\x06%06xNs"),
		"entries in batches":    "}" + many(30, "("+many(20_000, "K\x01N")+"u"),
		"one key again":         "}" + many(400_000, "\x8c\x01aNs"),
		"memo":                  "N" + many(800_000, "\x94"),
		"memo by number":        "N" + many(500_000, "r\xff\xff\x00\x00"),
		"texts":                 "]" + many(400_000, "\x8c\x04abcda"),
		"bytes":                 "]" + many(400_000, "C\x04abcda"),
		"integers":              "]" + many(250_000, "\x8a\x09abcdefghia"),
		"large integers":        "]" + many(20_000, "\x8a\xff"+many(255, "\x7f")+"a"),
		"decimals":              "]" + many(150_000, "L1234567890123456789012345678901234567890L\na"),
		"floats":                "]" + many(400_000, "GABCDEFGHa"),
		"text by escapes":       "]" + many(400_000, "V\\u00e9\\u00e9\na"),
		"instances":             "]" + many(100_000, forest+")\x81a"),
		"types":                 "]" + many(100_000, "cnumpy\ndtype\n\x8c\x02f8\x89\x88\x87Ra"),
		"refused names":         "]" + many(100_000, "\x8c\x01a\x8c\x01b0a"),
		"marks":                 many(100, many(9_000, "(")+many(9_000, "1")),
	} {
		t.Run(name, func(t *testing.T) {
			b := []byte(proto + pickle + ".")
			var err error
			got := peak(func() { _, err = joblib.Read(bytes.NewReader(b), 1<<28) })
			if err != nil && !errors.Is(err, joblib.ErrMalformed) && !errors.Is(err, joblib.ErrUnsupported) && !errors.Is(err, joblib.ErrTooLarge) {
				t.Error(err)
			}
			t.Logf("%d MiB for a file of %.1f MiB: %v", got>>20, float64(len(b))/(1<<20), err)
			if got > 64<<20+2*len(b) {
				t.Errorf("%d bytes in use for a file of %d", got, len(b))
			}
		})
	}
}

// peak is how much more memory was in use while f ran than before, as far as sampling
// sees it: with the garbage that is not collected yet.
func peak(f func()) int {
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	runtime.GC()
	inUse := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	read := func() int {
		metrics.Read(inUse)
		return int(inUse[0].Value.Uint64())
	}
	before, most := read(), 0
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			most = max(most, read())
			select {
			case <-stop:
				return
			default:
				runtime.Gosched()
			}
		}
	}()
	f()
	close(stop)
	<-stopped
	return most - before
}
