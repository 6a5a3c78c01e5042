package web_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
	"modelbucket/web"
)

// Attacks that worked on other products, tried on this one. Each names the vulnerability
// that it replays; what it must not reach is another tenant's model, with a text in it
// that no answer may show.

// attack is one of them.
type attack struct {
	row string // its place in the list below
	cve string
	how string
	try func(x *target)
}

// attackRows is the list: what is replayed, and what is not, with the reason.
var attackRows = map[string]string{
	"A1": "", "A2": "", "A3": "", "A4": "", "A5": "", "A6": "", "A7": "", "A8": "", "A9": "", "A10": "", "A11": "", "A12": "", "A13": "", "A14": "", "A15": "",
	"A16": "", "A17": "", "A18": "", "A19": "",
	"B1": "", "B2": "", "B3": "", "B4": "", "B5": "",
	"C1": "", "C2": "", "C3": "", "C4": "", "C6": "",
	"C5": "CVE-2026-24146, CVE-2026-24173: outputs and shapes that a request names; the dialect that has such, the Open Inference Protocol, is not built. What files say of shapes is D2",
	"D1": "", "D2": "", "D3": "", "D4": "",
	"E1": "", "E3": "", "E4": "", "E5": "", "E6": "", "E7": "", "E8": "",
	"E2": "CVE-2025-31489, CVE-2026-40344, CVE-2026-41145: a store's own checks of signatures; this is no store",
	"F1": "", "F2": "", "F3": "", "F4": "", "F5": "", "F6": "", "F7": "", "F8": "",
}

func attacks() []attack {
	return slices.Concat(nameAttacks(), callerAttacks(), keyAttacks(), bodyAttacks(), fileAttacks(), protocolAttacks())
}

func TestAttacks(t *testing.T) {
	tried := map[string]int{}
	passed := 0
	for _, a := range attacks() {
		if reason, listed := attackRows[a.row]; !listed || reason != "" {
			t.Errorf("%s %s is not in the list, or is said not to be tried", a.row, a.how)
		}
		if !strings.Contains(a.cve, "CVE-") {
			t.Errorf("%s %s names no vulnerability", a.row, a.how)
		}
		tried[a.row]++
		if t.Run(a.row+" "+a.how, func(t *testing.T) { a.try(newTarget(t)) }) {
			passed++
		}
	}
	for _, row := range slices.Sorted(maps.Keys(attackRows)) {
		switch reason := attackRows[row]; {
		case reason != "":
			t.Logf("not tried: %s %s", row, reason)
		case tried[row] == 0:
			t.Errorf("%s is not tried", row)
		}
	}
	if len(attacks()) < 60 {
		t.Errorf("there are %d attacks", len(attacks()))
	}
	t.Logf("cve.tests %d cve.passed %d cve.rows %d", len(attacks()), passed, len(tried))
}

// target is a node with a detector of acme, who attacks or is attacked, and a model of
// bolt, which nobody else may see.
type target struct {
	*node
	t      *testing.T
	calls  atomic.Int64      // of the store, but for those that find out who a caller is, and those that write down what he tried
	before map[string]string // what tenants had in the store
}

// canary is a text in all that bolt has.
const canary = "canary7f3a9c"

func newTarget(t *testing.T) *target { return newTargetWith(t, nil) }

