package web_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelbucket/blob"
	"modelbucket/registry"
)

// events makes network events, the last of which is far from all others.
func events(n int) []map[string]any {
	random := rand.New(rand.NewPCG(7, 7))
	list := make([]map[string]any, n)
	for i := range list {
		list[i] = map[string]any{
			"bytes_transferred": 1000 + random.IntN(500), "packet_count": 10 + random.IntN(5), "connection_duration": random.Float64(), "source_ip": "10.0.0.1",
		}
	}
	list[n-1] = map[string]any{"bytes_transferred": 98_000_000, "packet_count": 90_000, "connection_duration": 700.5}
	return list
}

func toJSON(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// trained has one detector, acme/fraud:1.
func trained(t testing.TB) *node {
	t.Helper()
	n := serve(t, nil)
	body := toJSON(t, map[string]any{"network_data": events(300), "label": "v1.0", "aliases": []string{"champion"}, "parameters": map[string]any{"n_estimators": 50}})
	answer := n.json("POST", fraud+"/train", body)
	var v registry.Version
	answer.must(t, http.StatusCreated, &v)
	if answer.Header.Get("Location") != fraud+"/versions/1" || v.ModelType == nil || *v.ModelType != "Pipeline" || len(v.Aliases) != 1 {
		t.Fatalf("trained %s: %s", answer.Header.Get("Location"), answer.body)
	}
	return n
}

type result struct {
	Index    int             `json:"index"`
	Anomaly  bool            `json:"is_anomaly"`
	Score    float64         `json:"anomaly_score"`
	Level    string          `json:"threat_level"`
	Original json.RawMessage `json:"original_data"`
	Error    *struct {
		Code, Detail string
	} `json:"error"`
}

type answer struct {
	Tenant  string         `json:"tenant"`
	Model   string         `json:"model"`
	Version int            `json:"version"`
	ID      string         `json:"id"`
	Results []result       `json:"results"`
	Events  int            `json:"events"`
	Failed  int            `json:"failed"`
	Missing map[string]int `json:"missing"`
}

func TestTrainTellsWhatItMade(t *testing.T) {
	n := trained(t)
	var v struct {
		Detector struct {
			Features  []string `json:"features"`
			Trees     int      `json:"trees"`
			Reachable []string `json:"reachable_levels"`
			Training  struct {
				Samples int    `json:"training_samples"`
				Hash    string `json:"training_data_hash"`
			} `json:"training"`
		} `json:"detector"`
		Params map[string]any `json:"model_params"`
	}
	n.get(fraud+"/versions/v1.0").must(t, 200, &v)
	if diff := cmp.Diff([]string{"bytes_transferred", "packet_count", "connection_duration"}, v.Detector.Features); diff != "" {
		t.Error(diff)
	}
	if v.Detector.Trees != 50 || v.Detector.Training.Samples != 300 || len(v.Detector.Training.Hash) != 32 || len(v.Detector.Reachable) == 0 || len(v.Params) == 0 {
		t.Errorf("version says %+v", v)
	}
}

// The same events make the same answers in each form in which they can be sent.
func TestDetectFormsAgree(t *testing.T) {
	n := trained(t)
	list := events(300)[290:]
	var rows [][]any
	lines, csv := "", "packet_count,bytes_transferred,connection_duration\n"
	for _, e := range list {
		rows = append(rows, []any{e["bytes_transferred"], e["packet_count"], e["connection_duration"]})
		lines += toJSON(t, e) + "\n"
		csv += fmt.Sprintf("%v,%v,%v\n", e["packet_count"], e["bytes_transferred"], e["connection_duration"])
	}
	path := fraud + "/versions/@champion/detect"
	var first answer
	got := n.json("POST", path, toJSON(t, list)).must(t, 200, &first)
	if got.Header.Get("Modelbucket-Version") != "1" || first.Tenant != "acme" || first.Model != "fraud" || first.Version != 1 || first.ID == "" || first.Events != 10 || first.Failed != 0 {
		t.Errorf("answer is %s", got.body)
	}
	for i, r := range first.Results {
		if r.Index != i || r.Anomaly != (r.Score < 0) || r.Error != nil || r.Original != nil || (r.Level == "low") == r.Anomaly {
			t.Errorf("result %d is %+v", i, r)
		}
	}
	if last := first.Results[9]; !last.Anomaly {
		t.Errorf("the event that is far from all others is %+v", last)
	}
	for name, send := range map[string]func() []result{
		"network_data": func() []result {
			var a answer
			n.json("POST", path, toJSON(t, map[string]any{"network_data": list})).must(t, 200, &a)
			return a.Results
		},
		"rows": func() []result {
			var a answer
			n.json("POST", path, toJSON(t, map[string]any{"rows": rows})).must(t, 200, &a)
			return a.Results
		},
		"latest of the model": func() []result {
			var a answer
			n.json("POST", fraud+"/detect", toJSON(t, list)).must(t, 200, &a)
			return a.Results
		},
		"CSV": func() []result {
			var a answer
			n.do("POST", path, strings.NewReader(csv), "Content-Type", "text/csv").must(t, 200, &a)
			return a.Results
		},
		"NDJSON": func() []result {
			r := n.do("POST", path, strings.NewReader(lines), "Content-Type", "application/x-ndjson").must(t, 200, nil)
			return stream(t, r.body)
		},
		"CSV as a stream": func() []result {
			r := n.do("POST", path, strings.NewReader(csv), "Content-Type", "text/csv", "Accept", "application/x-ndjson").must(t, 200, nil)
			return stream(t, r.body)
		},
	} {
		if diff := cmp.Diff(first.Results, send()); diff != "" {
			t.Errorf("%s (-array +this):\n%s", name, diff)
		}
	}
}

// stream takes an answer in lines apart; its last line has to be the summary.
func stream(t *testing.T, body []byte) (results []result) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
	for i, line := range lines {
		var r struct {
			result
			Summary *struct{ Events, Failed, Version int } `json:"summary"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("line %d is %s: %v", i, line, err)
		}
		if i < len(lines)-1 {
			results = append(results, r.result)
		} else if r.Summary == nil || r.Summary.Events != len(results) || r.Summary.Version != 1 {
			t.Fatalf("the last line is %s, after %d results", line, len(results))
		}
	}
	return results
}

func TestDetectCountsAndEchoes(t *testing.T) {
	n := trained(t)
	body := `[{"bytes_transferred":1024,"packet_count":null,"x":"é\u00e9"},{"bytes_transferred":"1024"},{"packet_count":12,"connection_duration":1},{}]`
	var a answer
	got := n.json("POST", fraud+"/detect?include=original_data", body).must(t, 200, &a)
	if a.Events != 4 || a.Failed != 2 {
		t.Errorf("counted %d events, %d failed", a.Events, a.Failed)
	}
	if diff := cmp.Diff(map[string]int{"packet_count": 1, "connection_duration": 1, "bytes_transferred": 1}, a.Missing); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	if !strings.Contains(string(got.body), `"original_data":{"bytes_transferred":1024,"packet_count":null,"x":"é\u00e9"}`) {
		t.Errorf("the event did not come back as it was: %s", got.body)
	}
	for i, want := range []string{"", "must be a number", "", "none of the features"} {
		if want == "" {
			if a.Results[i].Error != nil {
				t.Errorf("event %d: %+v", i, a.Results[i].Error)
			}
			continue
		}
		if e := a.Results[i].Error; e == nil || e.Code != "bad_event" || !strings.Contains(e.Detail, want) {
			t.Errorf("event %d: %+v, want …%s…", i, e, want)
		}
	}
	got = n.json("POST", fraud+"/detect?explain=1", body).must(t, 200, nil)
	if n := strings.Count(string(got.body), `"explanation":{"base":`); n != 2 {
		t.Errorf("%d of 2 scores are explained: %s", n, got.body)
	}
	p := n.json("POST", fraud+"/detect?strict=1", body).problem(t)
	if p.Code != "bad_request" || !strings.Contains(p.Detail, "event 1") && !strings.Contains(p.Detail, "must be a number") {
		t.Errorf("strict: %+v", p)
	}
}

func TestDetectRefuses(t *testing.T) {
	n := trained(t)
	n.publish("opaque", "?filename=notes.txt", "no model at all")
	many := "[" + strings.Repeat("{},", 100_000) + "{}]"
	path := fraud + "/detect"
	for _, row := range []bad{
		{"no type", "POST", path, "[]", []string{"Content-Type", ""}, 415, "unsupported_media_type", `""`, "text/csv"},
		{"curl's own type", "POST", path, "[]", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported_media_type", "urlencoded", "application/json"},
		{"a number", "POST", path, "7", jsonHeader(), 400, "bad_request", "a number", "network_data"},
		{"cut off", "POST", path, `[{"a":1}`, jsonHeader(), 400, "bad_request", "ends too early", ""},
		{"key twice", "POST", path, `[{"packet_count":1,"packet_count":2}]`, jsonHeader(), 400, "bad_request", "twice", ""},
		{"other members", "POST", path, `{"network_data":[],"version":7}`, jsonHeader(), 400, "bad_request", `unknown field "version"`, "query"},
		{"no events in it", "POST", path, `{"events":[]}`, jsonHeader(), 400, "bad_request", "without", "network_data"},
		{"include of what is not", "POST", path + "?include=all", `[]`, jsonHeader(), 400, "bad_request", `include is "all"`, "original_data"},
		{"strict of what is not", "POST", path + "?strict=yes", `[]`, jsonHeader(), 400, "bad_request", `strict is "yes"`, "1 or 0"},
		{"too many events", "POST", path, many, jsonHeader(), 413, "too_large", "more than 100000 events", "application/x-ndjson"},
		{"too large", "POST", path, "[" + strings.Repeat(" ", 32<<20) + "]", jsonHeader(), 413, "too_large", "33554432", "application/x-ndjson"},
		{"no detector", "POST", "/v1/tenants/acme/models/opaque/detect", `[]`, jsonHeader(), 422, "not_a_detector", "isolation forest", "scikit-learn"},
		{"load no detector", "POST", "/v1/tenants/acme/models/opaque/versions/1/load", "", nil, 422, "not_a_detector", "", ""},
		{"no version", "POST", fraud + "/versions/9/detect", `[]`, jsonHeader(), 404, "version_not_found", "no version 9", ""},
		{"first line malformed", "POST", path, "{", []string{"Content-Type", "application/x-ndjson"}, 400, "bad_request", "line 1", ""},

		{"train on nothing", "POST", fraud + "/train", `[]`, jsonHeader(), 400, "bad_request", "at least one", ""},
		{"train on a string", "POST", fraud + "/train", `[{"packet_count":"x"}]`, jsonHeader(), 400, "bad_request", "event 0", "must be a number"},
		{"train with an unknown field", "POST", fraud + "/train", `{"network_data":[{"packet_count":1}],"trees":5}`, jsonHeader(), 400, "bad_request", `unknown field "/trees"`, ""},
		{"train with an unknown parameter", "POST", fraud + "/train", `{"network_data":[{"packet_count":1}],"parameters":{"trees":5}}`, jsonHeader(), 400, "bad_request", `no parameter "trees"`, "n_estimators"},
		{"train with too many trees", "POST", fraud + "/train", `{"network_data":[{"packet_count":1}],"parameters":{"n_estimators":1000000}}`, jsonHeader(), 400, "bad_request", "n_estimators", "integer from 1"},
		{"train with contamination 2", "POST", fraud + "/train?contamination=2", "packet_count\n1\n", []string{"Content-Type", "text/csv"}, 400, "bad_request", "contamination", "at most 0.5"},
		{"train with other levels", "POST", fraud + "/train", `{"network_data":[{"packet_count":1}],"threat_levels":"hard"}`, jsonHeader(), 400, "bad_request", "threat_levels", "calibrated"},
		{"train to a label that is taken", "POST", fraud + "/train", `{"network_data":[{"packet_count":1}],"label":"v1.0"}`, jsonHeader(), 409, "label_taken", "v1.0", ""},
		{"train with body and query", "POST", fraud + "/train?label=x", `{"network_data":[{"packet_count":1}],"label":"y"}`, jsonHeader(), 400, "bad_request", "both", "label=x"},
		{"features of what is no detector", "POST", fraud + "/versions?features=a", "x", nil, 400, "bad_request", "no detector", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			n := &node{t: t, url: n.url}
			answer := n.do(row.method, row.path, strings.NewReader(row.body), row.headers...)
			p := answer.problem(t)
			if answer.StatusCode != row.status || p.Code != row.code || !strings.Contains(p.Detail, row.says) || !strings.Contains(p.Hint+p.Detail, row.hint) {
				t.Errorf("status %d: %s\nwant %d %s, …%s…, hint …%s…", answer.StatusCode, answer.body, row.status, row.code, row.says, row.hint)
			}
		})
	}
	if got := n.get(fraud + "/versions?deleted=1"); strings.Count(string(got.body), `"version":`) != 1 {
		t.Errorf("versions are %s", got.body)
	}
}

// A stream is answered while it is sent: each event before the next one goes out.
func TestDetectStreamAnswersAsItGoes(t *testing.T) {
	n := trained(t)
	conn := n.dial()
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s/detect HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n", fraud, token)
	send := func(text string) { fmt.Fprintf(conn, "%x\r\n%s\r\n", len(text), text) }
	send(`{"packet_count":12}` + "\n")
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || answer.StatusCode != 200 {
		t.Fatalf("%v, %v", answer, err)
	}
	lines := bufio.NewReader(answer.Body)
	for i := range 5 {
		line, err := lines.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, fmt.Sprintf(`{"index":%d,"is_anomaly":`, i)) {
			t.Fatalf("answer %d is %q, %v", i, line, err)
		}
		if i < 4 {
			send(`{"packet_count":12}` + "\n")
		}
	}
	io.WriteString(conn, "0\r\n\r\n")
	rest, err := io.ReadAll(lines)
	if want := `{"summary":{"events":5,"failed":0,`; err != nil || !strings.HasPrefix(string(rest), want) {
		t.Errorf("the end is %q, %v", rest, err)
	}
}

// An error in the midst of a stream is a line that says so, and then a broken
// connection: no summary, so nobody takes it for whole.
func TestDetectStreamBreaksOff(t *testing.T) {
	n := trained(t)
	body := strings.Repeat(`{"packet_count":12}`+"\n", 300) + "{\n"
	r, err := http.NewRequestWithContext(t.Context(), "POST", n.url+fraud+"/detect", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/x-ndjson")
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != io.ErrUnexpectedEOF {
		t.Errorf("the answer ends with %v, want a broken connection", err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if last := lines[len(lines)-1]; len(lines) != 301 || !strings.Contains(last, `"error":{`) || !strings.Contains(last, `"code":"bad_request"`) || strings.Contains(last, "summary") {
		t.Errorf("%d lines, the last is %s", len(lines), last)
	}
}

// A detector that is loaded goes on scoring while the store is away, and the node stays
// ready for that.
func TestScoringWithoutTheStore(t *testing.T) {
	n := trained(t)
	one := `[{"packet_count":12}]`
	n.json("POST", fraud+"/detect", one).must(t, 200, nil)
	err := fmt.Errorf("list: %w", blob.ErrUnavailable)
	n.breakStore(err)
	n.json("POST", fraud+"/detect", one).must(t, 200, nil)
	if answer := n.get("/readyz"); answer.StatusCode != 200 || string(answer.body) != "ready\n" {
		t.Errorf("readyz: %d %q", answer.StatusCode, answer.body)
	}
	metrics := string(n.get("/metrics").must(t, 200, nil).body)
	for _, want := range []string{"modelbucket_bucket_up 0", "modelbucket_pool_detectors 1", "modelbucket_pool_loads_total 1", "modelbucket_pool_hits_total 1"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	n.json("POST", fraud+"/versions/1/verify", "").must(t, 503, nil)
}

func TestLoadAndUnload(t *testing.T) {
	n := trained(t)
	var loaded struct {
		Version  int
		Features []string
		Bytes    int64
	}
	n.do("POST", fraud+"/versions/latest/load", nil).must(t, 200, &loaded)
	if loaded.Version != 1 || len(loaded.Features) != 3 || loaded.Bytes == 0 {
		t.Errorf("loaded %+v", loaded)
	}
	var list struct {
		Detectors []struct {
			Tenant, Model string
			Version       int
		}
		Bytes, Budget int64
	}
	n.get("/v1/detectors").must(t, 200, &list)
	if len(list.Detectors) != 1 || list.Detectors[0].Model != "fraud" || list.Bytes != loaded.Bytes || list.Budget == 0 {
		t.Errorf("list is %+v", list)
	}
	for _, want := range []bool{true, false} {
		var gone struct{ Unloaded bool }
		n.do("POST", fraud+"/versions/v1.0/unload", nil).must(t, 200, &gone)
		if gone.Unloaded != want {
			t.Errorf("unloaded is %v, want %v", gone.Unloaded, want)
		}
	}
}

// What changes through this node is seen by the next request here, without waiting for
// what was remembered to grow old.
func TestChangesAreSeenAtOnce(t *testing.T) {
	n := trained(t)
	which := func(ref string) int {
		var a answer
		n.json("POST", fraud+"/versions/"+ref+"/detect", `[{"packet_count":12}]`).must(t, 200, &a)
		return a.Version
	}
	if got := which("latest"); got != 1 {
		t.Fatalf("latest is %d", got)
	}
	n.json("POST", fraud+"/train", toJSON(t, events(50))).must(t, 201, nil)
	if got := which("latest"); got != 2 {
		t.Errorf("after training: latest is %d", got)
	}
	n.json("PUT", fraud+"/aliases/champion", `{"version":2}`).must(t, 200, nil)
	if got := which("@champion"); got != 2 {
		t.Errorf("after moving: champion is %d", got)
	}
	n.json("PUT", fraud+"/aliases/champion", `{"version":1}`).must(t, 200, nil)
	n.do("DELETE", fraud+"/versions/latest", nil, "If-Match", `"2"`).must(t, 200, nil)
	if got := which("latest"); got != 1 {
		t.Errorf("after deleting: latest is %d", got)
	}
	n.json("POST", fraud+"/versions/2/detect", `[]`).must(t, 410, nil)
}

// A training repeated with its key makes no second version; CSV and query say the same
// as JSON.
func TestTrainFormsAndKeys(t *testing.T) {
	n := serve(t, nil)
	csv := "bytes_transferred,packet_count\n"
	for i := range 100 {
		csv += fmt.Sprintf("%d,%d\n", 1000+i*i%97, i%7)
	}
	path := fraud + "/train?label=v1&features=packet_count&features=bytes_transferred&n_estimators=10&contamination=auto&threat_levels=calibrated&alias=champion"
	var first, again registry.Version
	n.do("POST", path, strings.NewReader(csv), "Content-Type", "text/csv", "Idempotency-Key", "train-1").must(t, 201, &first)
	n.do("POST", path, strings.NewReader(csv), "Content-Type", "text/csv", "Idempotency-Key", "train-1").must(t, 201, &again)
	if first.ID != again.ID || first.Version != 1 {
		t.Errorf("first %s, again %s", first.ID, again.ID)
	}
	n.do("POST", path, strings.NewReader(csv+"1,1\n"), "Content-Type", "text/csv", "Idempotency-Key", "train-1").must(t, 422, nil)
	var record struct {
		Features []string
		Trees    int
		Levels   map[string]float64 `json:"threat_levels"`
	}
	if err := json.Unmarshal(first.Detector, &record); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"packet_count", "bytes_transferred"}, record.Features); diff != "" || record.Trees != 10 || record.Levels["critical"] == -0.5 {
		t.Errorf("record is %+v", record)
	}
	// The artifact comes back, is pushed as from elsewhere, and is recognised.
	file := n.get(fraud+"/versions/v1/files/model.joblib").must(t, 200, nil)
	var pushed registry.Version
	n.do("POST", "/v1/tenants/acme/models/pushed/versions", strings.NewReader(string(file.body))).must(t, 201, &pushed)
	if pushed.ModelType == nil || *pushed.ModelType != "Pipeline" || len(pushed.Detector) < 10 {
		t.Errorf("pushed %+v", pushed)
	}
	one := `[{"packet_count":3,"bytes_transferred":1017}]`
	a := n.json("POST", fraud+"/detect", one).must(t, 200, nil)
	b := n.json("POST", "/v1/tenants/acme/models/pushed/detect", one).must(t, 200, nil)
	score := func(body []byte) (s float64) {
		var x answer
		if err := json.Unmarshal(body, &x); err != nil {
			t.Fatal(err)
		}
		return x.Results[0].Score
	}
	if score(a.body) != score(b.body) {
		t.Errorf("scores differ: %s and %s", a.body, b.body)
	}
}

// BenchmarkDetect asks over one connection, as a security service would.
func BenchmarkDetect(b *testing.B) {
	n := trained(b)
	for _, count := range []int{1, 1000} {
		body := toJSON(b, events(1000)[1000-count:])
		b.Run(fmt.Sprintf("%d", count), func(b *testing.B) {
			n := &node{t: b, url: n.url}
			for b.Loop() {
				n.json("POST", fraud+"/detect", body).must(b, 200, nil)
			}
			b.ReportMetric(float64(count)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
