package registrytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"modelbucket/blob"
	"modelbucket/registry"
)

// The models that clients work on. Only spam is ever deleted as a whole.
var (
	fraud  = series{"acme", "fraud"}
	spam   = series{"acme", "spam"}
	others = series{"beta", "fraud"}
)

const requestLimit = time.Minute

// mood is what the clients of a run want.
type mood int

const (
	calm  mood = iota // anything
	crowd             // all of them the same few things
	storm             // to know the latest, which others add and delete
)

// client makes one request after another, each on any node.
type client struct {
	index   int
	history *history
	random  *rand.Rand
	pick    func(*rand.Rand) *node
	tempo   tempo
	mood    mood

	artifact func(string) Artifact // nil: some text
	count    int
}

// tempo is how fast the clients of a run are: most pauses are short, few are long.
type tempo struct {
	short, long time.Duration
	share       float64 // of long pauses
}

func (t tempo) pause(r *rand.Rand) time.Duration {
	long, size := r.Float64() < t.share, r.Float64()
	if long {
		return time.Duration(size*float64(t.long)) + 1
	}
	return time.Duration(size*float64(t.short)) + 1
}

func (c *client) think() { time.Sleep(c.tempo.pause(c.random)) }

func (c *client) work(requests int) {
	type choice struct {
		weight int
		do     func(*node, series)
	}
	choices := []choice{
		{22, c.publish}, {5, c.repeat}, {4, c.copy}, {13, c.latest}, {6, c.resolveNumber}, {5, c.resolveLabel},
		{8, c.resolveAlias}, {6, c.list}, {3, c.read}, {1, c.verify}, {9, c.setAlias}, {2, c.dropAlias},
		{7, c.delete}, {2, c.contest}, {1, c.deleteModel}, {4, c.describe}, {2, c.describeModel}, {2, c.browse},
	}
	if c.mood == storm {
		choices = []choice{{5, c.publish}, {6, c.latest}, {5, c.delete}, {1, c.list}}
	}
	if c.artifact != nil {
		choices = append(choices, choice{20, c.detect})
	}
	sum := 0
	for _, choice := range choices {
		sum += choice.weight
	}
	for range requests {
		c.think()
		s := fraud
		switch at := c.random.IntN(10); {
		case at >= 9:
			s = others
		case at >= 6 && c.mood == calm:
			s = spam
		}
		at := c.random.IntN(sum)
		for _, choice := range choices {
			if at -= choice.weight; at < 0 {
				choice.do(c.pick(c.random), s)
				break
			}
		}
	}
}

func (c *client) event(kind string, s series) *event {
	c.count++
	return &event{id: fmt.Sprintf("c%d-%d", c.index, c.count), by: c.index, kind: kind, s: s}
}

func (c *client) context(e *event) (context.Context, context.CancelFunc) {
	return context.WithTimeout(behalf(context.Background(), e.id), requestLimit)
}

// do makes one request and writes down what came of it.
func (c *client) do(e *event, n *node, f func(context.Context) error) {
	c.history.begin(e)
	c.finish(e, n, f)
}

// finish is do of a request that was begun.
func (c *client) finish(e *event, n *node, f func(context.Context) error) {
	ctx, cancel := c.context(e)
	defer cancel()
	c.history.end(e, n, f(ctx))
}

func (c *client) coin(chance float64) bool { return c.random.Float64() < chance }

// number is one that is likely to be there, or just beyond.
func (c *client) number(s series) registry.Number {
	top := int(c.history.top(s))
	if c.mood == crowd && c.coin(0.7) {
		return registry.Number(max(1, top))
	}
	if c.coin(0.5) {
		return registry.Number(max(1, top-c.random.IntN(4)+1))
	}
	return registry.Number(1 + c.random.IntN(top+1))
}

func (c *client) label() registry.Label {
	return registry.Label(fmt.Sprintf("v%d", c.random.IntN(20)))
}

func (c *client) latest(n *node, s series) {
	e := c.event(opLatest, s)
	whole := c.coin(0.2)
	c.do(e, n, func(ctx context.Context) error {
		if !whole {
			v, err := n.Resolve(ctx, s.ref(registry.Selector{}))
			if err == nil {
				e.got = v.Version
			}
			return err
		}
		m, err := n.Model(ctx, s.tenant, s.model)
		if err == nil && m.Latest != nil {
			e.got = *m.Latest
		}
		return err
	})
}

func (c *client) resolveNumber(n *node, s series) {
	e := c.event(opNumber, s)
	e.number = c.number(s)
	c.resolve(e, n, registry.Selector{Number: e.number})
}

func (c *client) resolveLabel(n *node, s series) {
	e := c.event(opLabel, s)
	e.label = c.label()
	c.resolve(e, n, registry.Selector{Label: e.label})
}

func (c *client) resolve(e *event, n *node, sel registry.Selector) {
	c.do(e, n, func(ctx context.Context) error {
		v, err := n.Version(ctx, e.s.ref(sel))
		if err == nil {
			e.got = v.Version
		}
		return err
	})
}

