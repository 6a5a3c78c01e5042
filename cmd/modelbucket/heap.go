package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// smallHeap, in bytes, is what the heap of a node may grow to before it is collected,
// however little of it is in use. A small heap that is collected whenever it has doubled
// is collected several times in one tenant's training, and the requests of all others are
// slower then.
const smallHeap = 20 << 20

// keepHeap sees to it, for good, that the heap is collected when it has doubled, as always
// in Go, but not below smallHeap. Who sets GOGC decides himself.
func keepHeap() {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetGCPercent(heapPercent(live[0].Value.Uint64()))
	runtime.AddCleanup(new([64]byte), func(struct{}) { keepHeap() }, struct{}{}) // after the next collection
}

// heapPercent is by how much a heap may grow of which so many bytes are in use.
func heapPercent(live uint64) int {
	live = max(live, 1<<20)
	return int(max(100, (max(live, smallHeap)-live)*100/live))
}
