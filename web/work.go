package web

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"modelbucket/detector"
	"modelbucket/registry"
)

// What a node can take on at once is bounded, so that a storm of requests is refused
// (429 where it is the tenant's own, 503 where it is that of all) before memory grows.
// The bounds are shared fairly among tenants; see detector.Gate.

// workBytes is the memory for requests under way where Options say nothing.
const workBytes = 1 << 30

// The time that a request waits for its turn before it is refused.
const (
	workWait  = 10 * time.Second
	trainWait = time.Minute
)

// The memory that is counted for a request, in bytes.
const (
	streamWeight = 128 << 10 // a stream of events, or a body of which nothing has come yet
	uploadWeight = 32 << 20  // an upload, or less where the whole body is smaller
	pieceWeight  = 8 << 20   // a file that is read: its pieces are verified one by one
	pageWeight   = 16 << 20  // a page of a list, and the answer with it
	largeAnswer  = 256 << 10 // a document that counts: smaller ones are many callers' connections
	growth       = 1 << 20   // steps in which more is asked for
	answerFactor = 6         // bytes for each of a body of events: an answer is longer than its events
	light        = 64 << 10  // a body of events up to here is judged in one go
)

// manyUploads are more than a node can have connections for.
const manyUploads = 1 << 20

// works are the gates of a server.
type works struct {
	calls     *detector.Gate // requests that read and change names: counted
	uploading *detector.Gate // uploads: counted
	uploads   *detector.Gate // bytes
	training  *detector.Gate // bytes of events that are trained on
	events    *detector.Gate // bytes of events that are judged, and of the answers
	downloads *detector.Gate // bytes of files and of large documents that are read
	fits      *detector.Gate // trainings that compute
	turns     *detector.Gate // small bodies of events that are computed on
	heavy     *detector.Gate // large ones: one processor is left to all else
}

// newWorks makes the gates. uploads is how many uploads a tenant may have at once;
// negative: any number.
func newWorks(bytes int64, uploads func(registry.Tenant) int64) *works {
	gate := func(work string, capacity int64, queue int, wait time.Duration) *detector.Gate {
		return detector.NewGate(detector.GateOptions{Work: work, Capacity: capacity, Queue: queue, Wait: wait})
	}
	processors := int64(runtime.GOMAXPROCS(0))
	return &works{
		calls:     gate("requests", 1024, 512, workWait),
		uploading: detector.NewGate(detector.GateOptions{Work: "uploads", Capacity: manyUploads, Queue: 64, Wait: workWait, Share: uploads}),
		uploads:   gate("uploads", bytes/4, 64, workWait),
		training:  gate("trainings", bytes/4, 64, workWait),
		events:    gate("bodies of events", bytes/4, 1024, workWait),
		downloads: gate("files and large answers", bytes/4, 256, workWait),
		fits:      gate("trainings", max(1, processors-1), 64, trainWait),
		turns:     gate("events to be judged", 2*processors, 1024, workWait),
		heavy:     gate("large bodies of events", max(1, processors-1), 256, workWait),
	}
}

// observeWorks shows what the gates hold.
func (m *Metrics) observeWorks(w *works) {
	for name, g := range map[string]*detector.Gate{
		"calls": w.calls, "uploading": w.uploading, "uploads": w.uploads, "training": w.training, "events": w.events,
		"downloads": w.downloads, "fits": w.fits, "turns": w.turns, "heavy": w.heavy,
	} {
		for _, figure := range []struct {
			name, help string
			value      func(detector.GateStats) float64
		}{
			{"held", "What requests under way hold of what there is for their kind of work: bytes, or a count.", func(s detector.GateStats) float64 { return float64(s.Held) }},
			{"capacity", "What there is for a kind of work: bytes, or a count.", func(s detector.GateStats) float64 { return float64(s.Capacity) }},
			{"waiting", "Requests that wait for their turn.", func(s detector.GateStats) float64 { return float64(s.Waiting) }},
		} {
			m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "modelbucket_work_" + figure.name, Help: figure.help, ConstLabels: prometheus.Labels{"work": name},
			}, func() float64 { return figure.value(g.Stats()) }))
		}
	}
}

// holding is what a request holds of a gate.
type holding struct {
	gate   *detector.Gate
	tenant registry.Tenant
	weight int64
}

// enter lets a request in to one kind of work. The caller calls leave at its end.
func (c *call) enter(g *detector.Gate, weight int64) (*holding, error) {
	return c.enterFor(c.worker(), g, weight)
}

// enterFor counts the work for a tenant in which the caller may do it.
func (c *call) enterFor(t registry.Tenant, g *detector.Gate, weight int64) (*holding, error) {
	h := &holding{g, t, g.Weigh(weight)}
	if err := g.Enter(c.r.Context(), h.tenant, h.weight); err != nil {
		return nil, err
	}
	return h, nil
}

