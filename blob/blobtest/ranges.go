package blobtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"modelbucket/blob"
)

func ranges(t *testing.T, b blob.Bucket) {
	put(t, b, "ten", "0123456789")
	put(t, b, "empty", "")
	for _, c := range []struct {
		key            string
		offset, length int64
		want           string
		err            error
	}{
		{"ten", 0, 0, "0123456789", nil},
		{"ten", 0, 1, "0", nil},
		{"ten", 3, 0, "3456789", nil},
		{"ten", 3, 4, "3456", nil},
		{"ten", 9, 1, "9", nil},
		{"ten", 9, 0, "9", nil},
		{"ten", 0, 10, "0123456789", nil},
		{"ten", 0, 11, "0123456789", nil},
		{"ten", 5, 1 << 40, "56789", nil},
		{"ten", 10, 0, "", blob.ErrRange},
		{"ten", 10, 1, "", blob.ErrRange},
		{"ten", 1 << 40, 0, "", blob.ErrRange},
		{"ten", -1, 0, "", blob.ErrRange},
		{"ten", 0, -1, "", blob.ErrRange},
		{"empty", 0, 0, "", nil},
		{"empty", 0, 5, "", nil},
		{"empty", 1, 0, "", blob.ErrRange},
		{"empty", 1, 1, "", blob.ErrRange},
	} {
		what := fmt.Sprintf("Get %s from %d, %d bytes", c.key, c.offset, c.length)
		data, o, err := read(t.Context(), b, c.key, blob.Range{Offset: c.offset, Length: c.length})
		if c.err != nil {
			wantError(t, what, err, c.err)
			continue
		}
		whole, statErr := b.Stat(t.Context(), c.key)
		switch {
		case err != nil || statErr != nil || string(data) != c.want:
			t.Errorf("%s: %q, %v (%v), want %q", what, data, err, statErr, c.want)
		case o.Key != c.key || o.Size != whole.Size || o.ETag != whole.ETag || o.Modified.IsZero():
			t.Errorf("%s describes %+v, want the whole object: %+v", what, o, whole)
		}
	}
}

func rangeOfLarge(t *testing.T, b blob.Bucket) {
	whole := pattern(large)
	if _, err := b.Put(t.Context(), "k", bytes.NewReader(whole), blob.PutOptions{Size: large}); err != nil {
		t.Fatalf("Put: %v", err)
	}
	for _, r := range []blob.Range{{Offset: 8<<20 - 3, Length: 7}, {Offset: large - 5}, {Offset: 1, Length: 9 << 20}, {Offset: large - 1, Length: 100}} {
		to := min(r.Offset+r.Length, large)
		if r.Length == 0 {
			to = large
		}
		data, o, err := read(t.Context(), b, "k", r)
		if err != nil || !bytes.Equal(data, whole[r.Offset:to]) || o.Size != large {
			t.Errorf("Get %+v: %d bytes, equal %v, size %d, %v", r, len(data), bytes.Equal(data, whole[r.Offset:to]), o.Size, err)
		}
	}
	_, _, err := b.Get(t.Context(), "k", blob.Range{Offset: large})
	wantError(t, "Get behind the end", err, blob.ErrRange)
}

// readWhileReplaced: a reader gets one object, or an error, but no mixture.
func readWhileReplaced(t *testing.T, b blob.Bucket) {
	const n = 4 << 20
	first, second := strings.Repeat("1", n), strings.Repeat("2", n)
	put(t, b, "k", first)
	body, o, err := b.Get(t.Context(), "k", blob.Range{})
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	defer body.Close()
	head := make([]byte, 1000)
	if _, err := io.ReadFull(body, head); err != nil {
		t.Fatalf("read: %v", err)
	}
	put(t, b, "k", second)
	rest, err := io.ReadAll(body)
	if got := string(head) + string(rest); err == nil && got != first || !strings.HasPrefix(first, got) {
		t.Fatalf("the reader got %s, %v", short([]byte(got)), err)
	}
	if err != nil && !errors.Is(err, blob.ErrUnavailable) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("the reader ended with %v", err)
	}
	wantContent(t, b, "k", second)
	if now, err := b.Stat(t.Context(), "k"); err != nil || now.ETag == o.ETag {
		t.Fatalf("Stat: %+v, %v, want another ETag than %s", now, err, o.ETag)
	}
}
