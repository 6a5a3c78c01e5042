package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelbucket/blob/blobtest"
	"modelbucket/detector"
	"modelbucket/registry"
	"modelbucket/web/client"
)

// change is one change to what a tenant has.
type change struct {
	name string
	do   func(ctx context.Context, c *client.Client, tenant registry.Tenant) error
	done string // what a repeat may be answered once it is done
}

func changes() []change {
	return []change{
		{"first publish", func(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
			_, err := c.Publish(ctx, client.Publication{Tenant: tenant, Model: "new", Key: "k"}, file("a", "new"), file("b", "new too"))
			return err
		}, ""},
		{"next publish", func(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
			_, err := c.Publish(ctx, client.Publication{Tenant: tenant, Model: "fraud", Key: "k"}, file("a", "new"))
			return err
		}, ""},
		{"publish with label and aliases", func(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
			_, err := c.Publish(ctx, client.Publication{Tenant: tenant, Model: "fraud", Key: "k", Label: "new", Aliases: []registry.Alias{"champion", "stable"}}, file("a", "new"))
			return err
		}, ""},
		{"publish in parts", func(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
			_, err := c.Publish(ctx, client.Publication{Tenant: tenant, Model: "fraud", Key: "k"}, file("a", mebibytes(9)))
			return err
		}, ""},
		{"publish signed", func(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
			signed, err := signFile("new", registry.File{Name: "a", SHA256: digest("new")})
			if err != nil {
				return err
			}
			_, err = c.Publish(ctx, client.Publication{Tenant: tenant, Model: "fraud", Key: "k", Signature: signed}, file("a", "new"))
			return err
		}, ""},
		{"sign version", func(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
			signed, err := signFile("fraud", registry.File{Name: "a", SHA256: digest("content of v2")})
			if err != nil {
				return err
			}
			_, err = c.Sign(ctx, number(tenant, "fraud", 2), signed)
			return err
		}, ""},
		{"train", func(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
			_, err := c.Train(ctx, training(tenant, "edge"), client.BytesOf(demoEvents, detector.JSON))
			return err
		}, ""},
		{"set alias", func(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
			_, err := c.SetAlias(ctx, tenant, "fraud", "champion", registry.AliasChange{To: 2})
			return err
		}, ""},
		{"move alias", func(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
			_, err := c.SetAlias(ctx, tenant, "fraud", "stable", registry.AliasChange{To: 2})
			return err
		}, ""},
		{"delete alias", func(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
			_, err := c.DeleteAlias(ctx, tenant, "fraud", "stable", registry.AliasChange{})
			return err
		}, "alias_not_found"},
		{"describe version", func(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
			_, err := c.UpdateVersion(ctx, number(tenant, "fraud", 2), registry.Change{Description: new("said")})
			return err
		}, ""},
		{"describe model", func(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
			_, err := c.UpdateModel(ctx, tenant, "fraud", registry.Change{Description: new("said")})
			return err
		}, ""},
		{"describe tenant", func(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
			_, err := c.UpdateTenant(ctx, tenant, registry.Change{Description: new("said")})
			return err
		}, ""},
		{"delete version", func(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
			_, err := c.DeleteVersion(ctx, number(tenant, "fraud", 2), registry.Deletion{})
			return err
		}, "version_deleted"},
		{"delete model", func(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
			_, err := c.DeleteModel(ctx, tenant, "old", "")
			return err
		}, "model_not_found"},
		{"restore", func(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
			_, err := c.Restore(ctx, number(tenant, "fraud", 3), client.Publication{Key: "k"})
			return err
		}, ""},
		{"copy", func(ctx context.Context, c *client.Client, tenant registry.Tenant) error {
			_, err := c.Copy(ctx, number(tenant, "fraud", 1), client.Publication{Tenant: tenant, Model: "copied", Key: "k"})
			return err
		}, ""},
	}
}

// isDone tells whether an answer says that the change is made.
func (c change) isDone(err error) bool {
	answered, ok := errors.AsType[*client.Error](err)
	return err == nil || ok && c.done != "" && answered.Code == c.done
}

// ideal is what a tenant has before and after the change, where nothing goes wrong.
func (s *site) ideal(t *testing.T, c change) (before, after []string) {
	t.Helper()
	memory, _, _ := inMemory(t)
	if err := furnish(t.Context(), memory, "acme", s.joblib); err != nil {
		t.Fatal(err)
	}
	before = inventory(t, memory, "acme")
	if err := c.do(t.Context(), memory, "acme"); err != nil {
		t.Fatal(err)
	}
	return before, inventory(t, memory, "acme")
}

