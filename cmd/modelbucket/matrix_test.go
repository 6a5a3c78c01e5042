package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modelbucket/blob/blobtest"
	"modelbucket/detector"
	"modelbucket/registry"
	"modelbucket/web/client"
)

// How a cell may end. What the node answers is one of these, or a problem's code.
const (
	endOK   = "ok"
	endGone = "no answer" // the client's patience was over, or the answer broke off
)

// recovery is the time in which a node is well again. A read that hangs is given up after
// 10 s, and asked again.
const recovery = 15 * time.Second

// waiting is a client's context, which ends when its patience does, and what notes the
// strike: patience is counted from there.
func (f fault) waiting(ctx context.Context) (_ context.Context, strike func(), struck func() bool) {
	ctx, cancel := context.WithCancel(ctx)
	var once sync.Once
	var did atomic.Bool
	return ctx, func() {
		did.Store(true)
		once.Do(func() { time.AfterFunc(f.patience(), cancel) })
	}, did.Load
}

// patience is little where the node needs more in any case.
func (f fault) patience() time.Duration {
	switch {
	case long():
		return time.Minute
	case f.kind == blobtest.Hang || f.kind == blobtest.CommitThenHang || f.always:
		return time.Second
	}
	return 20 * time.Second
}

// TestMatrix: each fault between node and store strikes each operation, at its decisive
// call. How it may end stands in allowed; and however it ends, an answer says no more
// than is so, nothing half-done is seen, a repeat on another node leads to the end that
// an undisturbed operation has, and the collector leaves nothing that nobody needs.
func TestMatrix(t *testing.T) {
	onServers(t, func(t *testing.T, server *blobtest.Server) {
		rows := faults()
		m := &matrix{server: server, operations: operations(), joblib: smallDetector(t), ends: map[string]map[string]string{}}
		var names []string
		for _, f := range rows {
			names = append(names, f.String())
		}
		for _, o := range m.operations {
			before, after := (&site{joblib: m.joblib}).ideal(t, o.change)
			m.before, m.after = append(m.before, before), append(m.after, after)
		}
		columns := m.operations
		if server.Ages() {
			s := &site{server: server, store: server.NewBucket(t)}
			litter(t, server, s.store)
			m.undisturbed = s.afterCollector(t)
			columns = append(columns, collecting)
		}
		atOnce(t, 5, names, func(t *testing.T, i int) { m.row(t, rows[i]) }) // most of them wait, most of the time
		t.Logf("\n%s", m)
		t.Logf("cells.ok %d; swept %d uploads, garbage 0", m.cells.Load(), m.swept.Load())
		if want := len(rows) * len(columns); int(m.cells.Load()) != want || want < 200 {
			t.Errorf("%d cells, want %d", m.cells.Load(), want)
		}
	})
}

type matrix struct {
	server        *blobtest.Server
	joblib        string
	undisturbed   []string // what a collector leaves; nil: it is no column here
	operations    []operation
	before, after [][]string // by operation
	cells, swept  atomic.Int64

	mu   sync.Mutex
	ends map[string]map[string]string // by fault and operation
}

func (m *matrix) note(f fault, operation, end string) {
	m.cells.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ends[f.String()] == nil {
		m.ends[f.String()] = map[string]string{}
	}
	m.ends[f.String()][operation] = end
}

// String is the matrix for people: a line for each fault, a column for each operation.
func (m *matrix) String() string {
	var b strings.Builder
	columns := append(slices.Clone(m.operations), collecting)
	for i, o := range columns {
		fmt.Fprintf(&b, "%c  %s\n", 'A'+i, o.name)
	}
	fmt.Fprintf(&b, "%-28s", "")
	for i := range columns {
		fmt.Fprintf(&b, " %-11c", 'A'+i)
	}
	for _, f := range faults() {
		fmt.Fprintf(&b, "\n%-28s", f)
		for _, o := range columns {
			fmt.Fprintf(&b, " %-11s", strings.Replace(m.ends[f.String()][o.name], "outcome_", "", 1))
		}
	}
	return b.String()
}

// row is one fault, on a bucket and a node of its own.
func (m *matrix) row(t *testing.T, f fault) {
	s := newSite(t, m.server)
	s.joblib = m.joblib
	proxy := blobtest.StartProxy(t, m.server.Endpoint, 1)
	node, err := startNode(t.TempDir(), "node", os.Environ(), s.through(proxy), "--insecure", "--gc-interval=0")
	if err != nil {
		t.Fatal(err)
	}
	defer node.kill()
	c, err := client.New(node.URL, client.Options{Tries: 1, Transport: patient{http.DefaultTransport, func(what string) { t.Error(what) }}})
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range m.operations {
		m.note(f, o.name, m.cell(t, s, f, i, c, proxy, tenantOf(t, i)))
	}
	if m.undisturbed != nil {
		m.note(f, collecting.name, m.collects(t, f, proxy))
	}
	node.kill()
	_, collected := s.sweep(t)
	m.swept.Add(int64(collected.Uploads))
	if n := proxy.TooLate(); f.kind == blobtest.CommitTooLate && (len(n) != 1 || n[http.StatusForbidden] == 0) {
		t.Errorf("requests that came too late were answered %v", n)
	}
}

