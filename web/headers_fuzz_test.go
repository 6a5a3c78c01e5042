package web

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"modelbucket/registry"
)

// FuzzRange: a part of a file is sent only where net/http would send the very same; and
// whatever is asked for, no more than there is.
func FuzzRange(f *testing.F) {
	for _, header := range []string{"bytes=0-0", "bytes=2-", "bytes=-3", "bytes=-0", "bytes=5-4", "bytes=99-", "bytes=0-0,2-3", "bytes=0-18446744073709551615", "bytes=-9223372036854775808", "bytes= 1-2 ", "bytes=\v0-", "items=0-1", "bytes=--1"} {
		f.Add(header, uint8(10))
	}
	f.Fuzz(func(t *testing.T, header string, size uint8) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Range", header)
		head := http.Header{}
		part, status, err := (&call{r: r}).fileRange(registry.File{Name: "f", Size: int64(size)}, head)
		peer := httptest.NewRecorder()
		http.ServeContent(peer, r, "f", time.Time{}, bytes.NewReader(make([]byte, size)))
		switch {
		case err != nil:
			if peer.Code == http.StatusPartialContent && peer.Header().Get("Content-Length") != "0" { // net/http sends the last 0 bytes; RFC 9110 §14.1.2 does not
				t.Errorf("%q of %d: %v, and net/http sends %s", header, size, err, peer.Header().Get("Content-Range"))
			}
		case status == http.StatusPartialContent:
			if part.Offset < 0 || part.Length < 1 || part.Offset+part.Length > int64(size) {
				t.Errorf("%q of %d: %+v", header, size, part)
			}
			if peer.Code != status || peer.Header().Get("Content-Range") != head.Get("Content-Range") || peer.Header().Get("Content-Length") != head.Get("Content-Length") {
				t.Errorf("%q of %d: %s, and net/http says %d %s", header, size, head.Get("Content-Range"), peer.Code, peer.Header().Get("Content-Range"))
			}
		case status != http.StatusOK || part.Offset != 0 || part.Length != 0 || head.Get("Content-Range") != "":
			t.Errorf("%q of %d: %d %+v", header, size, status, part)
		}
	})
}

// FuzzEntityTags: a tag is read as what it was written from, and matches itself alone.
func FuzzEntityTags(f *testing.F) {
	for _, header := range []string{`"3"`, `W/"3-9f86d081884c"`, `"1", "2"`, "*", `"`, `""`, `"-1"`, `"9223372036854775808"`, `"+1"`} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		n, err := tagNumber(header)
		if err == nil && (n < 0 || !strings.Contains(header, fmt.Sprint(n)) && !strings.Contains(header, "0")) {
			t.Errorf("%q is read as %d", header, n)
		}
		own := `"` + wholeTag(n)("9f86d081884c") + `"`
		if again, err := tagNumber(own); err != nil || again != n {
			t.Errorf("%s is read as %d, %v", own, again, err)
		}
		if matches(header, own) && strings.TrimSpace(header) != "*" && !strings.Contains(header, own) {
			t.Errorf("%q matches %s", header, own)
		}
	})
}

// FuzzForwarded: whatever a caller claims, he is who called the outermost proxy of ours.
func FuzzForwarded(f *testing.F) {
	for _, claim := range []string{"", "10.0.0.9", "192.0.2.7, 10.0.0.1", "::1", "[::ffff:10.0.0.1]:80", "unknown, _hidden", ",,,", "fe80::1%eth0"} {
		f.Add(claim)
	}
	ours := proxies{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, claim string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "192.0.2.1:1234"
		r.Header["X-Forwarded-For"] = []string{claim}
		if a := ours.client(r); a.String() != "192.0.2.1" {
			t.Errorf("a stranger who claims %q is taken for %s", claim, a)
		}
		r.RemoteAddr = "10.0.0.1:1234"
		r.Header["X-Forwarded-For"] = []string{claim, "192.0.2.1"}
		if a := ours.client(r); a.String() != "192.0.2.1" {
			t.Errorf("a caller of our proxy who claims %q is taken for %s", claim, a)
		}
	})
}
