package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"modelbucket/blob"
)

// timeCalls makes n calls of each kind that a save and a look-up are made of, one after
// another, on objects as small as records.
func timeCalls(ctx context.Context, bucket blob.Bucket, n int) ([]callTimes, error) {
	prefix := "_system/probe/" + uuid.NewString() + "/"
	key := func(i int) string { return fmt.Sprintf("%s%d", prefix, i) }
	record := strings.Repeat("x", 500)
	etags := make([]string, n)
	put := func(i int, o blob.PutOptions) error {
		o.Size = int64(len(record))
		stored, err := bucket.Put(ctx, key(i), strings.NewReader(record), o)
		if err == nil {
			etags[i] = stored.ETag
		}
		return err
	}
	var times []callTimes
	for _, kind := range []struct {
		name string
		call func(i int) error
	}{
		{"create once", func(i int) error { return put(i, blob.PutOptions{IfAbsent: true}) }},
		{"compare and swap", func(i int) error { return put(i, blob.PutOptions{IfMatch: etags[i]}) }},
		{"get", func(i int) error {
			body, _, err := bucket.Get(ctx, key(i), blob.Range{})
			if err != nil {
				return err
			}
			defer body.Close()
			_, err = io.Copy(io.Discard, body)
			return err
		}},
		{"list one key", func(i int) error {
			_, err := bucket.List(ctx, blob.ListOptions{Prefix: prefix, Limit: 1})
			return err
		}},
		{"delete", func(i int) error { return bucket.Delete(ctx, key(i)) }},
	} {
		took := make([]time.Duration, n)
		for i := range n {
			began := time.Now()
			if err := kind.call(i); err != nil {
				return nil, fmt.Errorf("time %s: %w", kind.name, err)
			}
			took[i] = time.Since(began)
		}
		slices.Sort(took)
		times = append(times, callTimes{kind.name, milliseconds(took[n/2]), milliseconds(took[n-1])})
	}
	return times, nil
}