// cell is one operation that is struck by one fault.
func (m *matrix) cell(t *testing.T, s *site, f fault, i int, c *client.Client, proxy *blobtest.Proxy, tenant registry.Tenant) (end string) {
	o, before, after := m.operations[i], m.before[i], m.after[i]
	wrong := func(format string, args ...any) { t.Errorf("%s, %s: "+format, append([]any{f, o.name}, args...)...) }
	s.fill(t, tenant)
	if f.kind == blobtest.StaleBody { // the proxy sees what is old then
		inventory(t, c, tenant)
		if _, err := s.other.SetAlias(t.Context(), tenant, "fraud", "stable", registry.AliasChange{To: 1}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, strike, struck := f.waiting(t.Context())
	proxy.SetRules(f.rule(o, tenant, strike))
	err := o.do(ctx, c, tenant)
	end = endOf(err)
	proxy.SetRules()
	proxy.Wait()
	if !struck() {
		wrong("the fault did not strike")
	}
	if may := allowed(f, o); !slices.Contains(may, end) {
		wrong("it ends with %s (%v), and may end with %v", end, err, may)
	}

	seen := inventory(t, s.other, tenant)
	switch {
	case end == endOK:
		if diff := cmp.Diff(after, seen); diff != "" {
			wrong("ok, and not done (-want +got):\n%s", diff)
		}
	case end == endGone || end == "outcome_unknown":
		for _, line := range seen {
			if !slices.Contains(before, line) && !slices.Contains(after, line) {
				wrong("half-done: %s", line)
			}
		}
	default:
		if diff := cmp.Diff(before, seen); diff != "" {
			wrong("%s, and yet something was done (-want +got):\n%s", end, diff)
		}
	}
	if err := o.do(t.Context(), s.other, tenant); !o.isDone(err) {
		wrong("the repeat on another node is answered %v", err)
	}
	if o.reads {
		m.heals(t, o, c, tenant, wrong)
	}
	if diff := cmp.Diff(after, inventory(t, s.other, tenant)); diff != "" {
		wrong("after the repeat (-want +got):\n%s", diff)
	}
	return end
}

// heals wants the struck node to give the right answer soon, now that nothing is wrong.
func (m *matrix) heals(t *testing.T, o operation, c *client.Client, tenant registry.Tenant, wrong func(string, ...any)) {
	for deadline := time.Now().Add(recovery); ; time.Sleep(100 * time.Millisecond) {
		err := o.do(t.Context(), c, tenant)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			wrong("healed for %v, the answer is %v", recovery, err)
			return
		}
	}
}

func endOf(err error) string {
	answered, ok := errors.AsType[*client.Error](err)
	switch {
	case err == nil:
		return endOK
	case errors.Is(err, errWrong):
		return err.Error()
	case ok:
		return answered.Code
	}
	return endGone
}

// allowed is the table of how a cell may end: a single fault is mended before anybody
// hears of it, and of one that lasts nobody is told more than is known.
func allowed(f fault, o operation) []string {
	inParts := o.write.method == http.MethodPost // what is struck comes before the commit
	switch {
	case (f.kind == blobtest.Hang || f.kind == blobtest.CommitThenHang) && o.reads && long():
		return []string{endOK} // the node asks again in time
	case f.kind == blobtest.Hang || f.kind == blobtest.CommitThenHang:
		return []string{endOK, "outcome_unknown", endGone} // the client's patience ends before the node's
	case f.kind == blobtest.Answer403:
		return []string{"unavailable"}
	case f.kind == blobtest.Twice && inParts: // the second answer may be that there is no such upload
		return []string{endOK, "unavailable"}
	case f.kind == blobtest.WrongByte && f.always && o.body.lists(): // no list has a digest
		return []string{endOK, "unavailable", endGone}
	case f.kind == blobtest.WrongByte && f.always:
		return []string{"corrupt"}
	case f.always && !f.onBody && (o.reads || inParts):
		return []string{"unavailable", endGone}
	case f.always && !f.onBody:
		return []string{"outcome_unknown", endGone}
	}
	return []string{endOK}
}

func smallDetector(t *testing.T) string {
	t.Helper()
	c, _, _ := inMemory(t)
	v, err := c.Train(t.Context(), training("acme", "edge"), client.BytesOf(demoEvents, detector.JSON))
	if err != nil {
		t.Fatal(err)
	}
	body, err := c.Open(t.Context(), v.Ref(), v.Files[0].Name)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