// worker is the tenant for which a request is counted: the one that it names, if the
// caller belongs there; else his own, or the default. Nobody is counted for a tenant that
// is not his; "" is that of all who belong nowhere.
func (c *call) worker() registry.Tenant {
	if t := cmp.Or(c.tenant, c.home()); c.who.belongs(t) {
		return t
	}
	return c.who.only()
}

func (h *holding) leave() { h.gate.Leave(h.tenant, h.weight) }

// reach makes the weight at least this, at once or not at all.
func (h *holding) reach(weight int64) error {
	weight = h.gate.Weigh(weight)
	if weight <= h.weight {
		return nil
	}
	more := h.gate.Weigh(max(weight-h.weight, growth)+h.weight) - h.weight
	if err := h.gate.Grow(h.tenant, more); err != nil {
		return err
	}
	h.weight += more
	return nil
}

// hold counts memory for what is read and answered with, until letGo.
func (c *call) hold(weight int64) (err error) {
	if c.held == nil {
		c.held, err = c.enter(c.reads, weight)
		return err
	}
	return c.held.reach(weight)
}

func (c *call) letGo() {
	if c.held != nil {
		c.held.leave()
	}
}

// enterBody lets a request in that holds factor times its body in memory: as much as is
// announced, or what comes.
func (c *call) enterBody(g *detector.Gate, factor int64) (*holding, error) {
	return c.enter(g, max(streamWeight, factor*c.r.ContentLength))
}

// heldBody is the body of a request that keeps factor bytes in memory for each of it.
func (c *call) heldBody(limit int64, held *holding, factor int64) *requestBody {
	body := c.body(limit)
	body.held, body.factor = held, factor
	return body
}

// turn is a request's turn to compute. It is held while bytes are worked on, and given
// up while the caller is waited for: who is slow holds nobody up.
type turn struct {
	c      *call
	gate   *detector.Gate
	tenant registry.Tenant
	held   atomic.Bool // a turn that was lent is given back from elsewhere
	timer  *time.Timer // … by this
}

func (t *turn) take() error {
	if t.held.Load() {
		return nil
	}
	if err := t.gate.Enter(t.c.r.Context(), t.tenant, 1); err != nil {
		return fmt.Errorf("wait for a processor: %w", err)
	}
	t.held.Store(true)
	return nil
}

// lendTime is for how long a turn is lent to who takes in a file: what he does then with
// bytes that have come, digest and store them, may also be to wait for the store.
const lendTime = 5 * time.Millisecond

// lend takes the turn for no longer than lendTime.
func (t *turn) lend() error {
	if err := t.take(); err != nil {
		return err
	}
	if t.timer == nil {
		t.timer = time.AfterFunc(lendTime, t.leave)
	} else {
		t.timer.Reset(lendTime)
	}
	return nil
}

func (t *turn) give() {
	if t.timer != nil {
		t.timer.Stop()
	}
	t.leave()
}

func (t *turn) leave() {
	if t.held.CompareAndSwap(true, false) {
		t.gate.Leave(t.tenant, 1)
	}
}

// turn is not held yet: the body's first bytes take it.
func (s *Server) turn(c *call, whole bool) *turn {
	if length := c.r.ContentLength; whole && length >= 0 && length <= light {
		return &turn{c: c, gate: s.works.turns, tenant: c.worker()}
	}
	return &turn{c: c, gate: s.works.heavy, tenant: c.worker()}
}

// turnBody is a body that is read without the turn and worked on with it.
type turnBody struct {
	body io.Reader
	turn *turn
	lent bool  // held for lendTime only, and not for what follows the body's end
	left int64 // of an announced length; negative: not known

	request *requestBody // of an upload: body itself
}

func (t *turn) body(body io.Reader) *turnBody {
	return &turnBody{body: body, turn: t, left: t.c.r.ContentLength}
}

// lentBody is the body of an upload: its bytes are digested one upload after another,
// so that they leave a processor to those who ask for little.
func (s *Server) lentBody(c *call, limit int64) *turnBody {
	request := c.body(limit)
	body := s.turn(c, false).body(request)
	body.lent, body.request = true, request
	return body
}

func (b *turnBody) Read(p []byte) (int, error) {
	if b.left != 0 { // else its end is there already
		b.turn.give()
	}
	n, err := b.body.Read(p)
	b.left -= int64(n)
	if err != nil && (b.lent || err != io.EOF) {
		return n, err
	}
	hold := b.turn.take
	if b.lent {
		hold = b.turn.lend
	}
	if err := hold(); err != nil {
		return 0, err
	}
	return n, err
}
