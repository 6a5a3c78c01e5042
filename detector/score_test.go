package detector_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"modelbucket/detector"
	"modelbucket/detector/sklearn"
)

// scored is a result as a client reads it.
type scored struct {
	Index    int
	Anomaly  *bool           `json:"is_anomaly"`
	Score    *float64        `json:"anomaly_score"`
	Level    detector.Level  `json:"threat_level"`
	Original json.RawMessage `json:"original_data"`
	Error    *struct{ Code, Detail string }
	Why      *struct {
		Base          float64
		Contributions map[string]float64
	} `json:"explanation"`
}

// score scores a body and reads the results as a client does.
func score(t testing.TB, d *detector.Detector, body string, f detector.Format, o detector.ScoreOptions) ([]scored, detector.Summary, error) {
	t.Helper()
	var all []scored
	summary, err := d.ScoreEvents(t.Context(), detector.NewReader(strings.NewReader(body), f), o, func(results []detector.Result) error {
		for i := range results {
			var s scored
			text := results[i].AppendJSON(nil)
			if err := json.Unmarshal(text, &s); err != nil {
				t.Fatalf("the result %s: %v", text, err)
			}
			if s.Index != len(all) {
				t.Fatalf("result %d has the index %d", len(all), s.Index)
			}
			all = append(all, s)
		}
		return nil
	})
	return all, summary, err
}

// scoresOf scores events of which none is bad.
func scoresOf(t testing.TB, d *detector.Detector, body string, f detector.Format) []float64 {
	t.Helper()
	all, summary, err := score(t, d, body, f, detector.ScoreOptions{})
	if err != nil || summary.Failed != 0 {
		t.Fatalf("%d failed: %v", summary.Failed, err)
	}
	var scores []float64
	for _, s := range all {
		if *s.Anomaly != (*s.Score < 0) || s.Level != d.Levels().Level(*s.Score) || s.Original != nil {
			t.Fatalf("result %+v", s)
		}
		scores = append(scores, *s.Score)
	}
	return scores
}

