// Package registrytest proves the registry: it runs many nodes of the real one over one
// simulated bucket, in virtual time, with faults as the normal case, and holds what their
// clients were told against what can have been true.
//
// # A run
//
// [Run] is one seed. Clients on 2 to 5 nodes do everything that a registry can do, two
// collectors sweep, and a hand of fate kills and freezes nodes. Every call to the bucket
// is parked; the scheduler waits until nothing else can move, chooses one call by the
// seed, carries it out on a plain bucket or lets it go wrong, and so decides the order of
// everything. The same seed gives the same run, call by call. What goes wrong:
//
//   - a call fails before the store is asked, or its answer is lost after it;
//   - a request lands up to a quarter of an hour after its sender gave up, or twice;
//   - answers take seconds to minutes, not all bytes of them arrive, or one is wrong: of
//     each object once for each request, as twice would be damage;
//   - a page of a listing fails, most of all a later one; a listing shows any part of
//     what is added while it goes on;
//   - a node is killed with its requests under way, or stands still for up to three
//     hours and then goes on with what it was about to send;
//   - clocks are wrong by up to 14 hours and go up to a tenth too fast or too slow.
//
// # What is checked
//
// Of every run: the witness check (witness.go), which needs no search because numbers and
// revisions are an order already; linearizability by search (linear.go) where a history
// is small enough; that no record is ever changed or deleted; and, once all has landed
// and collectors have swept, an audit of the whole bucket (audit.go).
//
// # Mutants
//
// [Mutants] are nodes that break one rule each, by a door between registry and bucket
// that lies. Each must be caught: a mutant that survives is a hole in the work that the
// clients do, not a success.
//
// # Commands
//
//	go test ./registry/registrytest                                       short: 100 seeds
//	go test -count=1 -v -run Simulation ./registry/registrytest -sim.seeds=1500
//	go test -count=1 -v -timeout 1h ./registry/registrytest -sim.seeds=10000    the long form
//	go test -v -run Simulation ./registry/registrytest -sim.first=SEED -sim.seeds=1 -sim.history
//
// The last one shows a seed call by call. Package detector runs the same with pools that
// score: go test -run Simulation ./detector -sim.seeds=500.
package registrytest
