package web

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
)

// What no request shows from outside: a table of routes that is not the program's, the
// bounds of what is remembered, and the cost of a check alone.

func TestRouteWithoutPermissionDoesNotStart(t *testing.T) {
	front := Route{Method: "GET", Pattern: "/", Permission: Public, handle: (*Server).front}
	for name, route := range map[string]Route{
		"none":    {Method: "GET", Pattern: "/x", handle: (*Server).front},
		"unknown": {Method: "GET", Pattern: "/x", Permission: "model.raed", handle: (*Server).front},
	} {
		if err := (&Server{}).mount(echo.New(), []Route{front, route}); err == nil {
			t.Errorf("a server starts with a route with the permission %q (%s)", route.Permission, name)
		}
	}
	if err := (&Server{}).mount(echo.New(), []Route{front}); err != nil {
		t.Error(err)
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	m := map[int]int{}
	for i := range 3 * maxRemembered {
		remember(m, i, i)
		if len(m) > maxRemembered || m[i] != i {
			t.Fatalf("after %d: %d remembered", i, len(m))
		}
	}
}

func TestAllowances(t *testing.T) {
	now := time.Now()
	a := newAllowances()
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	take := func(who netip.Addr, most int) (n int) {
		for range most {
			if !a.take(who, now) {
				break
			}
			n++
		}
		return n
	}
	if n := take(one, 1000); n != callerLookupsAtOnce {
		t.Errorf("one caller looks %d times at once", n)
	}
	a.give(one)
	if n := take(one, 1000); n != 1 {
		t.Errorf("given back is one, taken were %d", n)
	}
	if n := take(two, 1000); n != lookupsAtOnce-callerLookupsAtOnce {
		t.Errorf("another one looks %d times", n)
	}
	now = now.Add(time.Second)
	if n := take(one, 1000); n != callerLookupsASecond {
		t.Errorf("a second later one looks %d times", n)
	}
	now = now.Add(time.Hour)
	if n := take(one, 1000); n != callerLookupsAtOnce {
		t.Errorf("an hour later one looks %d times", n)
	}
}

// BenchmarkKeyCheck is what it costs to find out who sends a request with a key, and that
// he may score, once the key is known. ≤ 2 µs, and no call of the store.
func BenchmarkKeyCheck(b *testing.B) {
	bucket := blobtest.NewFaulty(blob.NewMemory(), 1)
	r, err := registry.Open(context.Background(), bucket, registry.Options{})
	if err != nil {
		b.Fatal(err)
	}
	root, err := r.RootToken(context.Background(), "root-token-of-the-benchmark")
	if err != nil {
		b.Fatal(err)
	}
	s, err := New(Options{Registry: r, RootToken: root})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	client := netip.MustParseAddr("192.0.2.1")
	var tokens []string
	for i := range 1000 { // among others
		_, token, err := r.CreateKey(context.Background(), registry.NewKey{Tenant: registry.Tenant(fmt.Sprint("t", i)), Role: registry.Scorer})
		if err != nil {
			b.Fatal(err)
		}
		tokens = append(tokens, token.Reveal())
	}
	check := func(i int) error {
		request := httptest.NewRequest("POST", "/v1/tenants/t0/models/m/detect", nil)
		request.Header.Set("Authorization", "Bearer "+tokens[i])
		who, err := s.authenticate(request, client, Detect)
		if err == nil {
			err = authorise(who, Detect, registry.Tenant(fmt.Sprint("t", i)))
		}
		return err
	}
	for range 2 { // the second time their use is noted
		for i := range tokens {
			if err := check(i); err != nil {
				b.Fatal(err)
			}
		}
	}
	request := httptest.NewRequest("POST", "/v1/tenants/t0/models/m/detect", nil)
	request.Header.Set("Authorization", "Bearer "+tokens[0])
	for {
		before := bucket.Calls()
		time.Sleep(50 * time.Millisecond)
		if bucket.Calls() == before {
			break // all uses are noted
		}
	}
	before, used := bucket.Calls(), processorTime(b)
	for b.Loop() {
		who, err := s.authenticate(request, client, Detect)
		if err == nil {
			err = authorise(who, Detect, "t0")
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(processorTime(b)-used)/float64(b.N), "cpu-ns/op") // whatever else the machine does
	b.ReportMetric(float64(bucket.Calls()-before)/float64(b.N), "calls/op")
}

// processorTime is what this process has used so far.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