// TestCrashPoints: of each change, at each of its calls to the store in turn, the node is
// killed: before the call goes out, and when it is done and not yet answered. Whatever
// it was: what was acknowledged is there, nothing half-done is seen, a repeat on another
// node leads to the end that an undisturbed change has, and the collector leaves nothing
// that nobody needs.
func TestCrashPoints(t *testing.T) {
	onServers(t, func(t *testing.T, server *blobtest.Server) {
		var points, acknowledged, made, versions, swept atomic.Int64
		var names []string
		var jobs []point
		for _, c := range changes() {
			for _, when := range kills() {
				names, jobs = append(names, c.name+"/"+string(when)), append(jobs, point{change: c, when: when})
			}
		}
		atOnce(t, 3, names, func(t *testing.T, i int) {
			p := jobs[i]
			p.site, p.proxy = newSite(t, server), blobtest.StartProxy(t, server.Endpoint, 1)
			p.before, p.after = p.ideal(t, p.change)
			whole := 0
			for struck := true; struck; {
				p.nth++
				struck = p.run(t)
				if t.Failed() {
					t.Fatalf("killed at call %d", p.nth)
				}
				whole += p.versions
				switch {
				case !struck:
				case p.acknowledged:
					acknowledged.Add(1)
				case p.made:
					made.Add(1)
				}
			}
			report, collected := p.sweep(t)
			if report.Versions != whole {
				t.Errorf("%d versions are there after the sweep, want %d", report.Versions, whole)
			}
			t.Logf("%d calls", p.nth-1)
			points.Add(int64(p.nth - 1))
			versions.Add(int64(whole))
			swept.Add(int64(collected.Uploads))
		})
		t.Logf("crash.points %d", points.Load())
		t.Logf("crash.acknowledged %d before the kill; %d were made and not acknowledged", acknowledged.Load(), made.Load())
		t.Logf("crash.swept %d uploads; %d versions are whole, garbage 0", swept.Load(), versions.Load())
		if points.Load() < 40 {
			t.Errorf("only %d points", points.Load())
		}
	})
}

// kills are the moments of a call at which a node is killed. Before a call, and after one
// that only reads, there is what was left by the last one that wrote, unless two are
// under way at once: those are for the long form.
func kills() []blobtest.ProxyFault {
	if long() {
		return []blobtest.ProxyFault{blobtest.CommitThenReset, blobtest.ResetBefore}
	}
	return []blobtest.ProxyFault{blobtest.CommitThenReset}
}

// point is one node that is killed.
type point struct {
	*site
	change        change
	when          blobtest.ProxyFault
	nth           int
	before, after []string
	proxy         *blobtest.Proxy

	acknowledged, made bool
	versions           int // whole ones that the tenant has at the end
}

// run makes the change on a node that is killed at the nth call, and repeats it on the
// other one. It is false if the change was over before.
func (p *point) run(t *testing.T) (struck bool) {
	tenant := tenantOf(t, p.nth)
	p.fill(t, tenant)
	p.versions = 0
	p.proxy.SetRules()
	node, err := startNode(t.TempDir(), "node", os.Environ(), p.through(p.proxy), "--insecure", "--gc-interval=0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { node.process.Wait(); close(ended) }()
	var hit atomic.Bool
	p.proxy.SetRules(blobtest.ProxyRule{Fault: p.when, Writes: !long(), Nth: p.nth, Do: func() {
		hit.Store(true)
		node.process.Process.Kill()
		<-ended
	}})
	err = p.change.do(t.Context(), caller(t, node.URL), tenant)
	p.acknowledged = err == nil
	node.process.Process.Signal(syscall.SIGTERM) // what goes on behind the answer has calls too
	<-ended
	if struck = hit.Load(); !struck && err != nil {
		t.Fatalf("undisturbed, the answer is %v", err)
	}

	seen := inventory(t, p.other, tenant)
	p.made = cmp.Equal(seen, p.after)
	for _, line := range seen {
		if !slices.Contains(p.before, line) && !slices.Contains(p.after, line) {
			t.Errorf("half-done: %s", line)
		}
	}
	if diff := cmp.Diff(p.after, seen); p.acknowledged && diff != "" {
		t.Errorf("acknowledged, and not there (-want +got):\n%s", diff)
	}
	p.check(t, tenant)
	if err := p.change.do(t.Context(), p.other, tenant); !p.change.isDone(err) {
		t.Errorf("the repeat on another node is answered %v", err)
	}
	if diff := cmp.Diff(p.after, inventory(t, p.other, tenant)); diff != "" {
		t.Errorf("after the repeat (-want +got):\n%s", diff)
	}
	for _, line := range p.after {
		if strings.Contains(line, " active ") {
			p.versions++
		}
	}
	return struck
}
