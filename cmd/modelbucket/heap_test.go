package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

// TestHeapPercent: the heap grows to smallHeap, or to twice of what is in use.
func TestHeapPercent(t *testing.T) {
	for _, live := range []uint64{1 << 20, 5 << 20, 9 << 20, 11 << 20, 300 << 20} {
		want := max(smallHeap, 2*live)
		got := live + live*uint64(heapPercent(live))/100
		if math.Abs(float64(got)-float64(want)) > float64(want)/100 {
			t.Errorf("with %d in use it grows to %d, want %d", live, got, want)
		}
	}
}

// TestKeepHeap: what is in use is looked at after each collection.
func TestKeepHeap(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	keepHeap()
	used := make([]byte, 3*smallHeap)
	for _, wrong := range []int{1000, 2000} {
		debug.SetGCPercent(wrong)
		for tries := 0; percentNow() != 100; tries++ {
			if tries == 10_000 {
				t.Fatalf("after %d collections the heap may still grow by %d %%", tries, wrong)
			}
			runtime.GC()
			runtime.Gosched() // the program's own goroutines follow a collection
		}
	}
	runtime.KeepAlive(used)
}

func percentNow() int {
	gogc := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(gogc)
	return int(gogc[0].Value.Uint64())
}
