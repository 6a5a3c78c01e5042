package detector_test

import (
	"cmp"
	"context"
	"flag"
	"hash/fnv"
	"sync/atomic"
	"testing"
	"time"

	"modelbucket/detector"
	"modelbucket/detector/forest"
	"modelbucket/registry"
	"modelbucket/registry/registrytest"
)

var simSeeds = flag.Int("sim.seeds", 10, "how many seeds TestSimulation runs")

// Nodes that remember versions and detectors never score with a wrong one, whatever goes
// wrong with their bucket: what was latest, when they last asked, is what they say that
// they scored with, and the scores are those of its bytes.
func TestSimulation(t *testing.T) {
	began := time.Now()
	s := simulated(t)
	scored, requests, calls := 0, 0, 0
	for seed := range uint64(*simSeeds) {
		r := registrytest.Run(t, seed, registrytest.Options{Artifact: s.artifact, Scoring: s.scoring})
		for _, v := range r.Violations {
			t.Errorf("seed %d: %s", seed, v)
		}
		scored += r.Scored
		requests += r.Requests
		calls += r.Calls
	}
	t.Logf("sim.seeds %d  sim.ops %d  sim.calls %d, scored %d  sim.wall %v", *simSeeds, requests, calls, scored, time.Since(began).Round(time.Second))
	if scored*50 < requests {
		t.Errorf("of %d requests only %d were scored: that proves little", requests, scored)
	}
}

// Nodes that break a rule of scoring are caught.
func TestSimulationCatches(t *testing.T) {
	s := simulated(t)
	type score func(ctx context.Context, ref registry.Ref) (registry.Number, string, time.Duration, error)
	for name, lie := range map[string]func(score) score{
		"old answers are called new": func(honest score) score {
			return func(ctx context.Context, ref registry.Ref) (registry.Number, string, time.Duration, error) {
				n, content, _, err := honest(ctx, ref)
				return n, content, 0, err
			}
		},
		"what scored before scores again": func(honest score) score {
			var last atomic.Value
			last.Store("")
			return func(ctx context.Context, ref registry.Ref) (registry.Number, string, time.Duration, error) {
				n, content, age, err := honest(ctx, ref)
				if err == nil {
					content = cmp.Or(last.Swap(content).(string), content)
				}
				return n, content, age, err
			}
		},
		"numbers are one too high": func(honest score) score {
			return func(ctx context.Context, ref registry.Ref) (registry.Number, string, time.Duration, error) {
				n, content, age, err := honest(ctx, ref)
				return n + 1, content, age, err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			scoring := func(r *registry.Registry) registrytest.Scoring {
				scoring := s.scoring(r)
				scoring.Score = lie(scoring.Score)
				return scoring
			}
			for seed := range uint64(40) {
				r := registrytest.Run(t, seed, registrytest.Options{Artifact: s.artifact, Scoring: scoring})
				if len(r.Violations) > 0 {
					t.Logf("seed %d: %s", seed, r.Violations[0].Check)
					return
				}
			}
			t.Error("not caught")
		})
	}
}

// simulation is what its nodes score with: a few detectors that one row tells apart.
type simulation struct {
	artifacts []registrytest.Artifact
	byScore   map[float64]string // contents
	bytes     int64              // in memory, of the largest
}

func simulated(t *testing.T) *simulation {
	s := &simulation{byScore: map[float64]string{}}
	for seed := range uint32(6) {
		p := forest.DefaultParams()
		p.Trees, p.RandomState = 3, seed
		trained := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{Parameters: &p})
		content := string(bytesOf(t, trained))
		s.artifacts = append(s.artifacts, registrytest.Artifact{Name: detector.ArtifactName, Content: content, Facts: trained.Facts()})
		s.byScore[scoreOf(trained.Detector)] = content
		s.bytes = max(s.bytes, trained.Detector.Bytes())
	}
	if len(s.byScore) != len(s.artifacts) {
		t.Fatalf("%d detectors have %d scores", len(s.artifacts), len(s.byScore))
	}
	return s
}

// artifact is what is saved under a name.
func (s *simulation) artifact(save string) registrytest.Artifact {
	h := fnv.New32a()
	h.Write([]byte(save))
	return s.artifacts[h.Sum32()%uint32(len(s.artifacts))]
}

// scoring is a node's pool, which has room for half of the detectors.
func (s *simulation) scoring(r *registry.Registry) registrytest.Scoring {
	pool := detector.NewPool(r, detector.PoolOptions{Bytes: 3 * s.bytes})
	resolver := detector.NewResolver(r, detector.ResolverOptions{})
	return registrytest.Scoring{
		Score: func(ctx context.Context, ref registry.Ref) (registry.Number, string, time.Duration, error) {
			v, age, err := resolver.Resolve(ctx, ref)
			if err != nil {
				return 0, "", 0, err
			}
			asked := time.Now().Add(-age)
			d, release, err := pool.Get(ctx, v)
			if err != nil {
				return 0, "", 0, err
			}
			defer release()
			return d.Version(), s.byScore[scoreOf(d)], time.Since(asked), nil
		},
		Close: func() {
			resolver.Close()
			pool.Close()
		},
	}
}

func scoreOf(d *detector.Detector) float64 {
	score := make([]float64, 1)
	d.Score(score, []float64{1500, 12, 0.25}[:d.Width()])
	return score[0]
}