// read reads the first file of latest, or of some version.
func (c *client) read(n *node, s series) {
	e := c.event(opRead, s)
	if c.coin(0.5) {
		e.number = c.number(s)
	}
	c.do(e, n, func(ctx context.Context) error {
		v, err := n.Resolve(ctx, s.ref(registry.Selector{Number: e.number}))
		if err != nil {
			return err
		}
		data, err := readFile(ctx, n.Registry, v)
		if err == nil {
			e.got, e.content = v.Version, data
		}
		return err
	})
}

func readFile(ctx context.Context, r *registry.Registry, v *registry.Version) (string, error) {
	body, err := r.OpenFile(ctx, v, v.Files[0].Name, blob.Range{})
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(body)
	return string(data), errors.Join(err, body.Close())
}

// detect scores with latest, a number or an alias, as a node remembers them.
func (c *client) detect(n *node, s series) {
	e := c.event(opDetect, s)
	sel := registry.Selector{}
	switch c.random.IntN(4) {
	case 0:
		e.number = c.number(s)
		sel.Number = e.number
	case 1:
		sel.Alias = c.alias()
		e.named = true
	}
	c.do(e, n, func(ctx context.Context) error {
		v, content, age, err := n.scoring.Score(ctx, s.ref(sel))
		if err == nil {
			e.got, e.content, e.since = v, content, c.history.world.stampAt(time.Now().Add(-age))
		}
		return err
	})
}

// errDamage is a report of damage where nothing damages.
var errDamage = errors.New("verify reports damage")

func (c *client) verify(n *node, s series) {
	e := c.event(opVerify, s)
	e.number = c.number(s)
	c.do(e, n, func(ctx context.Context) error {
		report, err := n.Verify(ctx, s.ref(registry.Selector{Number: e.number}))
		if err == nil && !report.OK {
			err = fmt.Errorf("%w: %v", errDamage, report.Problems)
		}
		return err
	})
}

// list reads all pages of a model's versions.
func (c *client) list(n *node, s series) {
	e := c.event(opList, s)
	e.deleted = c.coin(0.5)
	limit := 1 + c.random.IntN(12)
	c.do(e, n, func(ctx context.Context) error {
		listed := map[registry.Number]bool{}
		for q := (registry.VersionQuery{Limit: limit, Deleted: e.deleted}); ; {
			page, err := n.Versions(ctx, s.tenant, s.model, q)
			if err != nil {
				return err
			}
			for _, v := range page.Versions {
				listed[v.Version] = v.State == registry.StateDeleted
			}
			if q.Before = page.Next; q.Before == 0 {
				e.listed = listed
				return nil
			}
		}
	})
}

func (c *client) delete(n *node, s series) {
	e := c.event(opDelete, s)
	d := registry.Deletion{By: e.id}
	if c.coin(0.3) { // latest, with a guard at times
		if c.coin(0.5) {
			d.IfNumber = c.history.top(s)
		}
	} else {
		e.number = c.number(s)
	}
	c.do(e, n, func(ctx context.Context) error {
		v, err := n.DeleteVersion(ctx, s.ref(registry.Selector{Number: e.number}), d)
		if err == nil {
			e.got = v.Version
		}
		return err
	})
}

func (c *client) deleteModel(n *node, _ series) {
	e := c.event(opDeleteModel, spam)
	c.do(e, n, func(ctx context.Context) error {
		_, err := n.DeleteModel(ctx, spam.tenant, spam.model, registry.Deletion{By: e.id})
		return err
	})
}

// describe sets a tag that is the client's own, to a count.
// describe sets a tag of a version, or two of its tags at the same time.
func (c *client) describe(n *node, s series) {
	number := c.number(s)
	set := func(n *node, tag string) func() {
		e := c.event(opDescribe, s)
		e.number, e.tag = number, tag
		c.history.begin(e)
		return func() {
			c.finish(e, n, func(ctx context.Context) error {
				v, err := n.UpdateVersion(ctx, s.ref(registry.Selector{Number: number}), e.change())
				if err == nil {
					e.got = v.Version
				}
				return err
			})
		}
	}
	sets := []func(){set(n, c.tag())}
	if c.coin(0.5) {
		sets = append(sets, set(c.pick(c.random), c.tag()+"-too"))
	}
	together(sets...)
}

// together does all of it at the same time.
func together(work ...func()) {
	var all sync.WaitGroup
	for _, f := range work {
		all.Go(f)
	}
	all.Wait()
}

func (c *client) describeModel(n *node, s series) {
	e := c.event(opModel, s)
	e.tag = c.tag()
	c.do(e, n, func(ctx context.Context) error {
		_, err := n.UpdateModel(ctx, s.tenant, s.model, e.change())
		return err
	})
}

// tag is one that nobody else sets.
func (c *client) tag() string { return fmt.Sprintf("client-%d", c.index) }

func (e *event) change() registry.Change {
	return registry.Change{Tags: map[string]*string{e.tag: &e.id}, By: e.id}
}

// browse reads what is made of many models. Its answers are held against nothing but
// that damage is none of them.
func (c *client) browse(n *node, s series) {
	e := c.event(opBrowse, s)
	c.do(e, n, func(ctx context.Context) error {
		if _, err := n.AllModels(ctx, registry.AllModelsQuery{Latest: true, Limit: 2}); err != nil {
			return err
		}
		_, err := n.Tenants(ctx, registry.TenantQuery{})
		return err
	})
}
