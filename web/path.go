package web

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decodePath decodes a path as it was sent, segment by segment and each once, and
// refuses whatever could mean another path to somebody else: empty segments, "." and
// "..", slashes, backslashes and percent signs that were hidden by an escape, control
// bytes, and bytes that are no UTF-8. Nothing behind it decodes again.
func decodePath(escaped string) (string, error) {
	if escaped == "/" {
		return "/", nil
	}
	rest, ok := strings.CutPrefix(escaped, "/")
	if !ok {
		return "", badName("the path does not begin with /")
	}
	path := make([]byte, 0, len(escaped))
	for segment := range strings.SplitSeq(rest, "/") {
		name, err := url.PathUnescape(segment)
		if err != nil {
			return "", badName("the path has a segment that cannot be decoded: %s", shown(segment))
		}
		if why := unfit(name); why != "" {
			return "", badName("the path has a segment that %s: %s", why, shown(segment))
		}
		path = append(append(path, '/'), name...)
	}
	return string(path), nil
}

// unfit says why no name in a path can be s, or "".
func unfit(s string) string {
	switch {
	case s == "":
		return "is empty"
	case s == "." || s == "..":
		return "names a folder relatively"
	case !utf8.ValidString(s):
		return "is no UTF-8"
	case strings.ContainsAny(s, `/\%`):
		return `contains an escaped / or \ or %`
	case strings.ContainsFunc(s, isControl):
		return "contains a control character"
	}
	return ""
}

func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 }

// shown is text from outside as an answer may repeat it: escaped, and cut at 64 bytes.
func shown(s string) string {
	if len(s) > 64 {
		s = s[:64] + "…"
	}
	return strconv.QuoteToASCII(s)
}

func badName(format string, args ...any) *Problem {
	p := newProblem(codeBadName)
	p.Detail = fmt.Sprintf(format, args...)
	p.Hint = "names have letters, digits, dots, _ and -; write @ as @ or %40, and nothing is decoded twice"
	return p
}
