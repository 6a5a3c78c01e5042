package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"modelbucket/detector"
	"modelbucket/web/client"
)

func trainingEvents() string {
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, "{\"bytes_transferred\":%d,\"packet_count\":%d,\"connection_duration\":0.%d}\n", 1000+i*i%97, 10+i%7, i%10)
	}
	return b.String()
}

func train(t *testing.T, c *client.Client) {
	t.Helper()
	v, err := c.Train(t.Context(), client.Training{
		Tenant: "acme", Model: "fraud", Label: "v1", Features: []string{"packet_count", "bytes_transferred"},
		Parameters: map[string]string{"n_estimators": "20"}, ThreatLevels: "calibrated", Description: "of a test",
	}, client.BytesOf([]byte(trainingEvents()), detector.NDJSON))
	if err != nil {
		t.Fatal(err)
	}
	record, err := detector.ParseRecord(v.Detector)
	if err != nil || record.Trees != 20 || len(record.Features) != 2 || record.Training.Samples != 200 || v.Description != "of a test" {
		t.Fatalf("trained %+v: %+v, %v", v, record, err)
	}
}

func TestDetect(t *testing.T) {
	both(t, func(t *testing.T, c *client.Client) {
		train(t, c)
		body := `[{"packet_count":11,"bytes_transferred":1040},{"packet_count":"x"},{"packet_count":9000000}]`
		d, err := c.Detect(t.Context(), ref(t, "acme/fraud"), client.BytesOf([]byte(body), detector.JSON), client.DetectOptions{Original: true, Explain: true})
		if err != nil {
			t.Fatal(err)
		}
		if d.Version != 1 || d.Events != 3 || d.Failed != 1 || d.Missing["bytes_transferred"] != 1 || len(d.Results) != 3 {
			t.Errorf("answer %+v", d)
		}
		if r := d.Results[1]; r.Error == nil || r.Error.Code != "bad_event" || string(r.Original) != `{"packet_count":"x"}` {
			t.Errorf("the bad event: %+v", r)
		}
		if r := d.Results[2]; r.Error != nil || !r.Anomaly || r.Score >= 0 || r.Explanation.Contributions["packet_count"] >= 0 || r.Explanation.Base <= 0 {
			t.Errorf("the strange event: %+v", r)
		}
		_, err = c.Detect(t.Context(), ref(t, "acme/fraud"), client.BytesOf([]byte(body), detector.JSON), client.DetectOptions{Strict: true})
		if got := code(t, err); got != "bad_request" {
			t.Errorf("strict: %v", err)
		}
	})
}

// Each answer comes before the next event goes out.
func TestDetectStream(t *testing.T) {
	both(t, func(t *testing.T, c *client.Client) {
		train(t, c)
		from, to := io.Pipe()
		go io.WriteString(to, "{\"packet_count\":11}\n")
		answered := 0
		summary, err := c.DetectStream(t.Context(), ref(t, "acme/fraud"), client.ReaderOf(from, detector.NDJSON), client.DetectOptions{}, func(r *client.Result, line []byte) error {
			if r.Index != answered || r.Error != nil || !json.Valid(line) {
				t.Errorf("result %d is %s", answered, line)
			}
			if answered++; answered == 100 {
				return to.Close()
			}
			go io.WriteString(to, "{\"packet_count\":11}\n")
			return nil
		})
		if err != nil || answered != 100 || summary.Events != 100 || summary.Missing["bytes_transferred"] != 100 || summary.Version != 1 {
			t.Errorf("%d answers, summary %+v, %v", answered, summary, err)
		}
	})
}

func TestDetectStreamThatFails(t *testing.T) {
	both(t, func(t *testing.T, c *client.Client) {
		train(t, c)
		lines := strings.Repeat("{\"packet_count\":11}\n", 300)
		stream := func(body io.Reader, each func(*client.Result, []byte) error) error {
			summary, err := c.DetectStream(t.Context(), ref(t, "acme/fraud"), client.ReaderOf(body, detector.NDJSON), client.DetectOptions{Original: true}, each)
			if err == nil || summary != nil {
				t.Errorf("no error, and the summary %+v", summary)
			}
			return err
		}
		count := 0
		counting := func(r *client.Result, _ []byte) error {
			if string(r.Original) != `{"packet_count":11}` {
				t.Errorf("original is %s", r.Original)
			}
			count++
			return nil
		}
		if err := stream(strings.NewReader(lines+"no event\n"), counting); code(t, err) != "bad_request" || !strings.Contains(err.Error(), "line 301") {
			t.Errorf("malformed line: %v", err)
		}
		if count != 300 {
			t.Errorf("%d answers before the malformed line", count)
		}
		if err := stream(strings.NewReader("no event\n"), counting); code(t, err) != "bad_request" {
			t.Errorf("malformed first line: %v", err)
		}
		broken := errors.New("disk on fire")
		if err := stream(io.MultiReader(strings.NewReader(lines), &failing{broken}), counting); !errors.Is(err, broken) {
			t.Errorf("broken source: %v", err)
		}
		if err := stream(strings.NewReader(lines), func(*client.Result, []byte) error { return broken }); !errors.Is(err, broken) {
			t.Errorf("broken sink: %v", err)
		}
	})
}

func TestLoadAndUnload(t *testing.T) {
	both(t, func(t *testing.T, c *client.Client) {
		train(t, c)
		l, err := c.Load(t.Context(), ref(t, "acme/fraud:v1"))
		if err != nil || l.Version != 1 || l.Trees != 20 || l.Bytes == 0 || *l.Label != "v1" {
			t.Errorf("loaded %+v, %v", l, err)
		}
		m, err := c.Detectors(t.Context())
		if err != nil || len(m.Detectors) != 1 || m.Detectors[0].ID != l.ID || m.Bytes != l.Bytes {
			t.Errorf("memory %+v, %v", m, err)
		}
		for _, want := range []bool{true, false} {
			if got, err := c.Unload(t.Context(), ref(t, "acme/fraud")); err != nil || got != want {
				t.Errorf("unloaded %v, %v; want %v", got, err, want)
			}
		}
	})
}
