package registry

import (
	"context"
	"errors"
	"testing"
)

// TestTurnOfAnEndedRequest: who came too late gets no turn, though one is free: whether a
// request goes on is not for luck to decide.
func TestTurnOfAnEndedRequest(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	turn := &turn{token: make(chan struct{}, 1)}
	for try := range 64 {
		if err := turn.acquire(ended); !errors.Is(err, context.Canceled) {
			t.Fatalf("try %d: the request of an ended context went on: %v", try, err)
		}
	}
	if err := turn.acquire(t.Context()); err != nil {
		t.Fatalf("the turn is not free: %v", err)
	}
}
