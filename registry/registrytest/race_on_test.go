//go:build race

package registrytest_test

// underRace: all of it takes ten times as long.
const underRace = true