// TestScoreEvents is what an event may be, and what comes of those that it may not be.
func TestScoreEvents(t *testing.T) {
	d := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{}).Detector
	row := make([]float64, 1)
	scoreOf := func(values ...float64) *float64 {
		d.Score(row, values)
		s := row[0]
		return &s
	}
	const full = `{"bytes_transferred":1024,"packet_count":10,"connection_duration":0.5}`
	bad := func(detail string) *struct{ Code, Detail string } {
		return &struct{ Code, Detail string }{"bad_event", detail}
	}
	for _, c := range []struct {
		name   string
		format detector.Format
		event  string
		want   scored
	}{
		{"all there", detector.JSON, full, scored{Score: scoreOf(1024, 10, 0.5)}},
		{"another order, and spaces", detector.JSON, ` { "connection_duration" : 5E-1 , "packet_count":10.0, "bytes_transferred" : 1024 } `, scored{Score: scoreOf(1024, 10, 0.5)}},
		{"names with escapes", detector.JSON, `{"\u0062ytes_transferred":1024,"packet\u005fcount":10,"connection_duration":0.5}`, scored{Score: scoreOf(1024, 10, 0.5)}},
		{"others are ignored", detector.JSON, `{"a":"x","bytes_transferred":1024,"b":{"packet_count":[7,"]}\""]},"packet_count":10,"c":[{}],"connection_duration":0.5,"Packet_Count":1e999}`, scored{Score: scoreOf(1024, 10, 0.5)}},
		{"one missing", detector.JSON, `{"bytes_transferred":1024,"connection_duration":0.5}`, scored{Score: scoreOf(1024, 0, 0.5)}},
		{"one null", detector.JSON, `{"bytes_transferred":1024,"packet_count":null,"connection_duration":0.5}`, scored{Score: scoreOf(1024, 0, 0.5)}},
		{"all null", detector.JSON, `{"bytes_transferred":null,"packet_count":null,"connection_duration":null}`, scored{Score: scoreOf(0, 0, 0)}},
		{"beyond 2^53", detector.JSON, `{"bytes_transferred":9007199254740993,"packet_count":-0,"connection_duration":1e308}`, scored{Score: scoreOf(9007199254740992, 0, 1e308)}},
		{"tiny", detector.JSON, `{"bytes_transferred":5e-324,"packet_count":1e-999,"connection_duration":-1}`, scored{Score: scoreOf(5e-324, 0, -1)}},
		{"none of the features", detector.JSON, `{"a":1}`, scored{Error: bad(`it has none of the features "bytes_transferred", "packet_count", "connection_duration"`)}},
		{"an empty object", detector.JSON, `{}`, scored{Error: bad(`it has none of the features "bytes_transferred", "packet_count", "connection_duration"`)}},
		{"a string", detector.JSON, `{"bytes_transferred":1,"packet_count":"10"}`, scored{Error: bad(`"packet_count" is a string; it must be a number`)}},
		{"a boolean", detector.JSON, `{"packet_count":true}`, scored{Error: bad(`"packet_count" is a boolean; it must be a number`)}},
		{"an array", detector.JSON, `{"packet_count":[10]}`, scored{Error: bad(`"packet_count" is an array; it must be a number`)}},
		{"an object", detector.JSON, `{"packet_count":{"packet_count":1}}`, scored{Error: bad(`"packet_count" is an object; it must be a number`)}},
		{"too large", detector.JSON, `{"packet_count":1e309}`, scored{Error: bad(`"packet_count" is not a finite number`)}},
		{"no object", detector.JSON, `"x"`, scored{Error: bad(`it is a string; an event is an object`)}},
		{"null", detector.JSON, `null`, scored{Error: bad(`it is null; an event is an object`)}},
		{"a row among events", detector.JSON, `[1024,10,0.5]`, scored{Error: bad(`it is an array; an event is an object`)}},
		{"a line", detector.NDJSON, full, scored{Score: scoreOf(1024, 10, 0.5)}},
		{"a record", detector.CSV, "1024,10,0.5,x", scored{Score: scoreOf(1024, 10, 0.5)}},
		{"numbers of a record", detector.CSV, " +1024. ,1e1,.5,", scored{Score: scoreOf(1024, 10, 0.5)}},
		{"an empty cell", detector.CSV, "1024, ,0.5,", scored{Score: scoreOf(1024, 0, 0.5)}},
		{"a cell of text", detector.CSV, "1024,ten,0.5,", scored{Error: bad(`"packet_count" is "ten"; it must be a number`)}},
		{"a cell in hexadecimal", detector.CSV, "1024,0x1p4,0.5,", scored{Error: bad(`"packet_count" is "0x1p4"; it must be a number`)}},
		{"NaN in a cell", detector.CSV, "1024,NaN,0.5,", scored{Error: bad(`"packet_count" is "NaN"; it must be a number`)}},
		{"inf in a cell", detector.CSV, "1024,-inf,0.5,", scored{Error: bad(`"packet_count" is "-inf"; it must be a number`)}},
		{"too large in a cell", detector.CSV, "1024,1e999,0.5,", scored{Error: bad(`"packet_count" is not a finite number`)}},
		{"too few cells", detector.CSV, "1024,10", scored{Error: bad(`it has 2 cells; the header has 4`)}},
		{"a row", rows, `[1024,10,0.5]`, scored{Score: scoreOf(1024, 10, 0.5)}},
		{"a row with null", rows, `[null, 1e1 ,0.5]`, scored{Score: scoreOf(0, 10, 0.5)}},
		{"a short row", rows, `[1024]`, scored{Error: bad(`it has 1 values; the detector takes 3`)}},
		{"a long row", rows, `[1,2,3,4]`, scored{Error: bad(`it has 4 values; the detector takes 3`)}},
		{"an empty row", rows, `[]`, scored{Error: bad(`it has 0 values; the detector takes 3`)}},
		{"a row of text", rows, `[1,"2",3]`, scored{Error: bad(`"packet_count" is a string; it must be a number`)}},
		{"an event among rows", rows, full, scored{Error: bad(`it is an object; a row is an array of numbers`)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			// The event stands between two good ones, which it must not harm.
			body, format := wrap(c.event, c.format)
			all, summary, err := score(t, d, body, format, detector.ScoreOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []scored{{Score: scoreOf(1, 2, 3)}, c.want, {Score: scoreOf(4, 5, 6)}} {
				want.Index = i
				if want.Error == nil {
					anomaly := *want.Score < 0
					want.Anomaly, want.Level = &anomaly, d.Levels().Level(*want.Score)
				}
				if diff := cmp.Diff(want, all[i]); diff != "" {
					t.Errorf("event %d (-want +got):\n%s", i, diff)
				}
			}
			failed := 0
			if c.want.Error != nil {
				failed = 1
			}
			if len(all) != 3 || summary.Events != 3 || summary.Failed != failed {
				t.Errorf("%d results; the summary is %+v", len(all), summary)
			}
			if _, _, err := score(t, d, body, format, detector.ScoreOptions{Strict: true}); failed == 1 && (!errors.Is(err, detector.ErrBadEvent) || !strings.Contains(err.Error(), "event 1: ")) || failed == 0 && err != nil {
				t.Errorf("strict: %v", err)
			}
		})
	}
}

