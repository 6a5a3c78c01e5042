package detector_test

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"modelbucket/blob"
	"modelbucket/detector"
	"modelbucket/detector/forest"
	"modelbucket/registry"
)

// events are n JSON events like those of the sample, and the same as CSV.
func events(b *testing.B, n int) (array, lines, csv string) {
	b.Helper()
	records := strings.Split(strings.TrimSpace(sample(b)), "\n")[1:]
	var objects, table strings.Builder
	table.WriteString("source_ip,bytes_transferred,packet_count,connection_duration\n")
	for i := range n {
		cells := strings.Split(records[i%len(records)], ",")
		if cells[4] == "" {
			cells[4] = "0"
		}
		fmt.Fprintf(&objects, `{"source_ip":%q,"bytes_transferred":%s,"packet_count":%s,"connection_duration":%s}`+"\n", cells[1], cells[2], cells[3], cells[4])
		table.WriteString(strings.Join(cells[1:5], ",") + "\n")
	}
	lines = objects.String()
	return "[" + strings.ReplaceAll(strings.TrimSpace(lines), "\n", ",") + "]", lines, table.String()
}

func perEvent(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/event")
}

// BenchmarkTrain trains the product's own detector on 20,000 events, body to artifact.
func BenchmarkTrain(b *testing.B) {
	const n = 20_000
	array, _, _ := events(b, n)
	params := forest.DefaultParams()
	for b.Loop() {
		if trained := mustTrain(b, array, detector.JSON, detector.TrainOptions{Parameters: &params}); trained.Size() == 0 {
			b.Fatal("no artifact")
		}
	}
	perEvent(b, n)
}

// BenchmarkCollect reads 20,000 events for training and digests them.
func BenchmarkCollect(b *testing.B) {
	const n = 20_000
	array, _, _ := events(b, n)
	for b.Loop() {
		set, err := detector.Collect(b.Context(), detector.NewReader(strings.NewReader(array), detector.JSON), detector.CollectOptions{})
		if err != nil || set.Samples != n {
			b.Fatal(err)
		}
	}
	perEvent(b, n)
}

func benchmarkDetector(b *testing.B) *detector.Detector {
	b.Helper()
	params := forest.DefaultParams()
	return mustTrain(b, sample(b), detector.CSV, detector.TrainOptions{Parameters: &params}).Detector
}

// BenchmarkScore scores 1,000 rows.
func BenchmarkScore(b *testing.B) {
	const n = 1000
	d := benchmarkDetector(b)
	x := make([]float64, n*d.Width())
	for i := range x {
		x[i] = float64(i * i % 5003)
	}
	scores := make([]float64, n)
	for b.Loop() {
		d.Score(scores, x)
	}
	perEvent(b, n)
}

// BenchmarkDecode reads 1,000 events, without scoring them.
func BenchmarkDecode(b *testing.B) {
	const n = 1000
	array, lines, csv := events(b, n)
	for format, body := range map[detector.Format]string{detector.JSON: array, detector.NDJSON: lines, detector.CSV: csv} {
		b.Run(format.String(), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				r := detector.NewReader(strings.NewReader(body), format)
				for {
					_, err := r.Next()
					if err == io.EOF {
						break
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			perEvent(b, n)
		})
	}
}

// BenchmarkScoreEvents takes 1,000 events from body to results in JSON.
func BenchmarkScoreEvents(b *testing.B) {
	const n = 1000
	d := benchmarkDetector(b)
	array, lines, csv := events(b, n)
	for format, body := range map[detector.Format]string{detector.JSON: array, detector.NDJSON: lines, detector.CSV: csv} {
		b.Run(format.String(), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			var answer []byte
			for b.Loop() {
				answer = answer[:0]
				summary, err := d.ScoreEvents(b.Context(), detector.NewReader(strings.NewReader(body), format), detector.ScoreOptions{}, func(results []detector.Result) error {
					for i := range results {
						answer = results[i].AppendJSON(answer)
					}
					return nil
				})
				if err != nil || summary.Failed > 0 {
					b.Fatalf("%+v: %v", summary, err)
				}
			}
			perEvent(b, n)
		})
	}
}

// BenchmarkPool loads 3,000 versions of the product's detector into 256 MiB, one after
// the other, from a bucket in memory.
func BenchmarkPool(b *testing.B) {
	const n = 3000
	params := forest.DefaultParams()
	// As many kinds of events as a network has: the few of the sample make small trees.
	random, rows := rand.New(rand.NewPCG(1, 2)), []byte("bytes_transferred,packet_count,connection_duration\n")
	for range 10_000 {
		rows = fmt.Appendf(rows, "%d,%d,%.3f\n", int(4000*math.Exp(2*random.NormFloat64())),
			1+int(12*math.Exp(1.5*random.NormFloat64())), math.Exp(random.NormFloat64()))
	}
	trained := mustTrain(b, string(rows), detector.CSV, detector.TrainOptions{Parameters: &params})
	r, err := registry.Open(b.Context(), blob.NewMemory(), registry.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close(b.Context())
	var versions []*registry.Version
	for range n {
		v, err := trained.Publish(b.Context(), r, registry.Publication{Tenant: tenant, Model: model, By: "test"})
		if err != nil {
			b.Fatal(err)
		}
		versions = append(versions, v)
	}
	for b.Loop() {
		began := time.Now()
		p := detector.NewPool(r, detector.PoolOptions{Bytes: 256 << 20})
		for _, v := range versions {
			_, release, err := p.Get(b.Context(), v)
			if err != nil {
				b.Fatal(err)
			}
			release()
		}
		stats := p.Stats()
		p.Close()
		if stats.Evictions > 0 || stats.Detectors != n {
			b.Errorf("%d detectors are there, %d had to go", stats.Detectors, stats.Evictions)
		}
		b.ReportMetric(float64(stats.Bytes)/n/1000, "kB/detector")
		b.ReportMetric(float64(time.Since(began).Microseconds())/n/1000, "ms/load")
	}
}