func newTargetWith(t *testing.T, change func(*web.Options)) *target {
	t.Helper()
	x := &target{t: t}
	memory := furnished(t)
	bucket := blobtest.NewFaulty(seen{memory, func(key string) {
		if !strings.HasPrefix(key, "_system/keys/") && !isAudit(key) {
			x.calls.Add(1)
		}
	}}, 1)
	x.node = serve(t, func(o *web.Options) {
		r, err := registry.Open(t.Context(), bucket, registry.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if o.RootToken, err = r.RootToken(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { // when the node has ended
			if err := r.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		if o.Registry = r; change != nil {
			change(o)
		}
	})
	x.memory, x.bucket = memory, bucket
	x.settle()
	return x
}

// furnished is a store with what is there before the attacks.
func furnished(t *testing.T) *blob.Memory {
	t.Helper()
	w := &world{t: t, memory: blob.NewMemory()}
	w.open(nil)
	defer w.close() // which waits for what is left to be done
	w.must("POST", fraud+"/train", toJSON(t, map[string]any{"network_data": events(50), "label": "v1.0", "aliases": []string{"champion"}, "parameters": map[string]any{"n_estimators": 3}}))
	w.must("POST", "/v1/tenants/bolt/models/"+canary+"/versions?filename="+canary+"&label="+canary+"&alias="+canary+"&description="+canary, canary)
	return w.memory
}

// isAudit tells whether a key is one of the trail's.
func isAudit(key string) bool {
	return strings.Contains("/"+key, "/_audit/") || strings.HasPrefix(key, "_system/audit/")
}

// key makes a key and returns its token. An empty tenant is all.
func (x *target) key(tenant, role string) string {
	x.t.Helper()
	path := "/v1/tenants/" + tenant + "/keys"
	if tenant == "" {
		path = "/v1/keys"
	}
	return member(string(x.json("POST", path, `{"role":"`+role+`"}`).must(x.t, 201, nil).body), "token")
}

// settle takes the store as it is now for how it has to stay.
func (x *target) settle() { x.before = x.objects() }

// converse sends a text over a connection of its own, and returns all that comes back. The
// node may hang up on who sends more than it wants.
func (x *target) converse(text string) string {
	x.t.Helper()
	conn := x.dial()
	defer conn.Close()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		io.WriteString(conn, text)
	}()
	answer, err := io.ReadAll(conn)
	if err != nil && len(answer) == 0 {
		x.t.Fatalf("read answer: %v", err)
	}
	conn.Close()
	<-sent
	return string(answer)
}

// objects are the keys of all that tenants have, with the ETags.
func (x *target) objects() map[string]string {
	x.t.Helper()
	found := map[string]string{}
	for o := (blob.ListOptions{}); ; {
		page, err := x.memory.List(context.Background(), o)
		if err != nil {
			x.t.Fatal(err)
		}
		for _, object := range page.Objects {
			if !strings.HasPrefix(object.Key, "_system/") && !isAudit(object.Key) {
				found[object.Key] = object.ETag
			}
		}
		if o.StartAfter = page.Next; page.Next == "" {
			return found
		}
	}
}

// unharmed wants everything to be as it was, once what goes on behind answers is done.
func (x *target) unharmed() {
	x.t.Helper()
	var harm []string
	for range 1000 {
		if harm = x.harm(); harm == nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
	x.t.Errorf("what lies in the store has changed: %s", harm)
}

// harm lists the objects that changed, went or came.
func (x *target) harm() (keys []string) {
	now := x.objects()
	for key, tag := range x.before {
		if now[key] != tag {
			keys = append(keys, key)
		}
	}
	for key := range now {
		if _, known := x.before[key]; !known && !strings.Contains(key, "/_uploads/") { // whose files are gone: the collector takes it
			keys = append(keys, key)
		}
	}
	return keys
}

// shot is one request, sent byte for byte.
type shot struct {
	method, path, body string
	headers            []string // lines; Authorization is added unless one says it
}

// got is the answer.
type got struct {
	shot   shot
	status int
	header http.Header
	body   string
}

func (s shot) String() string {
	text := s.method + " " + s.path
	if s.body != "" {
		text += " with " + s.body
	}
	return fmt.Sprintf("%.300q", text)
}

// fire sends a request over a connection of its own.
func (x *target) fire(s shot) got {
	x.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nConnection: close\r\n", s.method, s.path)
	for name, line := range map[string]string{"host:": "Host: " + x.addr, "authorization:": "Authorization: Bearer " + token} {
		if !slices.ContainsFunc(s.headers, func(h string) bool { return strings.HasPrefix(strings.ToLower(h), name) }) {
			fmt.Fprintf(&b, "%s\r\n", line)
		}
	}
	for _, line := range s.headers {
		if line != "Authorization:" {
			fmt.Fprintf(&b, "%s\r\n", line)
		}
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(s.body), s.body)
	answer, err := http.ReadResponse(bufio.NewReader(strings.NewReader(x.converse(b.String()))), &http.Request{Method: s.method})
	if err != nil {
		x.t.Fatalf("%s: %v", s, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		x.t.Fatalf("%s: %v", s, err)
	}
	return got{s, answer.StatusCode, answer.Header, string(body)}
}

// refused fires shots of which none may get through: each has one of the statuses, and
// the store is not asked about any.
func (x *target) refused(statuses []int, shots ...shot) {
	x.t.Helper()
	if len(shots) == 0 {
		x.t.Error("nothing was tried")
	}
	for _, s := range shots {
		var g got
		calls := int64(1)
		for tries := 0; calls > 0 && tries < 3; tries++ { // some may be another's, whom they follow in the background
			before := x.calls.Load()
			g = x.fire(s)
			calls = x.calls.Load() - before
		}
		if !slices.Contains(statuses, g.status) {
			x.t.Errorf("%s: status %d, want one of %v: %.300s", s, g.status, statuses, g.body)
		}
		if calls != 0 {
			x.t.Errorf("%s: %d calls of the store", s, calls)
		}
		if strings.Contains(g.body, canary) && !strings.Contains(s.path+s.body, canary) {
			x.t.Errorf("%s: the answer shows what is bolt's: %.300s", s, g.body)
		}
		if len(g.body) > 2048 {
			x.t.Errorf("%s: an answer of %d bytes", s, len(g.body))
		}
	}
	x.unharmed()
}

// bait is a server that nobody should call.
func (x *target) bait() (url string, calls func() int) {
	x.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		x.t.Fatal(err)
	}
	called := make(chan int, 1)
	go func() {
		n := 0
		defer func() { called <- n }()
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			n++
			conn.Close()
		}
	}()
	return "http://" + listener.Addr().String() + "/model.joblib", func() int {
		listener.Close()
		return <-called
	}
}

func bearer(text string) string { return "Authorization: Bearer " + text }

func asJSON(method, path, body string, headers ...string) shot {
	return shot{method, path, body, append(headers, "Content-Type: application/json")}
}
