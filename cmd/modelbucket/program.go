package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/alecthomas/kong"
	"golang.org/x/term"
)

// program is one run: where it reads and writes, what was asked for, and what must be
// closed at its end.
type program struct {
	options
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) string
	parser         *kong.Kong

	args []string // as they were given

	closers     []func() error
	interrupted atomic.Pointer[string]
}

// ifInterrupted says what the user should know if the run is interrupted from now on.
func (p *program) ifInterrupted(text string) { p.interrupted.Store(&text) }

// meaning is what an interruption means now.
func (p *program) meaning() string {
	if text := p.interrupted.Load(); text != nil {
		return *text
	}
	return ""
}

// close undoes what was opened, last first.
func (p *program) close() error {
	var errs []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i]())
	}
	p.closers = nil
	return errors.Join(errs...)
}

// terminal tells whether a stream is a terminal, and how many columns it has.
func terminal(stream any) (columns int, ok bool) {
	file, isFile := stream.(*os.File)
	if !isFile || !term.IsTerminal(int(file.Fd())) {
		return 0, false
	}
	columns, _, err := term.GetSize(int(file.Fd()))
	if err != nil || columns < 20 {
		columns = 80
	}
	return columns, true
}

// say tells the user something that is no result.
func (p *program) say(format string, args ...any) {
	if !p.Quiet {
		fmt.Fprintf(p.stderr, format+"\n", args...)
	}
}

// printJSON prints a document as the result.
func (p *program) printJSON(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	_, err = fmt.Fprintln(p.stdout, string(data))
	return err
}

// confirm asks before something is lost. Where nobody can be asked, --yes must have
// been given.
func (p *program) confirm(yes bool, format string, args ...any) error {
	if yes {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	if _, ok := terminal(p.stdin); !ok {
		return usage("add --yes if that is what you want", "%s: not done without --yes", what)
	}
	fmt.Fprintf(p.stderr, "%s? [y/N] ", what)
	answer, err := bufio.NewReader(p.stdin).ReadString('\n')
	if err != nil && err != io.EOF {
		return fmt.Errorf("read answer: %w", err)
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return &mistake{text: "not done", exit: exitFailed}
	}
	return nil
}

// plain is text from outside as a terminal may get it: nothing in it can move a cursor.
func plain(s string) string {
	if !strings.ContainsFunc(s, isControl) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

func isControl(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.In(r, unicode.Bidi_Control)
}

// size is a number of bytes: exact for programs, short for people.
func (p *program) size(n int64) string {
	if _, ok := terminal(p.stdout); !ok {
		return fmt.Sprint(n)
	}
	return shortSize(n)
}

// shortSize is a number of bytes in three digits.
func shortSize(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB"} {
		if value /= 1024; value < 1024 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}

// when is a time: RFC 3339 in UTC for programs, how long ago for people.
func (p *program) when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	if _, ok := terminal(p.stdout); !ok {
		return t.UTC().Format(time.RFC3339)
	}
	return ago(time.Since(t))
}

func ago(d time.Duration) string {
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if n := int(d / unit.length); n > 1 {
			return fmt.Sprintf("%d %ss ago", n, unit.name)
		} else if n == 1 {
			return "1 " + unit.name + " ago"
		}
	}
	return "just now"
}