// rows is JSON with "rows".
const rows detector.Format = 99

// wrap puts an event between two others.
func wrap(event string, f detector.Format) (string, detector.Format) {
	const before, after = `{"bytes_transferred":1,"packet_count":2,"connection_duration":3}`, `{"bytes_transferred":4,"packet_count":5,"connection_duration":6}`
	switch f {
	case rows:
		return `{"rows":[[1,2,3],` + event + `,[4,5,6]]}`, detector.JSON
	case detector.CSV:
		return "bytes_transferred,packet_count,connection_duration,other\n1,2,3,\n" + event + "\n4,5,6,\n", f
	case detector.NDJSON:
		return before + "\n" + event + "\n" + after, f
	}
	return `{"network_data":[` + before + "," + event + "," + after + `]}`, f
}

// TestScoreOriginal: an event comes back as it was sent.
func TestScoreOriginal(t *testing.T) {
	d := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{}).Detector
	for _, c := range []struct {
		format     detector.Format
		sent, back string
	}{
		{detector.JSON, `{"packet_count" : 1.50, "é":"\u00e9"}`, `{"packet_count" : 1.50, "é":"\u00e9"}`},
		{detector.JSON, `[ 1 ]`, `[ 1 ]`},
		{detector.NDJSON, `{"packet_count" : 1.50}`, `{"packet_count" : 1.50}`},
		{detector.CSV, `1,2.50,,"a ""b"""`, `{"bytes_transferred":1,"packet_count":2.50,"connection_duration":null,"other":"a \"b\""}`},
		{rows, `[ 1 ,2, 3 ]`, `[ 1 ,2, 3 ]`},
	} {
		body, format := wrap(c.sent, c.format)
		all, _, err := score(t, d, body, format, detector.ScoreOptions{Original: true})
		if err != nil || len(all) != 3 || string(all[1].Original) != c.back || len(all[2].Original) == 0 {
			t.Errorf("%s came back as %s: %v", c.sent, all[1].Original, err)
		}
	}
}

