package forest_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"modelbucket/detector/forest"
	"modelbucket/detector/sklearn"
)

// The figures of the detector as a library, beside those of its peers on the same rows
// in the same run, in turn (README, "Measuring"):
//
//	MODELBUCKET_TEST_PYTHON=… go test ./detector/forest -run '^$' -bench Figures -benchtime 1x

// peerGroup are the peers that a Python has.
type peerGroup struct {
	names   []string
	ask     io.Writer
	answers *bufio.Reader
}

// startPeers runs testdata/peers.py. Without a Python there are no peers, and it says so.
func startPeers(b *testing.B, folder string) *peerGroup {
	b.Helper()
	program := os.Getenv("MODELBUCKET_TEST_PYTHON")
	if program == "" {
		fmt.Println("no peers: MODELBUCKET_TEST_PYTHON names no Python with scikit-learn")
		return &peerGroup{}
	}
	c := exec.Command(program, "testdata/peers.py", folder)
	c.Stderr = os.Stderr
	ask, err := c.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	answers, err := c.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		ask.Close()
		if err := c.Wait(); err != nil {
			b.Errorf("the peers: %v", err)
		}
	})
	p := &peerGroup{ask: ask, answers: bufio.NewReader(answers)}
	var there map[string]*string
	p.read(b, &there)
	for _, name := range slices.Sorted(maps.Keys(there)) {
		if there[name] == nil {
			fmt.Printf("peer %s is not installed\n", name)
			continue
		}
		fmt.Printf("peer %s: %s\n", name, *there[name])
		p.names = append(p.names, name)
	}
	return p
}

func (p *peerGroup) read(b *testing.B, to any) {
	b.Helper()
	line, err := p.answers.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, to)
	}
	if err != nil {
		b.Fatalf("the peers answer %q: %v", line, err)
	}
}

// question is what a peer is asked to do.
type question struct {
	Peer          string `json:"peer"`
	Do            string `json:"do"`
	Model         string `json:"model"`
	Rows          string `json:"rows"`
	Scores        string `json:"scores"` // which it should get
	Width         int    `json:"width"`
	N             int    `json:"n"`
	Threads       int    `json:"threads"`
	Contamination any    `json:"contamination"`
}

// figure is a line of the table.
type figure struct {
	name  string
	unit  string        // of the time: of one row, or of all
	per   int           // how many of them there are
	one   time.Duration // what the unit is
	ask   question
	peers []string // that can do it
	ours  func() error
	// calls is how often ours does it at once, since the clock is too coarse for one; 0
	// is once.
	calls int
}

// measure takes the times of peers and ours in turn, and reports the medians.
func (p *peerGroup) measure(b *testing.B, f figure) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(f.ask.Threads))
	const rounds = 5
	seconds, off := map[string][]float64{}, map[string]float64{}
	for b.Loop() {
		for range rounds {
			for _, peer := range f.peers {
				if !slices.Contains(p.names, peer) {
					continue
				}
				q := f.ask
				q.Peer = peer
				line, err := json.Marshal(q)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := p.ask.Write(append(line, '\n')); err != nil {
					b.Fatal(err)
				}
				var a struct {
					Seconds float64
					Worst   *float64
					Error   string
				}
				p.read(b, &a)
				if a.Error != "" {
					b.Logf("%s: %s", peer, a.Error)
					continue
				}
				if a.Worst != nil {
					off[peer] = *a.Worst
				}
				seconds[peer] = append(seconds[peer], a.Seconds)
			}
			seconds["ours"] = append(seconds["ours"], timed(b, f.ours)/float64(max(1, f.calls)))
		}
	}
	median := func(name string) float64 {
		slices.Sort(seconds[name])
		return seconds[name][len(seconds[name])/2] / float64(f.per) / f.one.Seconds()
	}
	b.ReportMetric(0, "ns/op")
	ours := median("ours")
	b.ReportMetric(ours, f.unit)
	for _, peer := range f.peers {
		if len(seconds[peer]) > 0 {
			b.ReportMetric(median(peer), peer+"-"+f.unit)
			b.ReportMetric(median(peer)/ours, "x-"+peer)
		}
		if worst, ok := off[peer]; ok {
			fmt.Printf("%s: scores of %s differ from ours by %.2g at most\n", f.name, peer, worst)
		}
	}
	if off["scikit-learn"] > 1e-12 {
		b.Error("our scores are not scikit-learn's")
	}
}

// timed is the median, in seconds, of the calls made in a fifth of a second.
func timed(b *testing.B, f func() error) float64 {
	b.Helper()
	var calls []time.Duration
	for began := time.Now(); len(calls) == 0 || time.Since(began) < 200*time.Millisecond; {
		began := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		calls = append(calls, time.Since(began))
	}
	slices.Sort(calls)
	return calls[len(calls)/2].Seconds()
}

// subject is a detector that everybody scores with, and the rows.
type subject struct {
	x        []float64
	width    int
	file     []byte // as joblib wrote it
	name     string
	compiled *forest.Compiled
	tables   *forest.Tables
}

