package joblib_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"modelbucket/detector/joblib"
)

// Many opcodes that each make something: all within a second and 64 MiB beside the file.
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
		"values dropped":        many(2_400_000, "N0"),
		"items one by one":      "]" + many(2_400_000, "Na"),
		"items in batches":      "]" + many(100, "("+many(40_000, "N")+"e"),
		"lists in a list":       "]" + many(600_000, "]a"),
		"lists in one another":  many(30_000, "]") + many(29_999, "a"),
		"tuples":                "]" + many(600_000, "N\x85a"),
		"tuples in one another": "N" + many(900_000, "\x85"),
		"long tuples":           "](" + many(100, "("+many(40_000, "N")+"t0") + "e",
		"dicts":                 "]" + many(600_000, "}a"),
		"entries":               "}" + numbered(600_000, short+"%04xNs"),
		"entries of 6 letters":  "}" + numbered(600_000, "\x8c\x06%06xNs"),
		"entries in batches":    "}" + many(30, "("+many(20_000, "K\x01N")+"u"),
		"one key again":         "}" + many(900_000, "\x8c\x01aNs"),
		"memo":                  "N" + many(2_400_000, "\x94"),
		"memo by number":        "N" + many(500_000, "r\xff\xff\x00\x00"),
		"texts":                 "]" + many(900_000, "\x8c\x04abcda"),
		"bytes":                 "]" + many(900_000, "C\x04abcda"),
		"integers":              "]" + many(900_000, "\x8a\x09abcdefghia"),
		"large integers":        "]" + many(100_000, "\x8a\xff"+many(255, "\x7f")+"a"),
		"decimals":              "]" + many(900_000, "L1234567890123456789012345678901234567890L\na"),
		"floats":                "]" + many(900_000, "GABCDEFGHa"),
		"text by escapes":       "]" + many(900_000, "V\\u00e9\\u00e9\na"),
		"instances":             "]" + many(100_000, forest+")\x81a"),
		"types":                 "]" + many(100_000, "cnumpy\ndtype\n\x8c\x02f8\x89\x88\x87Ra"),
		"refused names":         "]" + many(100_000, "\x8c\x01a\x8c\x01b0a"),
		"marks":                 many(100, many(9_000, "(")+many(9_000, "1")),
	} {
		t.Run(name, func(t *testing.T) {
			b := []byte(proto + pickle + ".")
			var err error
			began := time.Now()
			got := allocated(func() { _, err = joblib.Read(bytes.NewReader(b), 1<<28) })
			if err != nil && !errors.Is(err, joblib.ErrMalformed) && !errors.Is(err, joblib.ErrUnsupported) && !errors.Is(err, joblib.ErrTooLarge) {
				t.Error(err)
			}
			t.Logf("%d MiB for a file of %.1f MiB, %v: %v", got>>20, float64(len(b))/(1<<20), time.Since(began).Round(time.Millisecond), err)
		})
	}
}