// TestScoreAcrossFormats: an event has one score, however and among how many it is sent.
func TestScoreAcrossFormats(t *testing.T) {
	d := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{}).Detector
	want := scoresOf(t, d, sample(t), detector.CSV)
	var objects, arrays []string
	var matrix []float64
	for line := range strings.Lines(sample(t)) {
		cells := strings.Split(line, ",")
		if cells[0] == "timestamp" {
			continue
		}
		event := `{"source_ip":"` + cells[1] + `","bytes_transferred":` + cells[2] + `,"packet_count":` + cells[3]
		if cells[4] == "" {
			cells[4] = "null"
		} else {
			event += `,"connection_duration":` + cells[4]
		}
		objects = append(objects, event+"}")
		arrays = append(arrays, "["+strings.Join(cells[2:5], ",")+"]")
		var x, y, z float64
		if _, err := fmt.Sscanf(strings.ReplaceAll(strings.Join(cells[2:5], " "), "null", "0"), "%g %g %g", &x, &y, &z); err != nil {
			t.Fatal(err)
		}
		matrix = append(matrix, x, y, z)
	}
	got := map[string][]float64{
		"array":        scoresOf(t, d, "["+strings.Join(objects, ",")+"]", detector.JSON),
		"network_data": scoresOf(t, d, `{"a":1,"network_data":[`+strings.Join(objects, ",")+"]}", detector.JSON),
		"lines":        scoresOf(t, d, strings.Join(objects, "\n"), detector.NDJSON),
		"rows":         scoresOf(t, d, `{"rows":[`+strings.Join(arrays, ",")+"]}", detector.JSON),
		"matrix":       make([]float64, len(want)),
	}
	before := append([]float64(nil), matrix...)
	d.Score(got["matrix"], matrix)
	if !cmp.Equal(before, matrix) {
		t.Error("Score changed its rows")
	}
	for _, event := range objects {
		got["one by one"] = append(got["one by one"], scoresOf(t, d, "["+event+"]", detector.JSON)...)
	}
	for name, scores := range got {
		if len(scores) != 1000 || !cmp.Equal(want, scores) {
			t.Errorf("%s: the scores differ", name)
		}
	}
}

// TestScoreExplains parts each score among the features, in bodies of all kinds.
func TestScoreExplains(t *testing.T) {
	d := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{}).Detector
	body := `[{"packet_count":1e9},{"packet_count":"x"},{"packet_count":12,"bytes_transferred":1e9},` + strings.Repeat(`{"packet_count":12},`, 1000) + `{}]`
	all, _, err := score(t, d, body, detector.JSON, detector.ScoreOptions{Explain: true})
	if err != nil {
		t.Fatal(err)
	}
	plain, _, err := score(t, d, body, detector.JSON, detector.ScoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range all {
		if s.Error != nil {
			if s.Why != nil {
				t.Errorf("event %d has no score, but %+v", i, s.Why)
			}
			continue
		}
		if *s.Score != *plain[i].Score || plain[i].Why != nil {
			t.Fatalf("event %d: %v explained, %v else, %+v", i, *s.Score, *plain[i].Score, plain[i].Why)
		}
		total := s.Why.Base
		for _, name := range d.Features() {
			c, ok := s.Why.Contributions[name]
			if !ok {
				t.Fatalf("event %d says nothing of %s: %+v", i, name, s.Why)
			}
			total += c
		}
		if math.Abs(total-*s.Score) > 1e-13 || len(s.Why.Contributions) != d.Width() {
			t.Fatalf("event %d: %+v adds up to %v, not %v", i, s.Why, total, *s.Score)
		}
	}
	for i, name := range map[int]string{0: "packet_count", 2: "bytes_transferred"} {
		for other, c := range all[i].Why.Contributions {
			if other != name && c <= all[i].Why.Contributions[name] {
				t.Errorf("event %d is strange in %s: %+v", i, name, all[i].Why)
			}
		}
	}
}