// newSubject trains on 20,000 events and writes what the peers read to folder.
func newSubject(b *testing.B, folder, name string, width, rows int) *subject {
	b.Helper()
	s := &subject{x: heavyTailed(rows, width), width: width, name: name}
	const n = 20_000
	scaler, err := forest.FitScaler(s.x[:n*width], n, width, forest.Pairwise)
	if err != nil {
		b.Fatal(err)
	}
	z := make([]float64, n*width)
	scaler.Transform(z, s.x[:n*width])
	params := forest.DefaultParams()
	f, _, err := forest.Fit(b.Context(), z, n, width, params)
	if err != nil {
		b.Fatal(err)
	}
	var file bytes.Buffer
	if err := sklearn.Write(&file, &sklearn.Pipeline{Scaler: scaler, Forest: f, Params: &params}, sklearn.WriteOptions{}); err != nil {
		b.Fatal(err)
	}
	s.file = file.Bytes()
	s.compiled, s.tables = s.ready(b)
	scores := make([]float64, rows)
	s.tables.DecisionFunction(scores, s.x)
	for ending, data := range map[string]any{".joblib": s.file, ".rows": s.x, ".scores": scores} {
		var b2 bytes.Buffer
		if err := binary.Write(&b2, binary.LittleEndian, data); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name+ending), b2.Bytes(), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

// ready reads the file.
func (s *subject) ready(b *testing.B) (*forest.Compiled, *forest.Tables) {
	b.Helper()
	c, err := s.load()
	if err != nil {
		b.Fatal(err)
	}
	plan, ok := c.PlanTables()
	if !ok {
		b.Fatal("no tables")
	}
	return c, plan.Build()
}

func (s *subject) load() (*forest.Compiled, error) {
	p, err := sklearn.Read(bytes.NewReader(s.file), 64<<20)
	if err != nil {
		return nil, err
	}
	return forest.Compile(p.Forest, p.Scaler)
}

func (s *subject) question(do string, n, threads int) question {
	return question{Do: do, Model: s.name + ".joblib", Rows: s.name + ".rows", Scores: s.name + ".scores", Width: s.width, N: n, Threads: threads}
}

// score is the figure of scoring n rows at a time. A single row goes through the nodes, as
// in a detector; each is another one.
func (s *subject) score(name string, n, threads int) figure {
	var scorer scorer = s.tables
	if n == 1 {
		scorer = s.compiled
	}
	calls := max(1, 1000/n)
	scores, at := make([]float64, n), 0
	return figure{
		calls: calls,
		name:  name, unit: "ns/row", per: n, one: time.Nanosecond, ask: s.question("score", n, threads),
		peers: []string{"scikit-learn", "onnxruntime", "isotree", "compiled-C"},
		ours: func() error {
			for range calls {
				if at += n * s.width; at+n*s.width > len(s.x) {
					at = 0
				}
				scorer.DecisionFunction(scores, s.x[at:at+n*s.width])
			}
			return nil
		},
	}
}

// fit is the figure of training on n rows on one processor, scaler included.
func (s *subject) fit(b *testing.B, name string, n int, contamination float64) figure {
	params := forest.DefaultParams()
	params.Contamination = contamination
	q := s.question("fit", n, 1)
	peers := []string{"scikit-learn"}
	if q.Contamination = contamination; contamination == 0 {
		q.Contamination = "auto"
		peers = append(peers, "isotree") // which has no contamination
	}
	return figure{
		name: name, unit: "ms", per: 1, one: time.Millisecond, ask: q, peers: peers,
		ours: func() error {
			x := s.x[:n*s.width]
			scaler, err := forest.FitScaler(x, n, s.width, forest.Pairwise)
			if err != nil {
				return err
			}
			z := make([]float64, len(x))
			scaler.Transform(z, x)
			_, _, err = forest.Fit(b.Context(), z, n, s.width, params)
			return err
		},
	}
}

// BenchmarkFigures: 100 trees of 256 samples.
func BenchmarkFigures(b *testing.B) {
	folder := b.TempDir()
	three := newSubject(b, folder, "three", 3, 1_000_000)
	ten := newSubject(b, folder, "ten", 10, 100_000)
	score := make([]float64, 1)
	figures := []figure{
		three.score("score/1x3", 1, 1),
		three.score("score/1000x3", 1000, 1),
		three.score("score/100000x3", 100_000, 1),
		three.score("score/100000x3/processors=2", 100_000, 2),
		ten.score("score/100000x10", 100_000, 1),
		three.fit(b, "fit/100000x3/contamination=auto", 100_000, 0),
		three.fit(b, "fit/100000x3/contamination=0.1", 100_000, 0.1),
		three.fit(b, "fit/1000000x3/contamination=0.1", 1_000_000, 0.1),
		{
			name: "read-joblib-and-score", unit: "ms", per: 1, one: time.Millisecond, ask: three.question("load", 1, 1), peers: []string{"scikit-learn"},
			ours: func() error {
				c, err := three.load()
				if err == nil {
					c.DecisionFunction(score, three.x[:3])
				}
				return err
			},
		},
	}
	peers := startPeers(b, folder)
	fmt.Printf("a loaded detector takes %.1f kB, its tables %.1f kB; the file has %.1f kB\n",
		float64(three.compiled.Bytes())/1000, float64(three.tables.Bytes())/1000, float64(len(three.file))/1000)
	for _, f := range figures {
		b.Run(f.name, func(b *testing.B) { peers.measure(b, f) })
	}
}
