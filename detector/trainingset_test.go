package detector_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"modelbucket/detector"
)

// TestCollectRefuses: one event that is none spoils the body, and the error names it.
func TestCollectRefuses(t *testing.T) {
	many := make([]string, 1001)
	for i := range many {
		many[i] = fmt.Sprintf(`"f%d":1`, i)
	}
	for _, c := range []struct {
		name   string
		format detector.Format
		body   string
		want   error
		text   string
	}{
		{"no events", detector.JSON, `[]`, detector.ErrBadBody, "no event"},
		{"a number", detector.JSON, `[{"a":1},7]`, detector.ErrBadEvent, "event 1: bad event: it is a number; an event is an object"},
		{"a row among events", detector.JSON, `[[1]]`, detector.ErrBadEvent, "event 0: bad event: it is an array"},
		{"an event among rows", detector.JSON, `{"rows":[[1],{"a":1}]}`, detector.ErrBadEvent, "event 1: bad event: it is an object; a row is an array"},
		{"rows of two widths", detector.JSON, `{"rows":[[1],[1,2]]}`, detector.ErrBadEvent, "event 1: bad event: it has 2 values; the rows before have 1"},
		{"cells missing", detector.CSV, "a,b\n1\n", detector.ErrBadEvent, "event 0: bad event: it has 1 cells; the header has 2"},
		{"malformed in the midst", detector.JSON, `[{"a":1},{"a"}]`, detector.ErrBadBody, "event 1"},
		{"too deep", detector.JSON, `[{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}]`, detector.ErrBadBody, "nest deeper"},
		{"too many names", detector.JSON, `[{` + strings.Join(many, ",") + `}]`, detector.ErrTooLarge, "different names"},
	} {
		if _, err := collect(t, c.body, c.format); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want %v with %q", c.name, err, c.want, c.text)
		}
	}
}

func TestCollectLimits(t *testing.T) {
	body := `[` + strings.Repeat(`{"a":1,"b":2,"c":"x"},`, 9) + `{"a":1,"b":2}]`
	read := func(ctx context.Context, o detector.CollectOptions) error {
		_, err := detector.Collect(ctx, detector.NewReader(strings.NewReader(body), detector.JSON), o)
		return err
	}
	if err := read(t.Context(), detector.CollectOptions{MaxValues: 20}); err != nil {
		t.Errorf("20 values of 20: %v", err)
	}
	if err := read(t.Context(), detector.CollectOptions{MaxValues: 19}); !errors.Is(err, detector.ErrTooLarge) {
		t.Errorf("20 values of 19: got %v, want %v", err, detector.ErrTooLarge)
	}
	if err := read(t.Context(), detector.CollectOptions{MaxValues: 10, Features: []string{"b"}}); err != nil {
		t.Errorf("one of two columns: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := read(ctx, detector.CollectOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}