// TestScoreSummary counts what was missing and what failed.
func TestScoreSummary(t *testing.T) {
	d := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{}).Detector
	body := `[{"packet_count":1},{"packet_count":null,"bytes_transferred":1},{},{"packet_count":"x"},7]`
	_, summary, err := score(t, d, body, detector.JSON, detector.ScoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := detector.Summary{Events: 5, Failed: 3, Missing: map[string]int{"bytes_transferred": 1, "packet_count": 1, "connection_duration": 2}}
	if diff := cmp.Diff(want, summary); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	const text = `{"events":5,"failed":3,"missing":{"bytes_transferred":1,"connection_duration":2,"packet_count":1},"version":0}`
	if got := string(summary.AppendJSON(nil)); got != text {
		t.Errorf("got %s, want %s", got, text)
	}
	if plain, err := json.Marshal(summary); err != nil || string(plain) != text {
		t.Errorf("by encoding/json: %s, %v", plain, err)
	}
	_, summary, err = score(t, d, `[]`, detector.JSON, detector.ScoreOptions{})
	if got := string(summary.AppendJSON(nil)); err != nil || got != `{"events":0,"failed":0,"version":0}` {
		t.Errorf("nothing: %s, %v", got, err)
	}
}

// TestScoreStream: a line is answered before the next one is sent.
func TestScoreStream(t *testing.T) {
	d := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{}).Detector
	for format, lines := range map[detector.Format][]string{
		detector.NDJSON: {"", "{\"packet_count\":1}\n", "{\"packet_count\":2}\n{\"packet_count\":3}\n", "{\"packet_count\":4}\n"},
		detector.CSV:    {"packet_count\n", "1\n", "2\n3\n", "4\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			from, to := io.Pipe()
			answered := 0
			done := make(chan error)
			go func() {
				_, err := d.ScoreEvents(t.Context(), detector.NewReader(from, format), detector.ScoreOptions{}, func(results []detector.Result) error {
					answered += len(results)
					return nil
				})
				done <- err
			}()
			for i, text := range lines {
				if _, err := io.WriteString(to, text); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if want := []int{0, 1, 3, 4}[i]; answered != want {
					t.Errorf("%s: after part %d %d events are answered, want %d", format, i, answered, want)
				}
			}
			to.Close()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestScoreEnds: what ends a stream comes after the results of what was before it.
func TestScoreEnds(t *testing.T) {
	d := mustTrain(t, sample(t), detector.CSV, detector.TrainOptions{}).Detector
	good := strings.Repeat("{\"packet_count\":1}\n", 300)
	all, summary, err := score(t, d, good+"{\"packet_count\"}\n"+good, detector.NDJSON, detector.ScoreOptions{})
	if len(all) != 300 || summary.Events != 300 || !errors.Is(err, detector.ErrBadBody) || !strings.Contains(err.Error(), "line 301") {
		t.Errorf("malformed: %d results, then %v", len(all), err)
	}
	deep := `[{"packet_count":1},{"packet_count":2,"a":` + strings.Repeat(`[{"b":`, 20) + "1" + strings.Repeat("}]", 20) + `}]`
	if all, _, err = score(t, d, deep, detector.JSON, detector.ScoreOptions{}); len(all) != 1 || !errors.Is(err, detector.ErrBadBody) || !strings.Contains(err.Error(), "event 1: ") {
		t.Errorf("too deep: %d results, then %v", len(all), err)
	}
	full := errors.New("full")
	_, err = d.ScoreEvents(t.Context(), detector.NewReader(strings.NewReader(good), detector.NDJSON), detector.ScoreOptions{}, func([]detector.Result) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("emit failed: got %v, want %v", err, full)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	_, err = d.ScoreEvents(ctx, detector.NewReader(strings.NewReader(good), detector.NDJSON), detector.ScoreOptions{}, func(results []detector.Result) error {
		n += len(results)
		cancel()
		return nil
	})
	if n >= 300 || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %d results, then %v", n, err)
	}
}

// TestScoreBorder: a training row whose score is the offset itself, but for rounding, is
// no anomaly.
func TestScoreBorder(t *testing.T) {
	st := newStore(t)
	const body = `[{"packet_count":1},{"packet_count":1}]`
	trained := mustTrain(t, body, detector.JSON, detector.TrainOptions{})
	for off, want := range map[float64]float64{0: 0, 1e-16: 0, 5e-15: 0, -5e-15: 0, 1e-13: -1e-13, -1e-13: 1e-13} {
		p := artifact(t, trained)
		p.Forest.Offset += off
		var b bytes.Buffer
		if err := sklearn.Write(&b, p, sklearn.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		f := file{"model.joblib", b.Bytes()}
		facts, err := watch(t, nil, f)
		if err != nil {
			t.Fatal(err)
		}
		d, err := detector.Load(t.Context(), st.Registry, st.publish(facts, f))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range scoresOf(t, d, body, detector.JSON) {
			if want == 0 && (s != 0 || math.Signbit(s)) || math.Abs(s-want) > 1e-15 {
				t.Errorf("a score that is off by %v is %v, want %v", off, s, want)
			}
		}
	}
}

// FuzzReader: whatever a body is, it ends; and what is read of it is what encoding/json
// reads too.
func FuzzReader(f *testing.F) {
	for _, body := range []string{`[{"a":1}]`, `{"network_data":[{"a":1}],"b":[]}`, `{"rows":[[1,2]]}`, "{\"a\":1}\n\n{\"a\":2}", "a,b\n1,2\n", `[{"a":"\u00e9\\","b":{"a":[1,{}]}}]`, "\ufeffa\n\"1\n\""} {
		for format := range 3 {
			f.Add(format, body)
		}
	}
	d := mustTrain(f, `[{"a":1,"b":2},{"a":3,"b":1}]`, detector.JSON, detector.TrainOptions{Features: []string{"a", "b"}}).Detector
	f.Fuzz(func(t *testing.T, format int, body string) {
		if format < 0 || format > 2 {
			return
		}
		events, _, err := readAll(strings.NewReader(body), detector.Format(format))
		for _, e := range events {
			if !json.Valid([]byte(e)) {
				t.Errorf("the event %q is no JSON", e)
			}
		}
		if detector.Format(format) == detector.JSON && err == nil {
			if !json.Valid([]byte(body)) {
				t.Errorf("%q was taken", body)
			}
			var list []any
			if json.Unmarshal([]byte(body), &list) == nil && len(list) != len(events) {
				t.Errorf("%d events of %d", len(events), len(list))
			}
		}
		results, summary, scoreErr := score(t, d, body, detector.Format(format), detector.ScoreOptions{Original: true})
		if scoreErr == nil && (err != nil || len(results) != len(events) || summary.Events != len(events)) {
			t.Errorf("%d events, then %v; %d results", len(events), err, len(results))
		}
		for i, r := range results {
			sameNumbers(t, events[i], r)
		}
		set, err := detector.Collect(t.Context(), detector.NewReader(strings.NewReader(body), detector.Format(format)), detector.CollectOptions{MaxValues: 1 << 16})
		if err == nil && set.Samples != len(events) {
			t.Errorf("%d events, %d samples", len(events), set.Samples)
		}
	})
}

// sameNumbers holds a result against what encoding/json finds in the event.
func sameNumbers(t *testing.T, event string, r scored) {
	if diff := cmp.Diff(event, string(r.Original), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("original (-want +got):\n%s", diff)
	}
	var members map[string]any
	if json.Unmarshal([]byte(event), &members) != nil || members == nil {
		return
	}
	ok, some := true, false
	for _, name := range []string{"a", "b"} {
		v, there := members[name]
		_, number := v.(float64)
		some = some || there
		ok = ok && (!there || v == nil || number)
	}
	if ok && some && r.Error != nil {
		t.Errorf("%s is refused: %s", event, r.Error.Detail)
	}
	if !some && r.Error == nil {
		t.Errorf("%s is taken", event)
	}
}
